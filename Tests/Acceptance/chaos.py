#!/usr/bin/env python3
"""The campaign by hand: rounds of random faults until enough was killed, or the time is up.

Usage: chaos.py [--seed N] [--kills N] [--restarts N] [--minutes N] [--transport local|kafka|both] [--binary PATH]

Each round is a deployment of its own (see campaign.py); its seed follows from the campaign's, and is printed.
`--round N` repeats one round alone. The exit code is 0 only if the numbers were exact after every round.
"""

from __future__ import annotations

import argparse
import ast
import random
import sys
import time
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from campaign import Campaign, Round  # noqa: E402
from harness import checks  # noqa: E402
from harness.context import Context  # noqa: E402
from harness.isolation import run_isolated  # noqa: E402
from harness.registry import Test  # noqa: E402

KILLS_A_ROUND, RESTARTS_A_ROUND = 24, 10
ROUND_SECONDS = 600


def arguments() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, help="start of every random choice")
    parser.add_argument("--kills", type=int, default=1000, help="SIGKILLs of roles in all")
    parser.add_argument("--restarts", type=int, default=200, help="PostgreSQL restarts in all")
    parser.add_argument("--minutes", type=float, help="no new round after this time")
    parser.add_argument("--transport", choices=["local", "kafka", "both"], default="both")
    parser.add_argument("--round", type=int, help="this round alone")
    parser.add_argument("--binary", default=".build/release/sluice", help="the program under test")
    parser.add_argument("--patience", type=float, default=1.0, help="multiplies time limits on a busy machine")
    parser.add_argument("--keep", action="store_true", help="keep the directories of failed rounds")
    return parser.parse_args()


def test_of(transport: str, number: int) -> Test:
    """One round as a test."""

    def body(context: Context) -> None:
        Campaign(context, transport).run(Round(kills=KILLS_A_ROUND, restarts=RESTARTS_A_ROUND))

    return Test(f"chaos.{transport}.{number}", f"round {number}, transport {transport}", body, ROUND_SECONDS, True)


def counts_of(detail: str) -> Counter[str]:
    """What a round has done, by its note."""
    for line in detail.splitlines():
        if line.startswith("done {"):
            return Counter(ast.literal_eval(line.removeprefix("done ")))
    return Counter()


def total(counts: Counter[str], *words: str) -> int:
    """Counts whose name begins with one of the words."""
    return sum(count for name, count in counts.items() if name.startswith(words))


def main() -> int:
    """Runs rounds and sums up."""
    options = arguments()
    checks.patience = options.patience
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 32)
    binary = Path.cwd() / options.binary
    transports = ["local", "kafka"] if options.transport == "both" else [options.transport]
    done: Counter[str] = Counter()
    failed, number, started = [], options.round or 0, time.monotonic()
    print(f"seed {seed}", flush=True)
    while True:
        transport = transports[number % len(transports)]
        result = run_isolated(
            test_of(transport, number), binary=binary, root=HERE.parent.parent, quick=False, seed=seed + number,
            keep=options.keep)
        done += counts_of(result.detail)
        word = {"passed": "ok  ", "failed": "FAIL", "skipped": "skip"}[result.verdict]
        print(f"{word} round {number}, {transport} ({result.seconds:.0f} s)", flush=True)
        print("\n".join("     " + line for line in result.detail.splitlines()), flush=True)
        if result.verdict != "passed":
            failed.append(number)
        kills, restarts = total(done, "SIGKILL"), total(done, "PostgreSQL")
        minutes = (time.monotonic() - started) / 60
        print(f"so far {kills} SIGKILLs, {restarts} PostgreSQL restarts, {minutes:.1f} min, failed {failed}", flush=True)
        number += 1
        enough = kills >= options.kills and restarts >= options.restarts
        if options.round is not None or enough or (options.minutes and minutes >= options.minutes):
            break
    print(f"in all {dict(sorted(done.items()))}")
    for each in failed:
        print(f"failed: --seed {seed} --round {each} --transport {options.transport}")
    print(f"{number - (options.round or 0) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
