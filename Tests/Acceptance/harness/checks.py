"""Assertions that say what was compared, and waiting without sleeping blindly."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from typing import Any


# Multiplies every time limit; `run.py --patience` sets it.
patience = 1.0
STRETCH_MAX = 5.0  # chosen: who waits for that much longer waits in vain


def stretch() -> float:
    """How much longer than usual everything may take: the patience, times the processes that share a core."""
    return patience * min(STRETCH_MAX, max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1)))


class Failure(AssertionError):
    """A test found the product wrong."""


class Final(Failure):
    """A failure that no waiting mends."""


class Skip(Exception):
    """A test cannot run here, for the reason given."""


def fail(message: str) -> None:
    """Ends the test as failed."""
    raise Failure(message)


def check(condition: object, message: str) -> None:
    """Fails with the message unless the condition holds."""
    if not condition:
        raise Failure(message)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 600 else text[:600] + f"… ({len(text)} characters)"


def _difference(left: dict, right: dict) -> tuple[dict, dict]:
    """What differs between two dictionaries, inner ones included."""
    first, second = {}, {}
    for key in [*left, *(key for key in right if key not in left)]:
        one, other = left.get(key, "absent"), right.get(key, "absent")
        if isinstance(one, dict) and isinstance(other, dict):
            one, other = _difference(one, other)
        if one != other:
            first[key], second[key] = one, other
    return first, second


def equal(actual: Any, expected: Any, what: str) -> None:
    """Fails unless both are equal; for dictionaries and lists it names the differences."""
    if actual == expected:
        return
    if isinstance(actual, dict) and isinstance(expected, dict):
        lines = []
        for key in sorted(set(actual) | set(expected), key=repr):
            left, right = actual.get(key, "absent"), expected.get(key, "absent")
            if isinstance(left, dict) and isinstance(right, dict):
                left, right = _difference(left, right)
            if left != right:
                lines.append(f"  {key!r}: got {_short(left)}, expected {_short(right)}")
        shown = "\n".join(lines[:10])
        more = f"\n  … and {len(lines) - 10} more" if len(lines) > 10 else ""
        raise Failure(f"{what}: {len(lines)} entries differ\n{shown}{more}")
    if isinstance(actual, list) and isinstance(expected, list):
        lines = [f"  {len(actual)} elements, expected {len(expected)}"]
        for index, (left, right) in enumerate(zip(actual, expected)):
            if left != right:
                lines.append(f"  [{index}]: got {_short(left)}, expected {_short(right)}")
                if len(lines) > 8:
                    break
        raise Failure(f"{what}: lists differ\n" + "\n".join(lines))
    raise Failure(f"{what}: got {_short(actual)}, expected {_short(expected)}")


def no_more_than(items: Iterable[Any], limit: int, what: str) -> None:
    """Fails when there are more items than allowed, and shows the first of them."""
    items = list(items)
    if len(items) > limit:
        raise Failure(f"{what}: {len(items)} (at most {limit} allowed): {_short(items[:8])}")


def until(
    condition: Callable[[], Any],
    what: str,
    seconds: float = 30,
    interval: float = 0.05,
) -> Any:
    """Polls until the condition is true and returns its value; fails at the deadline.

    The condition may raise `Failure`: the last one is shown when time is up; `Final` is passed on at once.
    """
    began = time.monotonic()
    last: Failure | None = None
    while True:
        try:
            value = condition()
            if value:
                return value
            last = None
        except Final:
            raise
        except Failure as failure:
            last = failure
        if time.monotonic() >= began + seconds * stretch():
            detail = f": {last}" if last else ""
            raise Failure(f"not within {seconds:g} s: {what}{detail}")
        time.sleep(interval)


def settles(
    measure: Callable[[], Any],
    expected: Any,
    what: str,
    seconds: float = 30,
    interval: float = 0.1,
) -> None:
    """Polls until the measure equals what is expected; at the deadline fails with both."""
    began = time.monotonic()
    while True:
        actual = measure()
        if actual == expected:
            return
        if time.monotonic() >= began + seconds * stretch():
            equal(actual, expected, f"{what} (after {seconds:g} s)")
        time.sleep(interval)
