"""The tests' own instruments, tried against each other before they judge the product."""

from __future__ import annotations

import random

from harness import sketches
from harness.checks import Failure, check, equal
from harness.context import Context
from harness.http import Broken, Client, exchange, request
from harness.registry import test
from harness.traffic import Plan, Worker, connections, perform, run_workers
from harness.upstream import BODY, Upstream


@test(seconds=60)
def client_and_upstream(context: Context) -> None:
    """client and upstream agree on every kind of exchange"""
    context.note_seed()
    upstream = Upstream()
    plan = Plan(context.seed, "self")
    makers = [
        plan.plain, plan.head, plan.with_status, plan.chunked, plan.posted, plan.large, plan.interim,
        plan.other_method]
    sent = []
    for _ in range(20):
        burst = [context.rng.choice(makers)() for _ in range(8)]
        sent += burst
        with Client(upstream.port) as client:
            check(perform(client, burst), "the upstream closed the connection")
    for _ in range(6):
        sent.append(plan.close_delimited())
        with Client(upstream.port) as client:
            perform(client, sent[-1:])
    check(all(one.is_complete and one.received > 0 for one in sent), "an exchange is not complete")
    equal(len(upstream.targets()), len(sent), "requests at the upstream")
    for kind in ("refuse0", "garbage", "reset", "short", "shortchunk"):
        try:
            exchange(upstream.port, request("GET", f"/x?b={kind}&n=1000"))
        except Broken as broken:
            if kind in ("reset", "short", "shortchunk"):
                equal(broken.response.status, 200, f"{kind}: status before the break")
        else:
            raise Failure(f"{kind} looked like a complete response")
    with Client(upstream.port) as client:
        client.send(request("GET", "/x?b=gatebody&g=one&n=10"))
        upstream.wait_at("one")
        upstream.open("one")
        equal(client.read().body, BODY[:10], "a body behind a gate")
    upstream.stop()


@test(seconds=60)
def workers(context: Context) -> None:
    """client processes report every exchange"""
    upstream = Upstream()

    def body(worker: Worker) -> None:
        for client in connections(worker):
            while worker.goes_on:
                burst = [worker.plan.plain() for _ in range(8)]
                worker.sent += burst
                perform(client, burst)

    sent = run_workers(context.directory, upstream.port, 1, body, processes=2, threads=4, seconds=1)
    equal(len(upstream.targets()), len(sent), "requests at the upstream")
    check(sent, "no request in a second")
    context.note(f"{len(sent)} requests in a second without a gateway")


@test(seconds=20)
def encodings(context: Context) -> None:
    """histograms and sketches survive decoding, encoding and merging"""
    context.note_seed()
    rng = random.Random(context.seed)
    for _ in range(50):
        values = [rng.randrange(1 << rng.randrange(1, 40)) for _ in range(rng.randrange(1, 300))]
        encoded = sketches.histogram_of(values)
        equal(sum(sketches.decode_histogram(encoded).values()), len(values), "histogram total")
        middle = rng.randrange(len(values))
        parts = [sketches.histogram_of(values[:middle]), sketches.histogram_of(values[middle:])]
        equal(sketches.merge_histograms(parts), encoded, "merged histogram")
        ranks = {register: rng.randrange(1, 54) for register in rng.sample(range(4096), rng.choice([0, 1, 500, 4000]))}
        equal(sketches.decode_sketch(sketches.encode_sketch(ranks)), ranks, "sketch")
    # Two examples computed by hand: 3 and 64 µs; 1,000 µs is (9 - 5) × 64 + 61.
    equal(sketches.histogram_of([3, 64, 64]).hex(), "03013c02", "3, 64 and 64 µs")
    equal(sketches.histogram_index(1000), 4 * 64 + (1000 >> 3 & 63), "bucket of 1,000 µs")
    for data, expected in (
            (b"", "fa1ca1b0d6583fd0"), (b"a", "1cc6744e25e78222"), (b"192.0.2.7", "85f0fea654de75e8"),
            (b"0123456789abcdef", "6796fb9852eb2d29"), (b"0123456789abcdefg", "e35eea000af8f7c9")):
        equal(f"{sketches.stable_hash(data):016x}", expected, f"hash of {data!r}")
    equal(sketches.histogram_of([3, 3, 5, 1000]).hex(), "03020101b70201", "the example of the format's page")
    equal(sketches.encode_sketch({0: 1, 5: 3}).hex(), "01018302", "the example of the format's page")
