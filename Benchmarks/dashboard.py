#!/usr/bin/env python3
"""How soon the dashboard shows something: first contentful paint, and the first view with its numbers and charts.

Usage: dashboard.py [--rounds N] [--records N] [--binary .build/release/sluice]

Headless Chromium opens the page anew each time with an empty cache, signed in, over generated records of seven days.
"""

from __future__ import annotations

import argparse
import random
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "Tests" / "Acceptance"))

from harness.browser import Browser  # noqa: E402
from harness.context import Context  # noqa: E402
from harness.deployment import make_roles  # noqa: E402
from test_dashboard import WEEK, Pages, address  # noqa: E402

# Runs before the page's own scripts: notes when the first tile has its number, and the first chart its lines.
WATCH = """
window.seen = {};
new MutationObserver(() => {
  const tile = document.querySelector('.tile-value');
  if (tile && /[0-9]/.test(tile.textContent)) window.seen.tile ??= performance.now();
  if (document.querySelector('#app main canvas, #app main svg')) window.seen.chart ??= performance.now();
}).observe(document, { subtree: true, childList: true, characterData: true });
"""
TIMES = """
const paint = performance.getEntriesByName('first-contentful-paint')[0];
return [paint?.startTime, window.seen.tile, window.seen.chart];
"""


def measure(context: Context, records: int, rounds: int) -> list[list[float]]:
    """Milliseconds since the navigation began: paint, numbers, chart; one list a round."""
    cluster, roles = make_roles(context)
    context.run(
        "load", "--into", roles.data, "--records", records, "--profile", "demo", "--seed", 3, "--start", WEEK["from"],
        "--step", 7 * 86_400 * 1_000_000 // records, seconds=300)
    roles.start_aggregator()
    roles.start_serve()
    roles.api.wait_total(records, "the generated records", 300, from_=WEEK["from"], to=WEEK["to"])
    found = []
    with Browser(context) as browser:
        pages = Pages(context, roles, browser)
        pages.open()
        pages.sign_in(roles.api.token)
        browser.devtools("Page.addScriptToEvaluateOnNewDocument", source=WATCH)
        for _ in range(rounds):
            browser.devtools("Network.clearBrowserCache")
            pages.open("", address("overview", from_=WEEK["from"], to=WEEK["to"]))
            browser.wait("return window.seen?.tile && window.seen.chart", "the first view is complete")
            found.append(browser.run(TIMES))
    cluster.stop()
    return found


def main() -> None:
    """Reads the command line, measures and prints medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--binary", default=".build/release/sluice")
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="sluice-bench-"))
    context = Context(directory, Path(options.binary).resolve(), ROOT, False, 1, random.Random(1))
    try:
        found = measure(context, options.records, options.rounds)
    finally:
        context.kill_all()
        shutil.rmtree(directory, ignore_errors=True)
    for name, values in zip(("first contentful paint", "first numbers", "first chart"), zip(*found)):
        print(f"{name}: median {statistics.median(values):.0f} ms, worst {max(values):.0f} of {len(values)}")


if __name__ == "__main__":
    main()
