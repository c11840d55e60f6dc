"""Logs carried between sites by hand."""

from __future__ import annotations

import json
import shutil

from harness.checks import check, equal
from harness.context import Context
from harness.deployment import Up
from harness.registry import test

DAY = {"from_": "2025-03-01T00:00:00Z", "to": "2025-03-03T00:00:00Z"}


def load(context: Context, data: object, count: int, seed: int) -> None:
    """Writes a log of its own with so many seeded records."""
    context.run("load", "--into", data, "--records", count, "--seed", seed, "--start", "2025-03-01T10:00:00Z")


@test(seconds=120, full_only=True)
def twice_and_overlapping(context: Context) -> None:
    """exported segments count once at the other site, imported twice, in parts, or beside the same log folded already"""
    context.note_seed()
    seed = context.seed % 1_000_000
    here = context.make_directory()
    stick = context.make_directory() / "stick"
    load(context, here, 5_000, seed)
    context.run("log", "export", here, stick)
    # The medium is a data directory like any other.
    context.run("log", "verify", stick)
    copied = context.directory / "earlier"
    shutil.copytree(stick, copied)
    load(context, here, 7_000, seed + 1)
    report = json.loads(context.run("log", "export", here, stick, "--format", "json").stdout)
    equal(sum(row["segments_present"] > 0 for row in report), 1, "logs that were on the medium already")

    up = Up(context).start()
    context.run("log", "import", up.data, copied)
    up.api.wait_total(5_000, "requests of the first part", 60, **DAY)
    for source in (stick, stick, copied):
        context.run("log", "import", up.data, source)
    up.api.wait_total(12_000, "requests of both parts, imported again and again", 60, **DAY)
    # Back at home the same database would see the same offsets: carry them back and count again.
    context.run("log", "export", up.data, here)
    context.run("log", "verify", here)
    statistics = json.loads(context.run("log", "stat", here, "--format", "json").stdout)
    equal(sum(row["requests"] for row in statistics), 12_000, "requests that `log stat` counts")
    check(all(row["state"] == "ended" for row in statistics if row["requests"] > 0), f"states: {statistics}")
    up.database().check_rows()
