"""One short round of the campaign per transport; `make chaos` runs long ones, many of them."""

from __future__ import annotations

from campaign import Campaign, Round
from harness.context import Context
from harness.registry import test

SHORT = Round(kills=3, restarts=1, freezes=2, faults=1, fills=1, steps=2, restores=1, twins=1)


@test(seconds=400, full_only=True)
def local(context: Context) -> None:
    """a database restored from a backup, a clock set back, a full and a failing disk, a copied directory: exact"""
    context.note_seed()
    Campaign(context).run(SHORT)


@test(seconds=400, full_only=True)
def kafka(context: Context) -> None:
    """the same through a broker, with pumps that are killed and frozen: exact, and the topic holds every record"""
    context.note_seed()
    Campaign(context, "kafka").run(SHORT)
