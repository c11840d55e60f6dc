"""Traffic with known results: every request has an identity of its own and an expected record."""

from __future__ import annotations

import hashlib
import multiprocessing
import pickle
import random
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.checks import Failure, check, equal, stretch, until
from harness.http import Broken, Client, connect_retrying, request
from harness.upstream import BODY

KEYS = {
    "shop-secret-0123456789": ("shop", "gold"),
    "mobile-secret-0123456789": ("mobile", "silver"),
    "partner-secret-0123456789": ("partner", "bronze"),
}
UPSTREAM_TIMEOUT = 1.6  # seconds; everything else must be answered sooner, on a busy machine too
BODY_LIMIT = 1 << 20


def gateway_settings(upstream: str, refusing_port: int) -> dict[str, Any]:
    """APIs, keys and limits that the traffic below is made for."""
    secrets = list(KEYS)
    return {
        "apis": [
            {
                "id": "orders", "org": "acme", "version": "v1", "listen_path": "/orders/",
                "upstreams": [upstream], "auth": {"mode": "key", "header": "X-Api-Key"},
                "routes": ["/orders/items/{id}"],
                "tags": [{"name": "team", "value": "payments"}, {"name": "custom", "header": "X-Custom"}],
            },
            {
                "id": "open", "org": "acme", "version": "v2", "listen_path": "/open/",
                "strip_listen_path": True, "upstreams": [upstream, upstream],
                "routes": ["GET /open/items/{id}", "POST /open/items/{id}", "HEAD /open/items/{id}"],
            },
            {
                "id": "partners", "org": "other", "listen_path": "/partners/", "upstreams": [upstream],
                "auth": {"mode": "key", "header": "X-Partner-Key"}, "routes": ["/partners/items/{id}"],
            },
            {
                "id": "down", "org": "acme", "listen_path": "/down/",
                "upstreams": [f"http://127.0.0.1:{refusing_port}"], "routes": ["/down/items/{id}"],
            },
        ],
        "keys": [
            {"id": "k1", "secret": secrets[0], "application": "shop", "plan": "gold"},
            {"id": "k2", "secret": secrets[1], "application": "mobile", "plan": "silver", "org": "acme"},
            {"id": "k3", "secret": secrets[2], "application": "partner", "plan": "bronze", "org": "other"},
        ],
        "timeouts": {"connect": "2s", "upstream": f"{int(UPSTREAM_TIMEOUT * 1000)}ms", "request": "5s"},
        "limits": {"body_bytes": BODY_LIMIT},
    }


@dataclass
class Exchange:
    """One request and what must be recorded of it."""

    identity: str
    data: bytes
    method: str = "GET"
    api: str | None = None
    application: str | None = None
    status: int | None = 200
    outcome: str = "ok"
    route: str | None = None
    body: bytes | None = None  # of the response, when it is known
    is_broken: bool = False  # the response must break off
    may_follow: bool = True  # others may stand behind it in a pipeline
    delay: float = 0.0
    # What the client saw.
    received: int = 0
    is_complete: bool = False
    sent_bytes: int = 0

    def __post_init__(self) -> None:
        self.sent_bytes = len(self.data)

    @property
    def group(self) -> tuple:
        """What is tallied by; an aborted request has no status that a client could know."""
        return (self.api, self.application, None if self.outcome == "client_aborted" else self.status, self.outcome)


class Plan:
    """Draws exchanges; each identity is used once."""

    def __init__(self, seed: int, name: str) -> None:
        self.rng = random.Random(f"{seed}/{name}")
        self.name = name
        self._count = 0

    def identity(self) -> str:
        """A name that occurs in one request only."""
        self._count += 1
        return f"{self.name}-{self._count}"

    def caller(self) -> tuple[str, str, str | None, dict[str, str]]:
        """An API with valid credentials: API, path prefix, application, header fields."""
        roll = self.rng.randrange(10)
        if roll < 4:
            return "open", "/open/items/", None, {}
        if roll < 6:
            return "partners", "/partners/items/", "partner", {"X-Partner-Key": "partner-secret-0123456789"}
        secret = self.rng.choice(list(KEYS)[:2])
        return "orders", "/orders/items/", KEYS[secret][0], {"X-Api-Key": secret}

    def make(
        self, query: str = "", method: str = "GET", headers: dict[str, str] | None = None, body: bytes = b"",
        chunks: list[bytes] | None = None, **expected: Any,
    ) -> Exchange:
        """A request to some API that accepts it."""
        api, prefix, application, credentials = self.caller()
        identity = self.identity()
        data = request(
            method, f"{prefix}{identity}" + (f"?{query}" if query else ""), credentials | (headers or {}), body, chunks)
        route = prefix + "{id}"
        if api == "open":
            route = f"{method} {route}" if method in ("GET", "POST", "HEAD") else "__unmatched__"
        values = {"api": api, "application": application, "route": route} | expected
        return Exchange(identity, data, method, **values)

    # Kinds --------------------------------------------------------------------------------------

    def plain(self) -> Exchange:
        """A small GET: most of the load."""
        size = self.rng.choice([0, 1, 64, 300, 1500])
        exchange = self.make(f"n={size}")
        exchange.body = BODY[:size]
        return exchange

    def any(self) -> Exchange:
        """Whatever completes at once."""
        return self.rng.choices(
            [self.plain, self.head, self.with_status, self.chunked, self.close_delimited, self.posted, self.large,
             self.interim, self.unauthorized, self.unmatched, self.other_method, self.refused_connection],
            [30, 5, 10, 8, 6, 10, 1, 3, 5, 4, 3, 3])[0]()

    def head(self) -> Exchange:
        """HEAD: a length, but no body."""
        exchange = self.make(f"n={self.rng.choice([0, 5000])}", "HEAD")
        exchange.body = b""
        return exchange

    def with_status(self) -> Exchange:
        """Every class of status, without bodies where there are none."""
        status = self.rng.choice([200, 201, 202, 204, 204, 301, 304, 304, 400, 403, 404, 410, 429, 500, 503])
        outcome = "ok" if status < 400 else "client_error" if status < 500 else "upstream_error"
        exchange = self.make(f"s={status}&n=40", status=status, outcome=outcome)
        exchange.body = b"" if status in (204, 304) else BODY[:40]
        return exchange

    def chunked(self) -> Exchange:
        """A chunked response, sometimes with trailers."""
        size = self.rng.choice([1, 10, 1000, 70_000])
        behaviour = self.rng.choice(["chunked", "trailers"])
        method = self.rng.choice(["GET", "GET", "HEAD"]) if behaviour == "chunked" else "GET"
        exchange = self.make(f"b={behaviour}&n={size}", method)
        exchange.body = b"" if method == "HEAD" else BODY[:size]
        return exchange

    def close_delimited(self) -> Exchange:
        """A response that only the end of the upstream's connection delimits."""
        size = self.rng.choice([0, 10, 3000, 150_000])
        exchange = self.make(f"b={self.rng.choice(['close', 'http10', 'last'])}&n={size}")
        exchange.body = BODY[:size]
        return exchange

    def posted(self) -> Exchange:
        """A request with a body, sized or chunked."""
        size = self.rng.choice([0, 1, 100, 20_000, 300_000])
        body = self.rng.randbytes(size)
        chunks = None
        if self.rng.random() < 0.5:
            step = max(1, size // 4)
            chunks, sent = [body[start:start + step] for start in range(0, size, step)], b""
        else:
            sent = body
        exchange = self.make("b=echo", "POST", body=sent, chunks=chunks)
        exchange.body = hashlib.sha256(body).hexdigest().encode() + b" %d" % size
        return exchange

    def large(self) -> Exchange:
        """A response that no buffer holds."""
        exchange = self.make("n=3000000")
        exchange.body = BODY[:3_000_000]
        return exchange

    def interim(self) -> Exchange:
        """Early hints before the response."""
        exchange = self.make("b=interim&n=20")
        exchange.body = BODY[:20]
        return exchange

    def unauthorized(self) -> Exchange:
        """No key, a wrong key, or a key of another organisation."""
        identity = self.identity()
        credentials = self.rng.choice([
            {}, {"X-Api-Key": "not-a-key"}, {"X-Api-Key": ""}, {"X-Api-Key": "partner-secret-0123456789"},
            {"X-Partner-Key": "shop-secret-0123456789"}])
        return Exchange(
            identity, request("GET", f"/orders/items/{identity}", credentials), api="orders", status=401,
            outcome="auth_failed")

    def unmatched(self) -> Exchange:
        """A path of no API, or one that no route of its API matches."""
        identity = self.identity()
        if self.rng.random() < 0.5:
            return Exchange(
                identity, request("GET", f"/nowhere/{identity}"), status=404, outcome="client_error",
                route="__unmatched__")
        return Exchange(
            identity, request("GET", f"/open/other/deeper/{identity}?s=404&n=5"), api="open", status=404,
            outcome="client_error", route="__unmatched__", body=BODY[:5])

    def other_method(self) -> Exchange:
        """Methods beyond GET, known and unknown."""
        exchange = self.make("n=10", self.rng.choice(["DELETE", "OPTIONS", "PURGE", "PROPFIND"]))
        exchange.body = BODY[:10]
        return exchange

    def refused_connection(self) -> Exchange:
        """An API whose upstream refuses connections."""
        identity = self.identity()
        return Exchange(
            identity, request("GET", f"/down/items/{identity}"), api="down", status=502,
            outcome="upstream_unreachable", route="/down/items/{id}")

    def failing(self) -> Exchange:
        """An upstream that fails after it was reached."""
        kind = self.rng.choice(["refuse0", "garbage", "stall", "reset", "short", "shortchunk", "stallbody"])
        size = self.rng.choice([1000, 200_000])
        exchange = self.make(f"b={kind}&n={size}", may_follow=False)
        if kind in ("refuse0", "garbage"):
            exchange.status, exchange.outcome = 502, "upstream_error"
        elif kind == "stall":
            exchange.status, exchange.outcome, exchange.delay = 504, "upstream_timeout", UPSTREAM_TIMEOUT
        else:
            exchange.is_broken = True
            exchange.outcome = "upstream_timeout" if kind == "stallbody" else "upstream_error"
        return exchange

    def too_large(self) -> Exchange:
        """A request body beyond the limit, announced."""
        exchange = self.make("b=echo", "POST", headers={"Content-Length": str(BODY_LIMIT + 1)}, may_follow=False)
        # The head alone: the refusal must not wait for the body. One Content-Length is enough.
        exchange.data = exchange.data.replace(b"Content-Length: 0\r\n", b"")
        exchange.status, exchange.outcome = 413, "too_large"
        return exchange


def perform(
    client: Client, exchanges: list[Exchange], *, may_break: bool = False, may_refuse: bool = False,
) -> bool:
    """Sends requests in one go and checks their responses in order; False when the connection ended.

    With `may_break` the server may vanish at any time; what was not completed then is left incomplete, and so is what
    was refused with 503, as a gateway without room for its log does, if it `may_refuse`. An upstream's own 503 is told
    from that by its body.
    """
    client.send(b"".join(exchange.data for exchange in exchanges))
    for place, exchange in enumerate(exchanges):
        try:
            response = client.read(exchange.method)
        except Broken as broken:
            exchange.received = broken.response.received
            if exchange.is_broken:
                equal(broken.response.status, exchange.status, f"{exchange.identity}: status before the break")
                return False
            if may_break:
                return False
            raise Failure(
                f"{exchange.identity}: {broken.reason} after {broken.response.received} bytes; request "
                f"{exchange.data[:200]!r}, number {place + 1} of {len(exchanges)}") from None
        exchange.received = response.received
        if may_refuse and response.status == 503 and (exchange.status != 503 or response.body != exchange.body):
            if response.closes:
                return False
            continue
        exchange.is_complete = True
        check(not exchange.is_broken, f"{exchange.identity}: a response that had to break off is complete")
        equal(response.status, exchange.status, f"{exchange.identity}: status of {exchange.data[:160]!r}")
        if exchange.body is not None:
            equal(len(response.body), len(exchange.body), f"{exchange.identity}: length of the body")
            check(response.body == exchange.body, f"{exchange.identity}: the body differs")
        if response.closes:
            check(place == len(exchanges) - 1 or not exchange.may_follow, f"{exchange.identity}: closed in mid-pipeline")
            return False
    return True


# Several connections in several processes ------------------------------------------------------

@dataclass
class Worker:
    """One thread of one client process."""

    port: int
    plan: Plan
    deadline: float
    stop: Any
    completed: Any
    sent: list[Exchange] = field(default_factory=list)
    error: str | None = None

    @property
    def goes_on(self) -> bool:
        """Whether more requests are wanted."""
        return time.monotonic() < self.deadline and not self.stop.is_set()


Body = Callable[[Worker], None]


class Fleet:
    """Client processes with several connections each, running until they are told to stop."""

    def __init__(
        self, directory: Path, port: int, seed: int, body: Body, *, processes: int = 2, threads: int = 8,
        seconds: float = 600, name: str = "c",
    ) -> None:
        context = multiprocessing.get_context("fork")
        self._stop = context.Event()
        self._completed = context.Value("L", 0)
        self._seconds = seconds
        self._children = []
        deadline = time.monotonic() + seconds
        for number in range(processes):
            path = directory / f"tally-{name}{number}.pickle"
            child = context.Process(
                target=_client, args=(
                    path, port, seed, f"{name}{number}", body, threads, deadline, self._stop, self._completed))
            child.start()
            self._children.append((child, path))

    @property
    def completed(self) -> int:
        """Responses completed so far, as far as the clients have reported."""
        return self._completed.value

    def wait_completed(self, count: int, seconds: float = 30) -> None:
        """Waits until so many responses were completed."""
        until(lambda: self.completed >= count, f"{count} completed responses", seconds, 0.002)

    def join(self) -> list[Exchange]:
        """Waits for the clients' own end; returns all exchanges."""
        exchanges: list[Exchange] = []
        errors = []
        for child, path in self._children:
            child.join((self._seconds + 60) * stretch())
            if child.is_alive():
                child.kill()
                raise Failure("a client process did not end")
            check(path.exists(), "a client process left no tally")
            found, failed = pickle.loads(path.read_bytes())
            path.unlink()
            exchanges += found
            errors += failed
        if errors:
            raise Failure("the client saw a wrong answer:\n" + "\n".join(errors[:4]))
        identities = Counter(exchange.identity for exchange in exchanges)
        check(len(identities) == len(exchanges), "the test itself used an identity twice")
        return exchanges

    def finish(self) -> list[Exchange]:
        """Stops the clients; returns all exchanges."""
        self._stop.set()
        self._seconds = 60
        return self.join()


def run_workers(
    directory: Path, port: int, seed: int, body: Body, *, processes: int, threads: int, seconds: float
) -> list[Exchange]:
    """Runs the body in threads of several processes until the time is up; returns all exchanges."""
    return Fleet(directory, port, seed, body, processes=processes, threads=threads, seconds=seconds).join()


def _client(
    path: Path, port: int, seed: int, name: str, body: Body, threads: int, deadline: float, stop: Any,
    completed: Any,
) -> None:
    workers = [
        Worker(port, Plan(seed, f"{name}t{index}"), deadline, stop, completed) for index in range(threads)]

    def run(worker: Worker) -> None:
        try:
            body(worker)
        except Failure as failure:
            worker.error = str(failure)
        except Exception:  # noqa: BLE001: shown as the test's failure
            worker.error = traceback.format_exc()

    running = [threading.Thread(target=run, args=(worker,)) for worker in workers]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    found = [exchange for worker in workers for exchange in worker.sent]
    # Requests and bodies are not needed any more; the tally is.
    for exchange in found:
        exchange.body = None
        exchange.data = b""
    errors = [f"{worker.plan.name}: {worker.error}" for worker in workers if worker.error]
    temporary = path.with_suffix(".new")
    temporary.write_bytes(pickle.dumps((found, errors)))
    temporary.rename(path)


def connections(worker: Worker) -> Iterator[Client]:
    """New connections until the time is up."""
    while worker.goes_on:
        client = connect_retrying(worker.port, lambda: worker.goes_on)
        if client is None:
            return
        with client:
            yield client


def whatever_happens(worker: Worker) -> None:
    """Requests of all kinds at a server that is killed: what broke off is noted as such, never repeated."""
    rng = worker.plan.rng
    for client in connections(worker):
        while worker.goes_on:
            burst = [
                worker.plan.plain() if rng.random() < 0.8 else worker.plan.any()
                for _ in range(rng.choice([1, 1, 2, 8, 32]))]
            worker.sent += burst
            try:
                goes_on = perform(client, burst, may_break=True)
            except OSError:
                goes_on = False
            with worker.completed.get_lock():
                worker.completed.value += sum(exchange.is_complete for exchange in burst)
            if not goes_on:
                break


def tally(exchanges: list[Exchange]) -> Counter:
    """Requests by API, application, status and outcome."""
    return Counter(exchange.group for exchange in exchanges)
