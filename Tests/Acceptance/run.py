#!/usr/bin/env python3
"""Runs the acceptance tests against real `sluice` processes.

Usage: run.py [--quick] [--only PATTERN] [--binary .build/release/sluice] [--seed N] [--list]

Each test runs in a process of its own, with a directory, ports and time limit of its own. The
last line is `N passed, N failed`; the exit code is 0 only if none failed.
"""

from __future__ import annotations

import argparse
import fnmatch
import importlib
import os
import random
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(HERE))

from harness import checks  # noqa: E402
from harness.isolation import run_isolated  # noqa: E402
from harness.registry import TESTS, Test  # noqa: E402


def arguments() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer repetitions, smaller data")
    parser.add_argument("--only", metavar="PATTERN", help="tests whose name contains it or matches it")
    parser.add_argument("--binary", default=".build/release/sluice", help="the program under test")
    parser.add_argument("--seed", type=int, help="start of every random choice")
    parser.add_argument("--patience", type=float, default=1.0, help="multiplies time limits on a busy machine")
    parser.add_argument("--list", action="store_true", help="name the tests and stop")
    parser.add_argument("--keep", action="store_true", help="keep the directories of failed tests")
    return parser.parse_args()


def is_selected(test: Test, pattern: str | None) -> bool:
    """Whether `--only` names this test."""
    if not pattern:
        return True
    return any(part in test.name or fnmatch.fnmatch(test.name, part) for part in pattern.split(","))


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
    passed, failed, skipped = [], [], []
    started = time.monotonic()
    for test in tests:
        if test.full_only and options.quick:
            continue
        result = run_isolated(
            test, binary=binary, root=ROOT, quick=options.quick, seed=seed, keep=options.keep)
        word = {"passed": "ok  ", "failed": "FAIL", "skipped": "skip"}[result.verdict]
        print(f"{word} {test.name} ({result.seconds:.1f} s): {test.title}", flush=True)
        if result.detail:
            print("\n".join("     " + line for line in result.detail.splitlines()), flush=True)
        {"passed": passed, "failed": failed, "skipped": skipped}[result.verdict].append(test.name)
    print(f"finished in {time.monotonic() - started:.0f} s, {len(skipped)} skipped")
    for name in failed:
        print(f"failed: {name}")
    if not tests:
        print(f"error: no test matches {options.only!r}; --list names them", file=sys.stderr)
    print(f"{len(passed)} passed, {len(failed)} failed")
    return 1 if failed or not tests else 0


if __name__ == "__main__":
    sys.exit(main())
