"""The gateway against an independent client that tallies what came over the wire."""

from __future__ import annotations

import signal
from collections import Counter
from typing import Any

from harness.checks import Failure, check, equal, until
from harness.context import Context
from harness.deployment import Up
from harness.http import Client, exchange, is_listening, request
from harness.query import QueryAPI
from harness.registry import test
from harness.traffic import KEYS, Exchange, Plan, Worker, connections, gateway_settings, perform, run_workers, tally
from harness.upstream import BODY, Upstream


def start(context: Context, **more: Any) -> tuple[Upstream, Up]:
    """An upstream, and a deployment in front of it."""
    upstream = Upstream()
    gateway = gateway_settings(upstream.url, context.refusing_port())
    for key in ("timeouts", "limits"):
        gateway[key] |= more.pop(key, {})
    return upstream, Up(context, gateway, **more).start()


def identity_of(record: dict[str, Any]) -> str:
    """The part of a record's path that names its request."""
    return record.get("path", "").rsplit("/", 1)[-1]


def check_records(records: list[dict[str, Any]], exchanges: list[Exchange]) -> None:
    """Compares every record with what the client saw of its request."""
    by_identity = Counter(identity_of(record) for record in records)
    doubled = [name for name, count in by_identity.items() if count > 1]
    check(not doubled, f"{len(doubled)} requests have several records: {doubled[:5]}")
    sent = {exchange.identity: exchange for exchange in exchanges}
    missing = [name for name in sent if name not in by_identity]
    check(not missing, f"{len(missing)} of {len(sent)} requests have no record: {missing[:5]}")
    unknown = [record for record in records if identity_of(record) not in sent]
    check(not unknown, f"{len(unknown)} records of requests that nobody sent: {unknown[:3]}")
    wrong: list[str] = []
    for record in records:
        exchange = sent[identity_of(record)]
        found = (record.get("api"), record.get("application"), record.get("status"), record.get("outcome"))
        expected = (exchange.api, exchange.application, exchange.status, exchange.outcome)
        if exchange.outcome == "client_aborted":
            found, expected = found[:2] + found[3:], expected[:2] + expected[3:]
        problems = []
        if found != expected:
            problems.append(f"is {found}, expected {expected}")
        if exchange.route is not None and record.get("route") != exchange.route:
            problems.append(f"route {record.get('route')!r}, expected {exchange.route!r}")
        if exchange.is_complete and record.get("response_bytes", 0) != exchange.received:
            problems.append(f"response_bytes {record.get('response_bytes')}, the client got {exchange.received}")
        if exchange.is_broken and record.get("response_bytes", 0) < exchange.received:
            problems.append(f"response_bytes {record.get('response_bytes')}, the client got {exchange.received}")
        if exchange.is_complete and exchange.status != 413 and record.get("request_bytes", 0) != exchange.sent_bytes:
            problems.append(f"request_bytes {record.get('request_bytes')}, the client sent {exchange.sent_bytes}")
        duration = record.get("duration_us")
        if duration is None or duration < exchange.delay * 1e6:
            problems.append(f"duration {duration} µs, the upstream alone took {exchange.delay} s")
        elif record.get("upstream_duration_us", 0) > duration:
            problems.append(f"upstream_duration_us {record['upstream_duration_us']} > duration_us {duration}")
        elif record["started_at"] > record["completed_at"]:
            problems.append("started after it was completed")
        if exchange.application and not record.get("key_id"):
            problems.append("no key id")
        if exchange.outcome == "auth_failed" and record.get("key_id"):
            problems.append("a key id of a failed authentication")
        if problems:
            wrong.append(f"{exchange.identity}: {'; '.join(problems)}")
    if wrong:
        raise Failure(f"{len(wrong)} of {len(records)} records are wrong:\n  " + "\n  ".join(wrong[:15]))


def check_rollups(api: QueryAPI, exchanges: list[Exchange], seconds: float = 30) -> None:
    """Compares the rollups with the tally, by every dimension that a client knows."""
    api.wait_total(len(exchanges), "requests counted", seconds)
    counts = tally(exchanges)

    def project(*places: int) -> Counter:
        result: Counter = Counter()
        for group, count in counts.items():
            result[tuple(group[place] for place in places)] += count
        return result

    equal(Counter(api.tally("api")), project(0), "requests by API")
    equal(Counter(api.tally("outcome")), project(3), "requests by outcome")
    found: Counter = Counter()
    for (name, status, outcome), count in api.tally("api,status,outcome").items():
        found[(name, None if outcome == "client_aborted" else status, outcome)] += count
    equal(found, project(0, 2, 3), "requests by API, status and outcome")
    equal(Counter(api.tally("api,application")), project(0, 1), "requests by API and application")
    by_class: Counter = Counter()
    for (name, application, status, outcome), count in counts.items():
        if outcome != "client_aborted":
            by_class[(name, application, f"{status // 100}xx")] += count
    aborted = any(exchange.outcome == "client_aborted" for exchange in exchanges)
    if not aborted:
        equal(Counter(api.tally("api,application,status_class")), by_class, "requests by API, application and class")
    plans = dict(KEYS.values())
    by_plan: Counter = Counter()
    for (_, application, _, _), count in counts.items():
        by_plan[(plans.get(application),)] += count
    equal(Counter(api.tally("plan")), by_plan, "requests by plan")
    by_key = api.tally("key")
    equal(sorted(by_key.values()), sorted(project(1).values()), "requests by key")
    check(not any(secret in str(by_key) for secret in KEYS), "a secret is in the rollups")

    server = sum(c for (_, _, status, outcome), c in counts.items()
                 if outcome != "client_aborted" and not 400 <= (status or 0) < 500
                 and ((status or 0) >= 500 or outcome.startswith("upstream_") or outcome == "gateway_error"))
    client = sum(c for (_, _, status, outcome), c in counts.items()
                 if outcome != "client_aborted" and 400 <= (status or 0) < 500)
    metrics = "requests,client_errors,server_errors,errors,aborted"
    row = api.rows(granularity="total", metrics=metrics)[0]
    gone = sum(exchange.outcome == "client_aborted" for exchange in exchanges)
    expected = {
        "requests": len(exchanges), "client_errors": client, "server_errors": server, "errors": client + server,
        "aborted": gone}
    equal({name: row[name] for name in expected}, expected, "errors by kind")
    if not gone and not any(exchange.is_broken for exchange in exchanges):
        equal(row_bytes(api), sum(exchange.received for exchange in exchanges), "bytes out")


def row_bytes(api: QueryAPI) -> int:
    """All bytes handed to clients."""
    return api.total("bytes_out")


def check_everything(context: Context, up: Up, exchanges: list[Exchange], seconds: float = 30) -> None:
    """Records, rollups, tables and files."""
    check_rollups(up.api, exchanges, seconds)
    check_records(context.requests_logged(up.data), exchanges)
    up.database().check_rows()
    up.database().wait_compacted()
    up.database().check_tiers()
    check_rollups(up.api, exchanges)
    # Credentials are stored as keyed hashes only.
    for path in (up.data / "log").rglob("*.log"):
        content = path.read_bytes()
        for secret in KEYS:
            check(secret.encode() not in content, f"the secret {secret[:6]}… is in {path.name}")


def mixed(worker: Worker) -> None:
    """Random bursts on keep-alive connections."""
    rng = worker.plan.rng
    for client in connections(worker):
        while worker.goes_on:
            burst = [worker.plan.any() for _ in range(rng.choice([1, 1, 1, 2, 5, 16]))]
            if rng.random() < 0.03:
                burst = [worker.plan.failing() if rng.random() < 0.8 else worker.plan.too_large()]
            worker.sent += burst
            if not perform(client, burst):
                break


def loaded(worker: Worker) -> None:
    """As many small requests as the client can send."""
    rng = worker.plan.rng
    for client in connections(worker):
        while worker.goes_on:
            burst = [worker.plan.plain() for _ in range(32)]
            if rng.random() < 0.2:
                burst[rng.randrange(32)] = worker.plan.any()
            worker.sent += burst
            if not perform(client, burst):
                break


@test(seconds=120, alone=True, full_only=True)
def kinds(context: Context) -> None:
    """each kind of request, alone and in a pipeline, leaves one record that says what happened"""
    context.note_seed()
    _, up = start(context)
    plan = Plan(context.seed, "kind")
    sent: list[Exchange] = []
    makers = [
        plan.plain, plan.head, plan.with_status, plan.chunked, plan.close_delimited, plan.posted, plan.large,
        plan.interim, plan.unauthorized, plan.unmatched, plan.other_method, plan.refused_connection]
    for make in makers:
        for _ in range(context.pick(quick=3, full=10)):
            # Alone on a connection, and between two others.
            with Client(up.gateway_port) as client:
                alone = [make()]
                sent += alone
                perform(client, alone)
            with Client(up.gateway_port) as client:
                burst = [plan.plain(), make(), plan.plain()]
                sent += burst
                perform(client, burst)
    kinds_seen: set[str] = set()
    while len(kinds_seen) < 7:
        bad = plan.failing()
        kinds_seen.add(bad.data.split(b"b=")[1].split(b"&")[0].decode())
        sent.append(bad)
        with Client(up.gateway_port) as client:
            perform(client, [bad])
    for _ in range(3):
        sent.append(plan.too_large())
        with Client(up.gateway_port) as client:
            perform(client, sent[-1:])
    check_everything(context, up, sent)


@test(seconds=180, alone=True, full_only=True)
def tallied(context: Context) -> None:
    """rollups equal an independent tally of mixed traffic, to the last request"""
    context.note_seed()
    _, up = start(context)
    sent = run_workers(
        context.directory, up.gateway_port, context.seed, mixed, processes=2, threads=8,
        seconds=context.pick(quick=5, full=25))
    context.note(f"{len(sent)} requests of {len(tally(sent))} groups")
    check_everything(context, up, sent, 60)


@test(seconds=240, alone=True, full_only=True)
def full_load(context: Context) -> None:
    """rollups equal the tally at full load, in both modes of the log"""
    context.note_seed()
    for mode in ("interval", "strict"):
        upstream, up = start(context, log={"sync": mode}, timeouts={"upstream": "20s", "connect": "10s"})
        upstream.ask("forget")
        seconds = context.pick(quick=4, full=10)
        sent = run_workers(
            context.directory, up.gateway_port, context.seed, loaded, processes=2, threads=12, seconds=seconds)
        context.note(f"{mode}: {len(sent)} requests, {len(sent) / seconds:.0f}/s by a Python client and upstream")
        check_everything(context, up, sent, 60)
        up.stop()
        upstream.stop()


@test(seconds=60)
def aborted(context: Context) -> None:
    """clients that go away are recorded as such, wherever the exchange stands"""
    upstream, up = start(context, timeouts={"upstream": "20s", "request": "20s"})
    key = next(iter(KEYS))
    sent: list[Exchange] = []

    def one(name: str, query: str, method: str = "GET", body_sent: bytes = b"", announced: int = 0) -> tuple[Client, Exchange]:
        headers = {"X-Api-Key": key} | ({"Content-Length": str(announced)} if announced else {})
        data = request(method, f"/orders/items/{name}?{query}", headers)
        if announced:
            data = data.replace(b"Content-Length: 0\r\n", b"")
        entry = Exchange(
            name, data, method, "orders", "shop", None, "client_aborted", "/orders/items/{id}")
        sent.append(entry)
        client = Client(up.gateway_port)
        client.send(data + body_sent)
        return client, entry

    for round_ in range(context.pick(quick=3, full=12)):
        # While the upstream thinks: reset, and ordinary close.
        for how in ("reset", "close"):
            gate = f"{how}-{round_}"
            client, _ = one(gate, f"b=gate&g={gate}&n=500")
            upstream.wait_at(gate)
            getattr(client, how)()
        # In the middle of the response.
        gate = f"middle-{round_}"
        client, entry = one(gate, f"b=gatebody&g={gate}&n=200000")
        upstream.wait_at(gate)
        head = client.socket.recv(1 << 16)
        check(head.startswith(b"HTTP/1.1 200"), f"what came before the abort: {head[:80]!r}")
        client.reset()
        # In the middle of the request's body.
        client, _ = one(f"body-{round_}", "b=echo", "POST", b"x" * 1000, 50_000)
        until(lambda: f"body-{round_}" not in str(upstream.targets()), "the body is not whole")
        client.reset()
    api = up.api
    api.wait_total(len(sent), "aborted requests")
    for name in {target.split("g=")[1].split("&")[0] for target in upstream.targets() if "g=" in target}:
        upstream.open(name)
    equal(api.tally("outcome"), {("client_aborted",): len(sent)}, "outcomes of aborted requests")
    equal(api.total("aborted"), len(sent), "aborted")
    equal(api.total("errors"), 0, "aborted requests are no errors")
    check_records(context.requests_logged(up.data), sent)
    # The gateway is well, and a connection that the abort left behind is not used again.
    for _ in range(20):
        after = Plan(context.seed, f"after{_}").plain()
        sent.append(after)
        with Client(up.gateway_port) as client:
            perform(client, [after])
    api.wait_total(len(sent), "requests after the aborts")


@test(seconds=60)
def slow_reader(context: Context) -> None:
    """a client that reads slowly gets everything, and memory stays bounded"""
    upstream, up = start(context, timeouts={"upstream": "20s"})
    before = resident_bytes(up.process.pid)
    clients = []
    size = len(BODY)
    for number in range(context.pick(quick=12, full=24)):
        client = Client(up.gateway_port)
        client.send(request("GET", f"/open/items/slow-{number}?n={size}"))
        clients.append(client)
    until(lambda: len(upstream.targets()) == len(clients), "all requests at the upstream")
    # A request beside them is not delayed: the loop is free.
    equal(exchange(up.gateway_port, request("GET", "/open/items/quick")).status, 200, "a request beside slow readers")
    # The kernel's own buffers are not the process's; what the gateway holds is.
    grown = resident_bytes(up.process.pid) - before
    check(
        grown < size * len(clients) / 4,
        f"memory grew by {grown >> 20} MiB for {len(clients)} responses of {size >> 20} MiB that nobody read")
    for client in clients:
        response = client.read()
        check(response.body == BODY[:size], "a slowly read body differs")
        client.close()
    up.api.wait_total(len(clients) + 1, "slow readers counted")


def resident_bytes(pid: int) -> int:
    """Memory in use by a process."""
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * 4096


@test(seconds=60)
def forwarding(context: Context) -> None:
    """what reaches the upstream: forwarded fields, no hop-by-hop fields, no key, the path as configured"""
    rollup = {"name": "by-team", "dimensions": ["org", "api", "tag.team", "tag.custom"], "tiers": ["1m"]}
    upstream, up = start(context, timeouts={"upstream": "5s"}, rollups=[rollup])
    key = next(iter(KEYS))

    def head_of(path: str, seen: str, headers: dict[str, str]) -> tuple[str, list[tuple[str, str]]]:
        response = exchange(up.gateway_port, request("GET", path, headers, host="api.example.com"))
        equal(response.status, 200, path)
        head = upstream.ask("head", target=seen)
        check(head, f"the upstream did not see {seen}: {upstream.targets()}")
        lines = str(head).split("\r\n")
        fields = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines[1:])]
        return lines[0], fields

    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    _, fields = head_of(
        "/orders/items/a?n=5&keep=1", "/orders/items/a?n=5&keep=1",
        {"X-Api-Key": key, "Connection": "keep-alive, X-Hop", "X-Hop": "1", "Keep-Alive": "timeout=5", "TE": "trailers",
         "Proxy-Authorization": "Basic eDp5", "Upgrade": "foo", "X-Forwarded-For": "203.0.113.9", "traceparent": trace,
         "X-Custom": "kept", "Accept": "*/*"})
    values = dict(fields)
    for name in ("x-hop", "keep-alive", "proxy-authorization", "upgrade", "x-api-key"):
        check(name not in values, f"{name} was forwarded: {fields}")
    equal(values.get("x-custom"), "kept", "a field of the client's own")
    equal(values.get("x-forwarded-for"), "127.0.0.1", "X-Forwarded-For of an untrusted client is replaced")
    equal(values.get("x-forwarded-proto"), "http", "X-Forwarded-Proto")
    equal(values.get("x-forwarded-host"), "api.example.com", "X-Forwarded-Host")
    equal(values.get("traceparent", "")[:35], trace[:35], "the trace goes on")
    check(len([1 for name, _ in fields if name == "host"]) == 1, f"one Host field: {fields}")
    line, fields = head_of("/open/items/b?n=5&keep=1", "/items/b?n=5&keep=1", {})
    equal(line, "GET /items/b?n=5&keep=1 HTTP/1.1", "listen path taken off")
    made = dict(fields).get("traceparent", "")
    check(len(made) == 55 and made.startswith("00-"), f"no trace was begun: {made!r}")
    records = {identity_of(record): record for record in context.requests_logged(up.data)} if until(
        lambda: len(context.requests_logged(up.data)) == 2, "both records") else {}
    equal(records["a"].get("trace_id"), trace[3:35], "trace id in the record")
    equal(records["b"].get("trace_id"), made[3:35], "trace id in the record")
    equal(records["b"].get("path"), "/open/items/b", "path as the client sent it, without the query")
    equal(records["a"].get("client_ip"), "127.0.0.1", "client address")
    tags = [{"key": "team", "value": "payments"}, {"key": "custom", "value": "kept"}]
    equal((records["a"].get("tags"), records["b"].get("tags", [])), (tags, []), "tags of an API with and of one without")
    up.api.wait_total(2, "both requests counted")
    rows = up.api.rows(group_by="tag.team,tag.custom", granularity="total")
    found = {(row["tag.team"], row["tag.custom"]): row["requests"] for row in rows}
    equal(found, {("payments", "kept"): 1, (None, None): 1}, "requests by what the gateway has tagged")


@test(seconds=60)
def trusted_proxies(context: Context) -> None:
    """X-Forwarded-For is believed from trusted proxies only, from the right"""
    upstream = Upstream()
    gateway = gateway_settings(upstream.url, context.refusing_port())
    gateway["trusted_proxies"] = ["127.0.0.0/8", "10.0.0.0/8"]
    up = Up(context, gateway).start()
    cases = {
        "one": ("203.0.113.9", "203.0.113.9"),
        "chain": ("198.51.100.7, 203.0.113.9, 10.1.2.3", "203.0.113.9"),
        "spoofed": ("1.1.1.1, 203.0.113.9", "203.0.113.9"),
        "none": (None, "127.0.0.1"),
        "six": ("2001:db8::5", "2001:db8::5"),
    }
    for name, (header, _) in cases.items():
        headers = {"X-Forwarded-For": header} if header else {}
        equal(exchange(up.gateway_port, request("GET", f"/open/items/{name}", headers)).status, 200, name)
    until(lambda: len(context.requests_logged(up.data)) == len(cases), "all records")
    found = {identity_of(record): record.get("client_ip") for record in context.requests_logged(up.data)}
    equal(found, {name: address for name, (_, address) in cases.items()}, "client addresses")


@test(seconds=90)
def drain(context: Context) -> None:
    """SIGTERM lets requests in flight finish, loses no record, and ends with 0"""
    upstream, up = start(context, timeouts={"upstream": "30s", "drain": "20s"})
    waiting, half = [], []
    count = context.pick(quick=10, full=40)
    for number in range(count):
        client = Client(up.gateway_port)
        client.send(request("GET", f"/open/items/wait-{number}?b=gate&g=all&n=3000"))
        waiting.append(client)
        client = Client(up.gateway_port)
        client.send(request("GET", f"/open/items/half-{number}?b=gatebody&g=all&n=3000"))
        half.append(client)
    idle = Client(up.gateway_port)
    idle.send(request("GET", "/open/items/idle"))
    equal(idle.read().status, 200, "a request before the signal")
    upstream.wait_at("all", 2 * count)
    up.process.signal(signal.SIGTERM)
    # The listener closes: new clients are turned away while old ones are served.
    until(lambda: not is_listening(up.gateway_port), "no new connections after SIGTERM", 15)
    check(idle.at_end(), "an idle connection is closed when the gateway drains")
    check(up.process.is_running, "the process waits for requests in flight")
    upstream.open("all")
    for client in [*waiting, *half]:
        response = client.read()
        check(response.body == BODY[:3000], "a response in flight at SIGTERM is whole")
        client.close()
    code = up.process.wait(30)
    equal(code, 0, f"exit code after SIGTERM; the end of its output: {up.process.output()[-600:]}")
    check(up.embedded.pid is None, "the embedded PostgreSQL still runs after an orderly stop")
    up.start()
    up.api.wait_total(2 * count + 1, "requests after a restart")
    records = context.requests_logged(up.data)
    equal(len(records), 2 * count + 1, "records after a restart")
    equal({record["outcome"] for record in records}, {"ok"}, "outcomes")


@test(seconds=60)
def drain_limit(context: Context) -> None:
    """a request that never ends does not keep the gateway from stopping, and is recorded"""
    upstream, up = start(context, timeouts={"upstream": "60s", "drain": "1s"})
    client = Client(up.gateway_port)
    client.send(request("GET", "/open/items/stuck?b=gate&g=never"))
    upstream.wait_at("never")
    up.stop(20)
    up.start()
    up.api.wait_total(1, "the request that was cut off")
    client.close()
