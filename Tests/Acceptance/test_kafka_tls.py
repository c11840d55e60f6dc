"""TLS and SASL to the broker by `kafka.client`: exact, refused with advice, nothing lost, no password shown."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.broker import Tansu
from harness.checks import check, equal, until
from harness.context import Context
from harness.database import Cluster
from harness.http import exchange, request
from harness.kafka_roles import KafkaRoles, check_settled
from harness.process import Process
from harness.registry import test
from harness.secure import Authority, Certificate, SecureLine

GATEWAY = {"apis": [{"id": "open", "org": "acme", "listen_path": "/open/", "upstreams": ["builtin:demo"]}]}


class Site:
    """A worker cluster with a gateway, whose broker stands behind a secured line."""

    def __init__(self, context: Context, cluster: Cluster, line: SecureLine, name: str, **client: str) -> None:
        self.context = context
        self.line = line
        broker = Tansu(context, advertised=line.port)
        line.lead_to(broker.port)
        # The way around the line is for the test's own eyes.
        gateway = {"listen": f"127.0.0.1:{context.free_port()}"} | GATEWAY
        self.roles = KafkaRoles(context, cluster.create(name), broker, gateway, kafka={"client": client})
        self.roles.migrate()
        self.gateway = self.roles.start_gateway()
        self.requests = 0

    def visit(self, count: int) -> None:
        """Sends requests, each of which must be answered and is recorded."""
        for number in range(count):
            answer = exchange(
                self.roles.gateway_port, request("GET", f"/open/items/{number}", {"Connection": "close"}))
            check(answer.is_complete and answer.status != 503, f"the gateway answered {answer.status}")
        self.requests += count

    def configure(self, **client: str | None) -> None:
        """Changes properties in the configuration; None takes one out."""
        client = self.roles.settings["kafka"]["client"] | client
        self.roles.settings["kafka"]["client"] = {name: value for name, value in client.items() if value is not None}
        # Tansu lets a group wait that had members before.
        self.roles.settings["kafka"]["group"] = f"group-{self.requests}"
        self.roles.save()

    def status(self, environment: dict[str, str] | None = None) -> str:
        """What `sluice status` prints."""
        result = self.context.run(
            "status", "--config", self.roles.config, "--format", "ndjson", code=None,
            environment=environment if environment is not None else self.roles.environment)
        return (result.stdout + result.stderr).decode()

    def says(self, what: str, text: Callable[[], str], *words: str) -> None:
        """Waits until a text names all of `words`."""

        def is_there() -> bool:
            found = text()
            check(all(word in found for word in words), f"{what} does not name all of {words}: {found[-1500:]}")
            return True

        until(is_there, f"{what} names {words}", 25, 0.1)

    def exact(self, what: str) -> None:
        """Everything so far arrives, once."""
        self.roles.wait_folded(self.requests, what, 40)


def folded(site: Site, pump: Process, folder: Process) -> None:
    """Everything is counted and stays so; both end when asked."""
    check_settled(site.roles, site.requests)
    equal(pump.terminate(), 0, "exit code of the pump")
    equal(folder.terminate(), 0, "exit code of the aggregator")
    equal(site.gateway.terminate(), 0, "exit code of the gateway")


def right(authority: Authority) -> Certificate:
    """A certificate that the brokers' address is in."""
    return authority.issue("broker", "IP:127.0.0.1,DNS:localhost")


@test(seconds=180, full_only=True)
def trust(context: Context) -> None:
    """TLS with a private CA, and client certificates: strangers are refused with advice, then everything is exact"""
    ours, theirs = Authority(context.directory, "ours"), Authority(context.directory, "theirs")
    line = SecureLine(context.free_port())
    cluster = Cluster(context.directory)
    line.show(right(theirs))
    site = Site(
        context, cluster, line, "usage", **{"security.protocol": "ssl", "ssl.ca.location": str(ours.certificate)})
    roles = site.roles

    # A broker whose certificate another authority has signed.
    pump, folder = roles.start_pump(), roles.start_aggregator()
    site.visit(50)
    advice = ("certificate verify failed", "kafka.client.ssl.ca.location", "kafka.brokers")
    site.says("the aggregator's log", folder.output, *advice)
    site.says("`sluice status`", site.status, *advice)
    site.says("`sluice status` with the system's librdkafka", lambda: site.status({}), *advice)
    site.says("the pump's log", pump.output, *advice)
    # The right authority, but another host's certificate.
    line.show(ours.issue("elsewhere", "DNS:broker.example,IP:192.0.2.1"))
    site.visit(50)
    site.says("`sluice status`", site.status, *advice)
    equal(roles.database.requests(), 0, "requests counted before anybody was trusted")
    # Mended at the broker: nothing has to be started anew.
    line.show(right(ours))
    roles.load(2_000, 7)
    site.requests += 2_000
    site.exact("after the broker has shown its own certificate")
    equal(pump.terminate(), 0, "exit code of the pump")
    equal(folder.terminate(), 0, "exit code of the aggregator")

    # From now on the broker asks for certificates, too.
    password = os.urandom(12).hex()
    client = ours.issue("sluice", password=password)
    line.show(right(ours), clients_of=ours)
    site.says("`sluice status`", site.status, "ssl.certificate.location")
    secret = context.write("key-password", password + "\n")
    site.configure(**{
        "ssl.certificate.location": str(client.certificate), "ssl.key.location": str(client.key),
        "ssl.key.password": f"file:{secret}"})
    pump, folder = roles.start_pump(), roles.start_aggregator()
    site.visit(50)
    site.exact("with a certificate of the client")
    check("lag" in site.status(), "`sluice status` says nothing of the topic")
    folded(site, pump, folder)
    no_secrets(context, site, [password])
    # A file that is not there is found before anything is started.
    site.configure(**{"ssl.ca.location": "/no/such/ca.pem"})
    result = context.run("check", "--config", roles.config, code=2)
    check(b"ssl.ca.location" in result.stdout, f"`sluice check` does not name the property: {result.stdout!r}")
    cluster.stop()


@test(seconds=180, full_only=True)
def passwords(context: Context) -> None:
    """SASL over TLS, by PLAIN, SCRAM-SHA-256 and -512: a wrong password is named, loses nothing, and is never shown"""
    authority = Authority(context.directory, "ours")
    password, wrong = (f"{kind}-{os.urandom(9).hex()}" for kind in ("Right", "Wrong"))
    line = SecureLine(context.free_port(), {"sluice": password})
    line.show(right(authority))
    cluster = Cluster(context.directory)
    file = context.write("password", wrong + "\n")
    site = Site(
        context, cluster, line, "usage",
        **{"security.protocol": "sasl_ssl", "ssl.ca.location": str(authority.certificate), "sasl.mechanism": "PLAIN",
           "sasl.username": "sluice", "sasl.password": f"file:{file}"})
    roles = site.roles
    advice = ("Authentication failed", "sasl.password")

    pump, folder = roles.start_pump(), roles.start_aggregator()
    site.visit(50)
    site.says("the aggregator's log", folder.output, *advice)
    site.says("`sluice status`", site.status, *advice)
    equal(folder.terminate(), 0, "exit code of the aggregator")
    equal(pump.terminate(), 0, "exit code of the pump")
    # By PLAIN from the file, then by SCRAM from a variable; first with the old password once more.
    context.write("password", password + "\n")
    pump = roles.start_pump()
    roles.wait_shipped()
    equal(pump.terminate(), 0, "exit code of the pump")
    site.configure(**{"sasl.mechanism": "SCRAM-SHA-256", "sasl.password": "env:BROKER_PASSWORD"})
    site.visit(50)
    roles.environment["BROKER_PASSWORD"] = wrong
    site.says("`sluice status` by SCRAM", site.status, *advice)
    roles.environment["BROKER_PASSWORD"] = password
    pump = roles.start_pump()
    # The aggregator has it from a configuration that was changed meanwhile.
    site.configure(**{"sasl.mechanism": "SCRAM-SHA-512"})
    folder = roles.start_aggregator()
    site.exact("by SCRAM")
    folded(site, pump, folder)
    equal(line.mechanisms, {"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"}, "mechanisms that were used")
    no_secrets(context, site, [password, wrong])
    # A password in the configuration itself is not shown either, not even as the cause of a problem.
    site.configure(**{"sasl.password": wrong, "sasl.mechanism": None, "security.protocol": "sasl_sll"})
    shown = context.run("check", "--config", roles.config, code=2)
    check(wrong.encode() not in shown.stdout + shown.stderr, "`sluice check` shows a password")
    cluster.stop()


def no_secrets(context: Context, site: Site, secrets: list[str]) -> None:
    """No password is in any output, nor in any file but the one that it was put into."""
    texts = {process.log: process.output() for process in context.processes}
    texts[Path("status")] = site.status()
    for command in ("check", "sink ls"):
        result = context.run(
            *command.split(), "--config", site.roles.config, environment=site.roles.environment, code=None)
        texts[Path(command)] = (result.stdout + result.stderr).decode()
    for file in site.roles.data.rglob("*"):
        if file.is_file() and file.stat().st_size < 1 << 20:
            texts[file] = file.read_bytes().decode(errors="replace")
    for name, text in texts.items():
        for secret in secrets:
            check(secret not in text, f"a password is in {name}")
