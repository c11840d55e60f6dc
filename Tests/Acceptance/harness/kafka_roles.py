"""Roles that are joined by a broker: gateway, pump, aggregators of a group, query API."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harness.broker import Broker
from harness.checks import Failure, check, equal, until
from harness.context import Context
from harness.database import Cluster, Database
from harness.deployment import Roles
from harness.process import Process

FOLDING = {"flush_records": 2000, "flush_interval": "20ms", "compact_interval": "300ms"}


class KafkaRoles(Roles):
    """One deployment with `transport: kafka`."""

    def __init__(
        self, context: Context, database: Database, broker: Broker, gateway: dict[str, Any] | None = None,
        data: Path | None = None, kafka: dict[str, Any] | None = None, **more: Any,
    ) -> None:
        self.broker = broker
        # A sink that was down is tried again soon: the tests wait for it.
        sink = {"name": "central", "type": "kafka", "retry": {"delay_max": "1s"}}
        more.setdefault("pump", {"sinks": [sink]})
        more.setdefault("aggregator", FOLDING)
        super().__init__(
            context, database, gateway, data, environment=broker.environment,
            **({"transport": "kafka", "kafka": broker.settings(**(kafka or {}))} | more))

    def save(self) -> None:
        """Writes the changed settings."""
        self.context.configuration(self.settings, self.config.name)

    def variant(self, name: str, **changed: Any) -> Path:
        """A configuration that differs in some keys."""
        return self.context.configuration(self.settings | changed, f"{name}-{self.data.name}.yaml")

    def start_pump(self, *flags: str, config: Path | None = None, seconds: float = 20) -> Process:
        """Starts a pump and waits until it says so."""
        process = self.context.start(
            "pump", "--config", str(config or self.config), *flags, environment=self.environment)

        def runs() -> bool:
            process.require_running()
            text = process.output()
            return "pump runs on" in text or "listening" in text

        until(runs, "`sluice pump` runs", seconds, 0.01)
        return process

    def start_with(self, role: str, config: Path, **environment: str) -> Process:
        """Starts a role with a configuration of its own."""
        return self.context.start(
            role, "--config", str(config), environment=(self.environment or {}) | environment)

    def lag(self, sink: str = "central") -> int:
        """Records that the sink has not acknowledged yet, as `sluice status` says."""
        result = self.context.run(
            "status", "--config", self.config, "--format", "json", environment=self.environment, code=None)
        try:
            rows = json.loads(result.stdout)["sinks"]
            return next(int(row["lag"]) for row in rows if row["sink"] == sink)
        except (ValueError, KeyError, StopIteration, TypeError) as error:
            raise Failure(
                f"`sluice status --format json` ({result.returncode}) without the lag of {sink} ({error!r}): "
                f"{result.stdout[:600]!r} {result.stderr[:400]!r}") from None

    def account(self, sink: str = "central") -> dict[str, Any]:
        """What became of the offsets of all logs on the way to a sink, as `sluice status` says."""
        result = self.context.run(
            "status", "--config", self.config, "--format", "json", environment=self.environment, code=None)
        return next(row for row in json.loads(result.stdout)["sink_ledger"] if row["sink"] == sink)

    def wait_shipped(self, sink: str = "central", seconds: float = 30) -> None:
        """Waits until the sink has acknowledged everything."""
        until(lambda: self.lag(sink) == 0, f"nothing left to ship to {sink}", seconds, 0.1)

    def load(self, records: int, seed: int, day: int = 1) -> None:
        """Writes seeded records as one ended log."""
        self.context.run(
            "load", "--into", self.data, "--records", records, "--profile", "ten", "--seed", seed,
            "--start", f"2025-03-{1 + day % 28:02}T10:00:00Z", "--step", "20000", seconds=120,
            environment=self.environment)

    def dead_letters(self) -> dict[str, int]:
        """Dead letters by reason."""
        rows = self.database.rows("SELECT reason, count(*) FROM sluice.dead_letter GROUP BY reason")
        return {reason: int(count) for reason, count in rows}

    def wait_folded(self, total: int, what: str, seconds: float = 60) -> None:
        """Waits until so many requests are counted; more are a failure at once."""

        def is_there() -> bool:
            found = self.database.requests()
            check(found <= total, f"{what}: {found} requests are counted, only {total} were made")
            if found != total:
                raise Failure(f"{found} of {total} are counted")
            return True

        until(is_there, what, seconds, 0.1)

    def wait_at_least(self, count: int, seconds: float = 60) -> None:
        """Waits until so many requests are counted."""
        until(lambda: self.database.requests() >= count, f"{count} requests folded", seconds, 0.1)

    def settled_dead_letters(self, at_least: int, seconds: float = 30) -> dict[str, int]:
        """Dead letters by reason, once there are so many and no more come for half a second."""
        seen: list[dict[str, int]] = [{}, {}, {}]

        def is_quiet() -> bool:
            seen.append(self.dead_letters())
            return sum(seen[-1].values()) >= at_least and seen[-1] == seen[-2] == seen[-3]

        try:
            until(is_quiet, "the dead letters", seconds, 0.25)
        except Failure:
            pass  # the caller compares, and says what is missing
        return dict(seen[-1])

    def stop_all(self) -> None:
        """Ends every program of this deployment."""
        for process in self.context.processes:
            if any(self.data.name in part for part in process.command):
                process.kill()


def make_kafka_roles(
    context: Context, broker: Broker, gateway: dict[str, Any] | None = None, **more: Any,
) -> tuple[Cluster, KafkaRoles]:
    """A cluster of the test's own with an empty database, and roles over it, migrated."""
    cluster = Cluster(context.directory)
    roles = KafkaRoles(context, cluster.create("usage"), broker, gateway, **more)
    roles.migrate()
    return cluster, roles


def resident_bytes(process: Process) -> int:
    """Memory that a process holds."""
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise Failure(f"no resident size of process {process.pid}")


def check_settled(roles: KafkaRoles, total: int) -> None:
    """The tables are whole and add up, and nothing comes later."""
    roles.database.check_rows()
    roles.database.wait_compacted()
    roles.database.check_tiers()
    equal(roles.database.requests(), total, "requests after compaction")
