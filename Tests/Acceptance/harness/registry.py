"""Declares tests: a function, a time limit, and whether the quick suite leaves it out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Test:
    """One test as declared."""

    name: str
    title: str
    body: Callable[..., None]
    seconds: float
    full_only: bool
    alone: bool = False
    by_hand: bool = False


TESTS: list[Test] = []


def test(
    seconds: float = 60, *, full_only: bool = False, alone: bool = False, by_hand: bool = False
) -> Callable:
    """Declares a test; its docstring's first line is its title, `seconds` its hard limit.

    One that measures a rate, or that must be answered in time, runs `alone`; one `by_hand` runs only when `--only`
    names it.
    """

    def declare(body: Callable[..., None]) -> Callable[..., None]:
        module = body.__module__.removeprefix("test_")
        title = (body.__doc__ or body.__name__).strip().splitlines()[0]
        TESTS.append(Test(f"{module}.{body.__name__}", title, body, seconds, full_only, alone, by_hand))
        return body

    return declare
