"""Whole deployments: everything in one process, or one process per role over a test's PostgreSQL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.checks import check, until
from harness.context import Context
from harness.database import Cluster, Database, Embedded
from harness.http import is_ready
from harness.process import Process
from harness.query import QueryAPI, admin_token


def settings(
    context: Context, data: Path, gateway: dict[str, Any] | None = None, **more: Any
) -> dict[str, Any]:
    """A configuration with free ports; `more` are further top-level keys."""
    return {
        "node": "test-node",
        "data": str(data),
        "gateway": {"listen": f"127.0.0.1:{context.free_port()}"} | (gateway or {}),
        "serve": {"listen": f"127.0.0.1:{context.free_port()}"},
        # Shorter than the default: tests wait for the compactor.
        "aggregator": {"compact_interval": "500ms"},
    } | more


def port_of(address: str) -> int:
    """The port of `host:port`."""
    return int(address.rpartition(":")[2])


class Up:
    """`sluice up` with embedded PostgreSQL (or another, by the settings)."""

    def __init__(
        self, context: Context, gateway: dict[str, Any] | None = None, data: Path | None = None,
        environment: dict[str, str] | None = None, **more: Any,
    ) -> None:
        self.context = context
        self.environment = environment
        self.data = data or context.make_directory()
        self.settings = settings(context, self.data, gateway, **more)
        self.config = context.configuration(self.settings, f"up-{self.data.name}.yaml")
        self.gateway_port = port_of(self.settings["gateway"]["listen"])
        self.query_port = port_of(self.settings["serve"]["listen"])
        self.process: Process | None = None

    def start(self, seconds: float = 60) -> "Up":
        """Starts it and waits until both servers are ready."""
        self.process = self.context.start("up", "--config", str(self.config), environment=self.environment)
        self.wait_ready(seconds)
        return self

    def wait_ready(self, seconds: float = 60) -> None:
        """Waits until both servers are ready."""

        def ready() -> bool:
            self.process.require_running()
            return is_ready(self.gateway_port) and is_ready(self.query_port)

        until(ready, "`sluice up` is ready (/readyz of gateway and query API)", seconds)

    @property
    def api(self) -> QueryAPI:
        """The query API with the administrator's token."""
        return QueryAPI(self.query_port, admin_token(self.data))

    @property
    def embedded(self) -> Embedded:
        """The PostgreSQL inside."""
        return Embedded(self.data)

    def database(self) -> Database:
        """The database of the embedded PostgreSQL."""
        return self.embedded.database()

    def stop(self, seconds: float = 40) -> None:
        """Asks it to stop; it must do so cleanly."""
        code = self.process.terminate(seconds)
        check(code == 0, f"`sluice up` ended with {code} after SIGTERM: {self.process.output()[-1500:]}")


class Roles:
    """`sluice gateway`, `aggregator` and `serve` as processes of their own over one database."""

    def __init__(
        self, context: Context, database: Database, gateway: dict[str, Any] | None = None,
        data: Path | None = None, environment: dict[str, str] | None = None, **more: Any,
    ) -> None:
        self.context = context
        self.environment = environment
        self.database = database
        self.data = data or context.make_directory()
        self.settings = settings(context, self.data, gateway, postgres=database.uri, **more)
        self.config = context.configuration(self.settings, f"roles-{self.data.name}.yaml")
        self.gateway_port = port_of(self.settings["gateway"]["listen"])
        self.query_port = port_of(self.settings["serve"]["listen"])
        self._api: QueryAPI | None = None

    def migrate(self) -> None:
        """Makes the tables."""
        self.context.run("migrate", "--config", self.config, environment=self.environment)

    def start_gateway(self, seconds: float = 30) -> Process:
        """Starts a gateway and waits until it is ready."""
        process = self.context.start("gateway", "--config", str(self.config), environment=self.environment)

        def ready() -> bool:
            process.require_running()
            return is_ready(self.gateway_port)

        until(ready, "`sluice gateway` is ready", seconds, 0.01)
        return process

    def start_aggregator(self) -> Process:
        """Starts an aggregator, which has no port to wait for."""
        return self.context.start("aggregator", "--config", str(self.config), environment=self.environment)

    def start_serve(self, seconds: float = 30) -> Process:
        """Starts the query API and waits until it is ready."""
        process = self.context.start("serve", "--config", str(self.config), environment=self.environment)

        def ready() -> bool:
            process.require_running()
            return is_ready(self.query_port)

        until(ready, "`sluice serve` is ready", seconds)
        return process

    @property
    def api(self) -> QueryAPI:
        """The query API with an administrator's token of our own."""
        if self._api is None:
            self._api = QueryAPI(self.query_port, self.make_token("--scope", "admin"))
        return self._api

    def make_token(self, *arguments: str) -> str:
        """A new token: the only thing on standard output."""
        result = self.context.run("token", "create", "--config", self.config, *arguments, environment=self.environment)
        text = result.stdout.decode()
        check(text.endswith("\n") and len(text.split()) == 1, f"standard output of token create: {text!r}")
        return text.strip()


def make_roles(context: Context, gateway: dict[str, Any] | None = None, **more: Any) -> tuple[Cluster, Roles]:
    """A cluster of the test's own with an empty database, and roles over it, migrated."""
    cluster = Cluster(context.directory)
    roles = Roles(context, cluster.create("usage"), gateway, **more)
    roles.migrate()
    return cluster, roles
