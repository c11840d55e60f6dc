"""Meters and alerts: what was billed stays, late records make corrections, webhooks hear each event once and signed."""

from __future__ import annotations

import csv
import hashlib
import hmac
import io
import json
import ssl
import time
from collections import Counter
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from harness.checks import check, equal, settles, until
from harness.combined_log import line
from harness.context import Context
from harness.deployment import Roles, make_roles
from harness.http import Client
from harness.registry import test
from harness.secure import Authority, Certificate

SECRET = "a secret of thirty-two characters"
KEY = "the key of the shop, which is long"


class Receiver:
    """A webhook that refuses the first event it hears of once, and checks every signature."""

    def __init__(self, certificate: Certificate | None = None) -> None:
        self.scheme = "https" if certificate else "http"
        self.events: list[dict[str, Any]] = []
        self.refused: list[dict[str, Any]] = []
        self.wrong: list[str] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            """Answers one request."""

            def do_POST(self) -> None:  # the name is the library's
                """Takes an event."""
                body = self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(receiver.take(self.headers, body))
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Says nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if certificate:
            secure = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            secure.load_cert_chain(certificate.certificate, certificate.key)
            self.server.socket = secure.wrap_socket(self.server.socket, server_side=True)
        Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"{self.scheme}://127.0.0.1:{self.server.server_port}/hook"

    def take(self, headers: Any, body: bytes) -> int:
        """Checks and keeps an event; the status of the answer."""
        fields = dict(part.split("=", 1) for part in headers.get("Sluice-Signature", "").split(",") if part)
        expected = hmac.new(SECRET.encode(), fields.get("t", "").encode() + b"." + body, hashlib.sha256).hexdigest()
        event = json.loads(body)
        if expected != fields.get("v1") or abs(time.time() - int(fields["t"])) > 300 or (
                headers["Sluice-Event"] != event["id"]):
            self.wrong.append(f"{dict(headers)} {body!r}")
            return 400
        if not self.refused and event["status"] != "test":
            self.refused.append(event)
            return 503
        self.events.append(event)
        return 200


def tally(stamps: list[int]) -> dict[str, int]:
    """Requests by the UTC date on which they ended."""
    return dict(Counter(f"{datetime.fromtimestamp(at, timezone.utc):%Y-%m-%dT00:00:00Z}" for at in stamps))


def rows(roles: Roles, **parameters: str) -> list[dict[str, Any]]:
    """Rows of the meter as the API has them."""
    answer = roles.api.get("/v1/meters/hits", **parameters)
    return answer.json()["rows"] if answer.status == 200 else []


@test(seconds=90)
def meters_and_alerts(context: Context) -> None:
    """closed periods equal the log, corrections the late lines, what was billed stays; a quota is told once, signed"""
    context.note_seed()
    midnight = datetime.now(timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)
    first = midnight - timedelta(days=3)
    start = int(first.timestamp())
    early = [start + context.rng.randrange(2 * 86_400) for _ in range(300)]
    late = [start + context.rng.randrange(2 * 86_400) for _ in range(50)]
    receiver = Receiver()
    cluster, roles = make_roles(
        context,
        {"apis": [{
            "id": "shopping", "org": "acme", "listen_path": "/shop/", "upstreams": ["builtin:demo"],
            "auth": {"mode": "key"}}],
         "keys": [{"id": "k1", "secret": KEY, "application": "shop"}]},
        serve={"listen": f"127.0.0.1:{context.free_port()}", "check_interval": "200ms"},
        meters=[
            {"name": "hits", "aggregate": "count", "period": "day", "start": f"{first:%Y-%m-%d}",
             "filter": ["api:eq:web"]},
            {"name": "calls", "aggregate": "count"}],
        webhooks=[{"name": "ops", "url": receiver.url, "secret": "env:HOOK_SECRET"}],
        alerts=[{"name": "quota", "metric": "quota", "meter": "calls", "limit": 10, "above": 0.5, "notify": ["ops"]}],
        environment={"HOOK_SECRET": SECRET},
    )
    roles.start_aggregator()

    def add(name: str, stamps: list[int], total: int) -> None:
        path = context.write(name, "".join(line(at) + "\n" for at in stamps))
        context.run(
            "import", "--org", "acme", "--api", "web", "--config", roles.config, path, environment=roles.environment)
        settles(roles.database.requests, total, f"requests after {name}", 30)

    add("early.log", early, len(early))
    server = roles.start_serve()
    until(lambda: len(rows(roles)) == 2, "two days are closed with rows", 30)
    equal({row["period_start"]: row["quantity"] for row in rows(roles)}, tally(early), "quantities of closed days")
    export = ("meter", "export", "hits", "--config", roles.config, "--url", f"http://127.0.0.1:{roles.query_port}",
              "--token", roles.api.token)
    billed = context.run(*export, "--revision", "1").stdout
    add("late.log", late, len(early) + len(late))
    changed = tally(late)
    until(lambda: sum(row["revision"] > 1 for row in rows(roles)) == len(changed), "late lines are corrections", 30)
    equal(
        {row["period_start"]: row["correction"] for row in rows(roles, revision="all") if row["revision"] > 1},
        changed, "corrections")
    equal({row["period_start"]: row["quantity"] for row in rows(roles)}, tally(early + late), "quantities afterwards")
    equal(context.run(*export, "--revision", "1").stdout, billed, "what was billed")
    lines = list(csv.DictReader(io.StringIO(context.run(*export).stdout.decode())))
    equal(
        sum(int(row["quantity"]) for row in lines if row["revision"] == "1")
        + sum(int(row["correction"]) for row in lines), len(early) + len(late), "the sum of the bill")

    # A quota that is used up is told once, whatever is killed.
    roles.start_gateway()
    for _ in range(6):
        with Client(roles.gateway_port) as client:
            client.send(f"GET /shop/a HTTP/1.1\r\nHost: a\r\nX-Api-Key: {KEY}\r\nConnection: close\r\n\r\n".encode())
            check(client.read().status in (200, 404), "a request with the shop's key was not let in")
    until(lambda: receiver.events or receiver.wrong, "the webhook hears of the quota", 40)
    equal(receiver.wrong, [], "events with a wrong signature")
    until(
        lambda: roles.database.value("SELECT count(delivered_at) FROM sluice.alert_delivery") == "1",
        "the delivery is noted", 20)
    server.kill()
    restarted = roles.database.value("SELECT now()")
    roles.start_serve()
    looked = f"SELECT count(*) FROM sluice.alert_state WHERE checked_at > '{restarted}'"
    until(lambda: roles.database.value(looked) == "1", "the new server has looked", 30)
    [event] = receiver.events
    equal(
        {key: event[key] for key in ("status", "rule", "org", "application", "meter")},
        {"status": "firing", "rule": "quota", "org": "acme", "application": "shop", "meter": "calls"}, "the event")
    equal(receiver.refused, [event], "the attempt before, which was refused")
    equal(roles.database.value("SELECT count(*) FROM sluice.alert_event"), "1", "events")
    told = context.run("alert", "ls", "--config", roles.config, "--format", "json", environment=roles.environment)
    equal([row["state"] for row in json.loads(told.stdout)], ["firing"], "sluice alert ls")
    context.run("alert", "test", "quota", "--config", roles.config, environment=roles.environment)
    equal([event["status"] for event in receiver.events], ["firing", "test"], "events after sluice alert test")
    check(not receiver.wrong, f"events with a wrong signature: {receiver.wrong}")
    receiver.server.shutdown()
    cluster.stop()


@test(seconds=60)
def webhook_certificate(context: Context) -> None:
    """a webhook whose certificate nobody vouches for hears nothing, not even when it is for the right address"""
    receiver = Receiver(Authority(context.directory, "unknown").issue("hook", "IP:127.0.0.1"))
    config = context.configuration({
        "data": str(context.directory / "data"),
        "webhooks": [{"name": "ops", "url": receiver.url, "secret": SECRET}],
        "alerts": [{"name": "slow", "metric": "latency_p99", "above": 1, "notify": ["ops"]}],
    }, "certificate.yaml")
    result = context.run("alert", "test", "slow", "--config", config, "--format", "json", code=1)
    [row] = json.loads(result.stdout)
    check("CERTIFICATE_VERIFY_FAILED" in row["result"], f"why the event was not delivered: {row}")
    equal((receiver.events, receiver.wrong), ([], []), "what the webhook heard")
