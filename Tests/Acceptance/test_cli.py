"""The command line: help everywhere, every problem at once, exit codes 0, 1 and 2."""

from __future__ import annotations

import json
import re
from typing import Any

from harness.checks import Failure, check, equal, until
from harness.context import Context
from harness.deployment import Up
from harness.http import is_ready
from harness.query import QueryAPI
from harness.registry import test

COMMANDS: list[list[str]] = [
    [], ["up"], ["gateway"], ["pump"], ["aggregator"], ["serve"], ["import"], ["query"], ["top"], ["status"], ["check"], ["migrate"],
    ["token"], ["token", "create"], ["token", "ls"], ["token", "revoke"], ["log"], ["log", "ls"], ["log", "cat"],
    ["log", "verify"], ["load"], ["sink"], ["sink", "ls"],
    ["meter"], ["meter", "ls"], ["meter", "close"], ["alert"], ["alert", "ls"],
]
GROUPS = ([], ["token"], ["log"], ["sink"], ["meter"], ["alert"])


@test(seconds=60)
def help_pages(context: Context) -> None:
    """--help works for every command, and names what the command takes"""
    wrong = []
    for command in COMMANDS:
        result = context.run(*command, "--help", code=None)
        text = result.stdout.decode()
        name = " ".join(["sluice", *command])
        if result.returncode != 0 or "USAGE" not in text.upper() or name not in text:
            wrong.append(f"{name} --help: exit code {result.returncode}, {text[:120]!r}")
        elif command and command not in GROUPS and command[0] != "log" and command != ["load"] and "--config" not in text:
            wrong.append(f"{name} --help does not name --config")
    top = context.run("--help").stdout.decode()
    for command in COMMANDS:
        if len(command) == 1 and not re.search(rf"^\s+{command[0]}\s", top, re.MULTILINE):
            wrong.append(f"sluice --help does not list {command[0]}")
    check(not wrong, "\n  ".join(["help pages:", *wrong]))
    check(context.run("--version").stdout.strip(), "--version prints nothing")


@test(seconds=90)
def bad_arguments(context: Context) -> None:
    """every command answers bad arguments with exit code 2 and a sentence that helps"""
    empty = context.write("empty/placeholder", "")
    log = context.write("a.log", "")
    nowhere = str(context.directory / "nowhere.yaml")
    # What is called, and words of which at least one must be in the answer.
    cases: list[tuple[list[Any], list[str]]] = [
        ([*command, "--no-such-option"], ["no-such-option"]) for command in COMMANDS]
    cases += [
        ([*command, "surplus-argument"], ["surplus-argument"])
        for command in COMMANDS if command not in (["import"], ["log", "ls"], ["log", "cat"], ["log", "verify"], ["token", "revoke"])]
    cases += [
        ([*command, "--config", nowhere], ["nowhere.yaml"])
        for command in COMMANDS if command and command not in GROUPS and command[0] not in ("log", "load")
        and command not in (["import"], ["token", "create"], ["token", "revoke"])]
    cases += [
        (["frobnicate"], ["frobnicate"]),
        (["import"], ["file", "org"]),
        (["import", "--org", "o", "--api", "a"], ["file"]),
        (["import", "--api", "a", log], ["org"]),
        (["import", "--org", "o", log], ["api"]),
        (["import", "--org", "o", "--api", "a", "--format", "xml", log], ["xml"]),
        (["import", "--org", "", "--api", "a", log], ["org"]),
        (["token", "create"], ["scope"]),
        (["token", "create", "--scope", "king"], ["king"]),
        (["token", "create", "--scope", "org"], ["--org"]),
        (["token", "create", "--scope", "application", "--org", "o"], ["--application"]),
        (["token", "create", "--scope", "admin", "--org", "o"], ["--org"]),
        (["token", "revoke"], ["id"]),
        (["log", "cat"], ["dir"]),
        (["log", "cat", empty.parent, "--limit", "-1"], ["limit"]),
        (["log", "cat", empty.parent, "--from", "minus"], ["minus"]),
        (["load"], ["--url", "--into"]),
        (["load", "--into", empty.parent, "--records", "0"], ["records"]),
        (["load", "--into", empty.parent, "--records", "many"], ["many"]),
        (["load", "--into", empty.parent, "--profile", "gigantic"], ["gigantic"]),
        (["load", "--url", "ftp://example.com"], ["ftp"]),
        (["load", "--url", "http://127.0.0.1:1", "--into", empty.parent], ["--url"]),
        (["load", "--url", "http://127.0.0.1:1", "--rate", "-5"], ["rate"]),
        (["query", "--limit", "many"], ["many"]),
        (["query", "--format", "xml"], ["xml"]),
        (["status", "--format", "xml"], ["xml"]),
        (["check", "--format", "xml"], ["xml"]),
    ]
    wrong = []
    for arguments, words in cases:
        result = context.run(*arguments, code=None, seconds=20)
        text = (result.stderr + result.stdout).decode(errors="replace")
        shown = " ".join(["sluice", *map(str, arguments)])
        if result.returncode != 2:
            wrong.append(f"{shown}: exit code {result.returncode}: {text[:160]!r}")
        elif not any(word.lower() in result.stderr.decode(errors="replace").lower() for word in words):
            wrong.append(f"{shown}: standard error does not mention {words}: {text[:200]!r}")
        elif re.search(r"Fatal error|Optional\(|Swift\.|NSError|Error Domain", text):
            wrong.append(f"{shown}: an internal text reached the user: {text[:200]!r}")
    if wrong:
        raise Failure(f"{len(wrong)} of {len(cases)} cases:\n  " + "\n  ".join(wrong))


@test(seconds=60)
def failures(context: Context) -> None:
    """what cannot be done ends with exit code 1 and says what to do"""
    port = context.free_port()
    cases: list[tuple[list[Any], list[str]]] = [
        (["log", "cat", context.directory / "missing"], ["missing"]),
        (["log", "verify", context.directory / "missing"], ["missing"]),
        (["status", "--data", context.directory / "missing"], ["missing"]),
        (["query", "--url", f"http://127.0.0.1:{port}", "--token", "t"], [str(port)]),
        (["load", "--url", f"http://127.0.0.1:{port}", "--duration", "100ms"], [str(port)]),
    ]
    wrong = []
    for arguments, words in cases:
        result = context.run(*arguments, code=None, seconds=30)
        text = result.stderr.decode(errors="replace")
        if result.returncode != 1 or not all(word in text for word in words):
            wrong.append(f"sluice {' '.join(map(str, arguments))}: exit code {result.returncode}: {text[:300]!r}")
    check(not wrong, "\n  ".join(["failures:", *wrong]))


BROKEN = """\
node: gw-1
colour: blue
data: ./d
transport: pigeon
log: { sync: sometimes, sync_interval: 10parsecs, segment_bytes: lots }
gateway:
  listen: 127.0.0.1:99999
  trusted_proxies: [10.0.0.0/40]
  apis:
    - id: orders
      listen_path: /orders/
      upstreams: [ftp://127.0.0.1:9000]
      auth: { mode: magic }
      routes: ["orders without a slash"]
    - id: orders
      org: acme
      version: v1
      listen_path: orders
      upstreams: []
      speed: 9
  keys:
    - { id: k1, application: shop }
    - { id: k2, secret: "env:SLUICE_TEST_UNSET_VARIABLE" }
serve: { listen: nowhere }
aggregator:
  flush_records: -1
"""


@test(seconds=30)
def check_lists_everything(context: Context) -> None:
    """`sluice check` lists all problems of a broken file at once, each with its line"""
    path = context.write("broken.yaml", BROKEN)
    expected = {
        2: "colour", 4: "pigeon", 5: "sometimes", 7: "99999", 8: "10.0.0.0/40", 10: "org", 12: "ftp", 13: "magic",
        14: "orders without", 18: "orders", 19: "upstreams", 20: "speed", 22: "secret", 23: "UNSET", 24: "nowhere",
        26: "flush_records"}
    result = context.run("check", "--config", path, code=2)
    lines = (result.stdout + result.stderr).decode()
    found: dict[int, list[str]] = {}
    for text in lines.splitlines():
        if match := re.search(r"broken\.yaml:(\d+)", text):
            found.setdefault(int(match[1]), []).append(text)
    missing = {line: word for line, word in expected.items() if line not in found}
    check(not missing, f"problems on these lines are not listed: {missing}; the answer was\n{lines}")
    wrong = {line: (word, found[line]) for line, word in expected.items() if word.lower() not in " ".join(found[line]).lower()}
    check(not wrong, f"texts that do not name the problem: {wrong}")
    equal(len([text for text in found[5]]), 3, f"problems on line 5: {found[5]}")
    surplus = set(found) - set(expected) - {9, 15, 21}
    check(not surplus, f"problems on lines without any: { {line: found[line] for line in surplus} }")
    report = json.loads(context.run("check", "--config", path, "--format", "json", code=2).stdout)
    check(len(report) >= len(expected) + 2, f"JSON lists {len(report)} problems")
    # Every other command refuses the file in the same way, before it does anything.
    for command in (["up"], ["gateway"], ["aggregator"], ["serve"], ["migrate"], ["status"], ["token", "ls"]):
        refusal = context.run(*command, "--config", path, code=2).stderr.decode()
        check("pigeon" in refusal and ":24" in refusal, f"sluice {command}: {refusal[:300]!r}")
    # A file that is no YAML at all has a line, too.
    torn = context.write("torn.yaml", "gateway:\n  listen: [unclosed\nserve: {\n")
    text = context.run("check", "--config", torn, code=2)
    check(re.search(rb"torn\.yaml:\d+", text.stdout + text.stderr), f"a torn file: {text.stdout + text.stderr!r}")


@test(seconds=30)
def check_accepts(context: Context) -> None:
    """`sluice check` accepts the example, names overrides from the environment, and hides secrets"""
    good = {
        "gateway": {
            "apis": [{"id": "orders", "org": "acme", "listen_path": "/orders/", "upstreams": ["http://127.0.0.1:9000"],
                      "auth": {"mode": "key"}}],
            "keys": [{"id": "k1", "secret": "env:K1"}]},
    }
    path = context.configuration(good, "good.yaml")
    context.run("check", "--config", path, environment={"K1": "a-secret-value"})
    context.run("check", environment={"SLUICE_CONFIG": str(path), "K1": "a-secret-value"})
    result = context.run("check", "--config", path, code=2, environment={"K1": "s", "SLUICE_GATEWAY_LISTEN": "nowhere"})
    check(b"SLUICE_GATEWAY_LISTEN" in result.stdout + result.stderr, "the variable is not named")
    result = context.run("check", "--config", path, code=2, environment={"K1": "s", "SLUICE_GATEWAY_LISTN": "x"})
    check(b"SLUICE_GATEWAY_LISTN" in result.stdout + result.stderr, "an unknown variable is not named")
    result = context.run("check", "--config", path, code=2)
    check(b"K1" in result.stdout + result.stderr, "an unset secret is not named")
    context.run("check", cwd=context.make_directory())


@test(seconds=90)
def status_and_tokens(context: Context) -> None:
    """status, token ls and log ls show what is there; a revoked token ends within seconds"""
    up = Up(context).start()
    up.api.wait_total(0, "nothing yet")
    secret = context.run(
        "token", "create", "--config", up.config, "--scope", "org", "--org", "acme", "--description", "dashboard"
    ).stdout.decode().strip()
    listed = json.loads(context.run("token", "ls", "--config", up.config, "--format", "json").stdout)
    mine = [token for token in listed if token.get("description") == "dashboard"]
    equal(len(mine), 1, f"tokens of that description in {listed}")
    check(secret not in json.dumps(listed), "token ls shows a secret")
    equal(up.api.call("GET", "/v1/usage", token=secret).status, 200, "a fresh token")
    context.run("token", "revoke", "--config", up.config, mine[0]["id"])
    until(lambda: up.api.call("GET", "/v1/usage", token=secret).status == 401, "a revoked token is refused", 10)
    context.run("token", "revoke", "--config", up.config, "tok_missing", code=1)
    for row in up.database().rows("SELECT secret_hash::text, id FROM sluice.token"):
        check(secret not in row[0], "a secret is in the database")

    status = json.loads(context.run("status", "--config", up.config, "--format", "json").stdout)
    check(status, "status is empty")
    table = context.run("status", "--config", up.config).stdout.decode()
    check(str(up.gateway_port) in table and str(up.query_port) in table, f"status does not show the ports: {table[:600]}")
    logs = json.loads(context.run("log", "ls", up.data, "--format", "json").stdout)
    check(logs, "log ls shows nothing")
    context.run("log", "verify", up.data)
    # In and out of `up`, the command line reads the administrator's token by itself.
    context.run("query", "--config", up.config, "--granularity", "total")
    up.stop()


@test(seconds=90)
def demonstration(context: Context) -> None:
    """`sluice up` without any file serves the demonstration, and `sluice load` fills it"""
    directory = context.make_directory()
    data = directory / "data"
    port, query = context.free_port(), context.free_port()
    environment = {"SLUICE_GATEWAY_LISTEN": f"127.0.0.1:{port}", "SLUICE_SERVE_LISTEN": f"127.0.0.1:{query}"}
    process = context.start("up", "--data", str(data), environment=environment)

    def ready() -> bool:
        process.require_running()
        return is_ready(port) and is_ready(query)

    until(ready, "the demonstration is ready", 60)
    output = process.output()
    check(str(port) in output and str(query) in output, f"`sluice up` does not say where it listens: {output[-800:]}")
    result = context.run(
        "load", "--url", f"http://127.0.0.1:{port}", "--rate", "200", "--duration", "2s", "--seed", "7", "--format", "json")
    report = json.loads(result.stdout)
    report = report[0] if isinstance(report, list) else report
    equal((report["completed"], report["failed"]), (400, 0), f"load report {report}")
    token = (data / "admin.token").read_text().strip()
    api = QueryAPI(query, token)
    api.wait_total(400, "requests of the demonstration")
    apis = api.tally("api")
    check({"orders", "catalog", "payments"} <= {key[0] for key in apis}, f"APIs of the demonstration: {apis}")
    printed = context.run(
        "query", "--url", f"http://127.0.0.1:{query}", "--token", token, "--group-by", "api,route", "--granularity", "total",
        "--metrics", "requests,errors,latency_p50,latency_p99").stdout.decode()
    check("/orders/{id}" in printed, f"`sluice query` prints {printed[:600]}")
    equal(process.terminate(), 0, "exit code")
