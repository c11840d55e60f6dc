"""Dead letters of a sink: what a broker refuses is put aside, shown, handed over later, or dropped."""

from __future__ import annotations

import json
from typing import Any

from harness.broker import Noida
from harness.checks import check, equal
from harness.context import Context
from harness.http import exchange, request
from harness.kafka_roles import make_kafka_roles
from harness.records import check_topic
from harness.registry import test

GATEWAY = {"apis": [{"id": "open", "org": "acme", "listen_path": "/open/", "upstreams": ["builtin:demo"]}]}


@test(seconds=120)
def refused(context: Context) -> None:
    """a record that the broker never takes stops nothing: it is kept, shown, dropped or redriven, each once"""
    broker = Noida(context)
    broker.create_topic(1, **{"max.message.bytes": "1500"})
    gateway = {"listen": f"127.0.0.1:{context.free_port()}"} | GATEWAY
    cluster, roles = make_kafka_roles(context, broker, gateway, transport="local")

    def dlq(command: str, *arguments: str, code: int = 0) -> list[dict[str, Any]]:
        result = context.run(
            "dlq", command, *arguments, "--sink", "central", "--config", roles.config, "--format", "json",
            environment=roles.environment, code=code)
        return json.loads(result.stdout) if code == 0 else [{"error": result.stderr.decode()}]

    process, pump = roles.start_gateway(), roles.start_pump()
    for number in range(60):
        path = f"/open/items/{number}" + ("x" * 3000 if number % 20 == 7 else "")
        answer = exchange(roles.gateway_port, request("GET", path, {"Connection": "close"}))
        check(answer.is_complete, f"request {number} was not answered")
    roles.wait_shipped()
    equal(process.terminate(), 0, "exit code of the gateway")
    roles.wait_shipped()
    logged = {(r["log_id"], r["offset"]): r for r in context.log_records(roles.data) if "offset" in r}
    shipped = {m.identity for m in broker.messages() if not m.marker}
    letters = dlq("ls")
    equal({(r["log"], r["offset"]) for r in letters}, set(logged) - shipped, "letters, and what is not in the topic")
    equal(len(letters), 3, "letters")
    equal({r["reason"] for r in letters}, {"too_large"}, "reasons")
    status = context.run("status", "--config", roles.config, "--format", "json", environment=roles.environment)
    equal(json.loads(status.stdout)["sinks"][0]["dead_letters"], 3, "dead letters that `sluice status` counts")
    shown, = dlq("show", str(letters[0]["id"]))
    equal(json.loads(shown["record"])["path"], logged[(letters[0]["log"], letters[0]["offset"])]["path"], "path of the letter's record")

    # Killed and made to ship everything once more: refused once more, and kept once.
    pump.kill()
    pump = roles.start_pump("--reship-from", "2025-01-01T00:00:00Z")
    roles.wait_shipped()
    equal(dlq("ls"), letters, "letters after everything was shipped once more")
    equal(dlq("drop", str(letters[0]["id"])), [{"outcome": "dropped", "records": 1}], "`sluice dlq drop`")
    equal(
        dlq("redrive", "--all"), [{"outcome": "redriven", "records": 0}, {"outcome": "kept", "records": 2}],
        "`sluice dlq redrive` while the broker refuses")
    # The topic made anew takes them; the records are handed over beside the pump that runs.
    broker.delete_topic()
    broker.create_topic(1)
    equal(
        dlq("redrive", "--all"), [{"outcome": "redriven", "records": 2}, {"outcome": "kept", "records": 0}],
        "`sluice dlq redrive`")
    equal(dlq("ls"), [], "letters at the end")
    left = {(r["log"], r["offset"]) for r in letters[1:]}
    found = [m for m in broker.messages() if not m.marker and m.identity in left]
    equal(sorted(m.identity for m in found), sorted(left), "what was redriven, in the topic")
    check_topic(found, [logged[name] for name in left], "the redriven records")
    equal(dlq("redrive", "--all"), [{"outcome": "redriven", "records": 0}], "nothing is redriven twice")
    # Towards aggregators a skip marker has settled the matter.
    roles.settings["transport"] = "kafka"
    roles.save()
    error = dlq("redrive", "--all", code=1)[0]["error"]
    check("skip marker" in error, f"`sluice dlq redrive` towards aggregators says {error!r}")
    equal(pump.terminate(), 0, "exit code of the pump")
    cluster.stop()
