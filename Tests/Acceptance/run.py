#!/usr/bin/env python3
"""Runs the acceptance tests against real `sluice` processes.

Usage: run.py [--quick] [--only PATTERN] [--binary .build/release/sluice] [--seed N] [--jobs N] [--list]

Each test runs in a process of its own, with a directory, ports and time limit of its own, up to `--jobs` at the
same time; those that must run alone come last. The last line is `N passed, N failed`; the exit code is 0 only if none
failed.
"""

from __future__ import annotations

import argparse
import fnmatch
import importlib
import itertools
import os
import random
import sys
import time
from collections import deque
from collections.abc import Iterator
from multiprocessing.connection import wait
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(HERE))

from harness import checks  # noqa: E402
from harness.isolation import Isolated, Result  # noqa: E402
from harness.registry import TESTS, Test  # noqa: E402


def arguments() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer repetitions, smaller data")
    parser.add_argument("--only", metavar="PATTERN", help="tests whose name contains it or matches it")
    parser.add_argument("--binary", default=".build/release/sluice", help="the program under test")
    parser.add_argument("--seed", type=int, help="start of every random choice")
    parser.add_argument("--jobs", type=int, default=1, help="tests at the same time")
    parser.add_argument("--patience", type=float, default=1.0, help="multiplies time limits on a busy machine")
    parser.add_argument("--list", action="store_true", help="name the tests and stop")
    parser.add_argument("--keep", action="store_true", help="keep the directories of failed tests")
    return parser.parse_args()


def is_selected(test: Test, pattern: str | None) -> bool:
    """Whether `--only` names this test."""
    if test.by_hand:
        return bool(pattern) and test.name in pattern.split(",")
    if not pattern:
        return True
    return any(part in test.name or fnmatch.fnmatch(test.name, part) for part in pattern.split(","))


def in_turn(tests: list[Test], jobs: int) -> list[Test]:
    """The order of several at a time: those that wait for brokers beside those that keep the machine busy."""
    if jobs < 2:
        return tests
    waiting = [test for test in tests if test.name.startswith("kafka")]
    busy = [test for test in tests if test not in waiting]
    pairs = itertools.zip_longest(busy, waiting)
    return [test for pair in pairs for test in pair if test]


def outcomes(
    tests: list[Test], options: argparse.Namespace, binary: Path, seed: int
) -> Iterator[tuple[Test, Result]]:
    """Runs the tests, some at the same time; yields each when it has ended."""
    jobs = max(1, options.jobs)
    queue = deque(in_turn([test for test in tests if not test.alone], jobs))
    alone = deque(test for test in tests if test.alone)
    running: dict[int, Isolated] = {}  # by lane
    while queue or alone or running:
        while queue and len(running) < jobs or alone and not queue and not running:
            lane = next(number for number in range(jobs) if number not in running)
            running[lane] = Isolated(
                (queue or alone).popleft(), binary=binary, root=ROOT, quick=options.quick, seed=seed, keep=options.keep,
                lane=lane)
        ready = wait(
            [each.verdict_pipe for each in running.values()],
            min(1, *(each.seconds_left for each in running.values())))
        for lane, each in list(running.items()):
            if each.verdict_pipe in ready or each.seconds_left == 0:
                del running[lane]
                yield each.test, each.finish()


def main() -> int:
    """Runs what is selected and sums up."""
    options = arguments()
    checks.patience = options.patience
    for path in sorted(HERE.glob("test_*.py")):
        importlib.import_module(path.stem)
    tests = [test for test in TESTS if is_selected(test, options.only)]
    if options.list:
        for test in tests:
            print(f"{test.name}{' (full only)' if test.full_only else ''}: {test.title}")
        return 0
    binary = Path(options.binary)
    binary = binary if binary.is_absolute() else (Path.cwd() / binary)
    if not os.access(binary, os.X_OK):
        print(f"error: no program at {binary}: build it first (make build)", file=sys.stderr)
        print("0 passed, 1 failed")
        return 1

    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed} (repeat with --seed {seed}{' --quick' if options.quick else ''})", flush=True)
    names: dict[str, list[str]] = {"passed": [], "failed": [], "skipped": []}
    started = time.monotonic()
    wanted = [test for test in tests if not (test.full_only and options.quick)]
    for test, result in outcomes(wanted, options, binary, seed):
        word = {"passed": "ok  ", "failed": "FAIL", "skipped": "skip"}[result.verdict]
        print(f"{word} {test.name} ({result.seconds:.1f} s): {test.title}", flush=True)
        if result.detail:
            print("\n".join("     " + line for line in result.detail.splitlines()), flush=True)
        names[result.verdict].append(test.name)
    passed, failed, skipped = names.values()
    print(f"finished in {time.monotonic() - started:.0f} s, {len(skipped)} skipped")
    for name in failed:
        print(f"failed: {name}")
    if not tests:
        print(f"error: no test matches {options.only!r}; --list names them", file=sys.stderr)
    print(f"{len(passed)} passed, {len(failed)} failed")
    return 1 if failed or not tests else 0


if __name__ == "__main__":
    sys.exit(main())
