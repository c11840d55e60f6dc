"""Requests that two servers could read differently are refused, recorded, and never forwarded."""

from __future__ import annotations

from collections import Counter

from harness.checks import Failure, check, equal, until
from harness.context import Context
from harness.deployment import Up
from harness.http import Broken, Client, Response
from harness.registry import test
from harness.traffic import gateway_settings
from harness.upstream import Upstream

CHUNKED = b"0\r\n\r\n"
SMUGGLED = b"GET /open/items/smuggled HTTP/1.1\r\nHost: x\r\n\r\n"


def post(*fields: bytes, body: bytes = b"", target: bytes = b"/open/items/strict", version: bytes = b"HTTP/1.1") -> bytes:
    """A POST with raw header fields."""
    return b"POST " + target + b" " + version + b"\r\nHost: x\r\n" + b"".join(f + b"\r\n" for f in fields) + b"\r\n" + body


def get(line: bytes = b"GET /open/items/strict HTTP/1.1", *fields: bytes, host: bytes | None = b"Host: x") -> bytes:
    """A GET with a raw request line and raw header fields."""
    lines = [line] + ([host] if host is not None else []) + list(fields)
    return b"\r\n".join(lines) + b"\r\n\r\n"


# What is sent, and which statuses are right.
CASES: dict[str, tuple[bytes, set[int]]] = {
    "length and coding": (post(b"Content-Length: 5", b"Transfer-Encoding: chunked", body=CHUNKED), {400}),
    "coding and length": (post(b"Transfer-Encoding: chunked", b"Content-Length: 5", body=CHUNKED), {400}),
    "two lengths": (post(b"Content-Length: 5", b"Content-Length: 6", body=b"hello!"), {400}),
    "two equal lengths": (post(b"Content-Length: 5", b"Content-Length: 5", body=b"hello"), {400}),
    "list of lengths": (post(b"Content-Length: 5, 5", body=b"hello"), {400}),
    "signed length": (post(b"Content-Length: +5", body=b"hello"), {400}),
    "negative length": (post(b"Content-Length: -5", body=b"hello"), {400}),
    "hexadecimal length": (post(b"Content-Length: 0x5", body=b"hello"), {400}),
    "empty length": (post(b"Content-Length:", body=b"hello"), {400}),
    "length beyond 64 bits": (post(b"Content-Length: 99999999999999999999999", body=b"hello"), {400, 413}),
    "space before the colon": (post(b"Content-Length : 5", body=b"hello"), {400}),
    "coding with a space before the colon": (post(b"Transfer-Encoding : chunked", body=CHUNKED), {400}),
    "folded coding": (post(b"Transfer-Encoding:\r\n chunked", body=CHUNKED), {400}),
    "folded field": (get(b"GET /open/items/strict HTTP/1.1", b"X-A: 1\r\n 2"), {400}),
    "unknown coding": (post(b"Transfer-Encoding: xchunked", body=CHUNKED), {400, 501}),
    "coding after chunked": (post(b"Transfer-Encoding: chunked, identity", body=CHUNKED), {400, 501}),
    "gzip coding": (post(b"Transfer-Encoding: gzip, chunked", body=CHUNKED), {400, 501}),
    "two codings": (post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", body=CHUNKED), {400}),
    "quoted coding": (post(b'Transfer-Encoding: "chunked"', body=CHUNKED), {400, 501}),
    "coding with a control byte": (post(b"Transfer-Encoding: \x0bchunked", body=CHUNKED), {400, 501}),
    "coding in HTTP/1.0": (post(b"Transfer-Encoding: chunked", body=CHUNKED, version=b"HTTP/1.0"), {400}),
    "no host": (get(host=None), {400}),
    "two hosts": (get(b"GET /open/items/strict HTTP/1.1", b"Host: y"), {400}),
    "host with a path": (get(host=b"Host: a/b"), {400}),
    "host with user information": (get(host=b"Host: a@b"), {400}),
    "host with a space": (get(host=b"Host: a b"), {400}),
    "host with a bad port": (get(host=b"Host: a:port"), {400}),
    "host list": (get(host=b"Host: a, b"), {400}),
    "field without a colon": (get(b"GET /open/items/strict HTTP/1.1", b"nonsense"), {400}),
    "field with an empty name": (get(b"GET /open/items/strict HTTP/1.1", b": value"), {400}),
    "zero byte in a value": (get(b"GET /open/items/strict HTTP/1.1", b"X-A: a\x00b"), {400}),
    "line feed alone": (b"GET /open/items/strict HTTP/1.1\nHost: x\n\n", {400}),
    "carriage return alone": (get(b"GET /open/items/strict HTTP/1.1", b"X-A: a\rb"), {400}),
    "space before the first field": (b"GET /open/items/strict HTTP/1.1\r\n Host: x\r\n\r\n", {400}),
    "no version": (b"GET /open/items/strict\r\nHost: x\r\n\r\n", {400}),
    "two spaces": (get(b"GET  /open/items/strict HTTP/1.1"), {400}),
    "space in the target": (get(b"GET /open/items/a b HTTP/1.1"), {400}),
    "lower-case version": (get(b"GET /open/items/strict http/1.1"), {400}),
    "version 2.0": (get(b"GET /open/items/strict HTTP/2.0"), {400, 505}),
    "version 1.10": (get(b"GET /open/items/strict HTTP/1.10"), {400, 505}),
    "bad method": (get(b"G@T /open/items/strict HTTP/1.1"), {400}),
    "dot segments": (get(b"GET /open/../orders/items/strict HTTP/1.1"), {400}),
    "encoded dot segments": (get(b"GET /open/%2e%2e/orders/items/strict HTTP/1.1"), {400}),
    "fragment in the target": (get(b"GET /open/items/a#b HTTP/1.1"), {400}),
    "control byte in the target": (get(b"GET /open/items/\x01 HTTP/1.1"), {400}),
    "binary": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 garbage\r\n\r\n", {400}),
    "connect": (get(b"CONNECT example.com:443 HTTP/1.1"), {400, 405, 501}),
    "chunk size with a sign": (post(b"Transfer-Encoding: chunked", body=b"+5\r\nhello\r\n0\r\n\r\n"), {400}),
    "chunk size with 0x": (post(b"Transfer-Encoding: chunked", body=b"0x5\r\nhello\r\n0\r\n\r\n"), {400}),
    "no line end after a chunk": (post(b"Transfer-Encoding: chunked", body=b"5\r\nhelloXX0\r\n\r\n"), {400}),
    "chunk line with a line feed alone": (post(b"Transfer-Encoding: chunked", body=b"5\nhello\r\n0\r\n\r\n"), {400}),
    "chunk size beyond 64 bits": (post(b"Transfer-Encoding: chunked", body=b"fffffffffffffffff\r\nhello\r\n0\r\n\r\n"), {400, 413}),
    "empty chunk size": (post(b"Transfer-Encoding: chunked", body=b"\r\nhello\r\n0\r\n\r\n"), {400}),
    "long request line": (get(b"GET /open/items/" + b"a" * 100_000 + b" HTTP/1.1"), {414, 431, 400}),
    "long field": (get(b"GET /open/items/strict HTTP/1.1", b"X-A: " + b"a" * 200_000), {431, 400}),
    "many fields": (get(b"GET /open/items/strict HTTP/1.1", *[b"X-%d: 1" % n for n in range(5000)]), {431, 400}),
}


def start(context: Context) -> tuple[Upstream, Up]:
    """An upstream, and a deployment in front of it."""
    upstream = Upstream()
    gateway = gateway_settings(upstream.url, context.refusing_port())
    gateway["timeouts"] |= {"request": "2s", "upstream": "5s"}
    return upstream, Up(context, gateway).start()


def send(port: int, data: bytes) -> Response:
    """Sends bytes with another request behind them, and reads the only response."""
    with Client(port, seconds=10) as client:
        try:
            client.send(data + SMUGGLED)
        except OSError:
            pass  # refused while it was being sent; the answer may be there nevertheless
        response = client.read()
        check(client.at_end(), "the connection is not closed after a refusal")
        return response


@test(seconds=120)
def refused(context: Context) -> None:
    """ambiguous and malformed requests are refused, recorded once, and nothing behind them is served"""
    upstream, up = start(context)
    wrong: list[str] = []
    statuses: Counter[int] = Counter()
    for name, (data, allowed) in CASES.items():
        try:
            response = send(up.gateway_port, data)
        except (Broken, OSError, Failure) as error:
            wrong.append(f"{name}: {error}")
            continue
        statuses[response.status] += 1
        if response.status not in allowed:
            wrong.append(f"{name}: answered {response.status}, expected {sorted(allowed)}")
        if not response.closes:
            wrong.append(f"{name}: the refusal does not say Connection: close")
    seen = [target for target in upstream.targets() if "smuggled" in target]
    check(not seen, f"{len(seen)} smuggled requests reached the upstream")
    if wrong:
        raise Failure(f"{len(wrong)} of {len(CASES)} cases:\n  " + "\n  ".join(wrong))
    up.api.wait_total(len(CASES), "refused requests in the rollups")
    found = Counter({key[0]: value for key, value in up.api.tally("status").items()})
    equal(found, statuses, "refused requests by status")
    records = context.requests_logged(up.data)
    equal(len(records), len(CASES), "records of refused requests")
    equal(Counter(record.get("status") for record in records), statuses, "records by status")
    outcomes = {record.get("outcome") for record in records}
    check(outcomes <= {"client_error", "too_large"}, f"outcomes of refused requests: {outcomes}")


@test(seconds=60)
def tolerated(context: Context) -> None:
    """what is unusual but plain is served"""
    upstream, up = start(context)
    cases = {
        "empty line first": b"\r\n" + get(),
        "absolute form": get(b"GET http://x/open/items/absolute HTTP/1.1"),
        "HTTP/1.0": get(b"GET /open/items/old HTTP/1.0"),
        "empty value": get(b"GET /open/items/strict HTTP/1.1", b"X-Empty:"),
        "tabs around a value": get(b"GET /open/items/strict HTTP/1.1", b"X-A: \t a b \t"),
        "host with a port": get(host=b"Host: example.com:8080"),
        "host of IPv6": get(host=b"Host: [::1]:8080"),
        "upper-case chunked": post(b"Transfer-Encoding: Chunked", body=b"5\r\nhello\r\n0\r\n\r\n"),
        "chunk extensions": post(b"Transfer-Encoding: chunked", body=b"5;a=b;c\r\nhello\r\n0\r\n\r\n"),
        "trailers": post(b"Transfer-Encoding: chunked", body=b"5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n"),
        "high bytes in a value": get(b"GET /open/items/strict HTTP/1.1", b"X-A: caf\xc3\xa9 \xff"),
        "percent in the path": get(b"GET /open/items/a%20b HTTP/1.1"),
    }
    for name, data in cases.items():
        with Client(up.gateway_port) as client:
            client.send(data)
            response = client.read()
            equal(response.status, 200, name)
    equal(len(upstream.targets()), len(cases), "requests at the upstream")
    up.api.wait_total(len(cases), "served requests")
    # Byte by byte, a request is the same request.
    with Client(up.gateway_port) as client:
        for byte in post(b"Transfer-Encoding: chunked", body=b"5\r\nhello\r\n0\r\n\r\n"):
            client.send(bytes([byte]))
        equal(client.read("POST").status, 200, "a request that comes byte by byte")
    up.api.wait_total(len(cases) + 1, "served requests")


@test(seconds=60, full_only=True)
def slow_clients(context: Context) -> None:
    """a client that never finishes its request is answered 408 or cut off, and recorded"""
    upstream, up = start(context)
    starts = {
        "head": b"GET /open/items/slow HTTP/1.1\r\nHost: x\r\nX-A:",
        "body": post(b"Content-Length: 100", body=b"half"),
        "chunk": post(b"Transfer-Encoding: chunked", body=b"5\r\nhe"),
    }
    clients = {}
    for name, data in starts.items():
        clients[name] = Client(up.gateway_port, seconds=15)
        clients[name].send(data)
    for name, client in clients.items():
        try:
            equal(client.read().status, 408, f"slow {name}")
        except Broken as broken:
            check(broken.response.received == 0, f"slow {name}: {broken.reason}")
        client.close()
    # A connection on which nothing was ever sent is no request.
    silent = Client(up.gateway_port)
    silent.close()
    until(lambda: len(context.requests_logged(up.data)) == len(starts), "one record for each slow client", 20, 0.3)
    records = context.requests_logged(up.data)
    check(
        all(record.get("status") in (408, None) or record.get("outcome") == "client_aborted" for record in records),
        f"records of slow clients: {records}")
