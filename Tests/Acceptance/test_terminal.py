"""`sluice top` and `sluice query --watch` on a terminal, in a pipe, and when they are ended."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from harness.checks import check, equal, settles, until
from harness.context import Context
from harness.deployment import Roles, make_roles
from harness.registry import test
from harness.terminal import Terminal

ENTER, LEAVE, HIDE, SHOW = "\x1b[?1049h", "\x1b[?1049l", "\x1b[?25l", "\x1b[?25h"


def serving(context: Context) -> tuple[Roles, dict[str, str]]:
    """A query API over 400 requests of the last minutes, and the environment that leads there."""
    _, roles = make_roles(context)
    context.run("load", "--into", roles.data, "--records", 400, "--profile", "ten", "--seed", 3)
    folding = roles.start_aggregator()
    settles(roles.database.requests, 400, "requests folded", 60)
    folding.terminate()
    roles.start_serve()
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(context.directory), "TERM": "xterm", "LANG": "C.UTF-8",
        "SLUICE_URL": f"http://127.0.0.1:{roles.query_port}", "SLUICE_TOKEN": roles.api.token}
    return roles, environment


@contextmanager
def on_terminal(context: Context, environment: dict[str, str], *arguments: str, rows: int = 24, columns: int = 80) -> Iterator[Terminal]:
    """The command on a terminal; whatever happens it is ended."""
    terminal = Terminal([str(context.binary), *arguments], environment, context.directory, rows, columns)
    try:
        yield terminal
    finally:
        terminal.close()


def given_back(terminal: Terminal, what: str) -> None:
    """The terminal is as it was."""
    equal(terminal.attributes(), terminal.before, f"{what}: how the terminal treats keys")
    check(terminal.shown().rstrip().endswith(LEAVE), f"{what}: the end is {terminal.shown()[-80:]!r}")
    check(SHOW in terminal.shown()[-60:], f"{what}: the cursor stays hidden")


@test(seconds=150)
def live(context: Context) -> None:
    """`sluice top` and `sluice query --watch` draw, obey keys and signals, and give the terminal back however they end"""
    _, environment = serving(context)
    wide = ["--window", "24h", "--interval", "300ms"]

    once = context.run("top", "--once", "--by", "status", *wide[:2], environment=environment).stdout.decode()
    check("STATUS" in once and "REQ/S" in once and "\x1b" not in once, f"one frame in a pipe: {once!r}")
    check("\n200 " in once, f"no line of status 200: {once!r}")
    refusal = context.run("top", environment=environment, code=2).stderr.decode()
    check("--once" in refusal, f"refusal in a pipe: {refusal!r}")
    plain = environment | {"LANG": "C", "LC_ALL": "C", "NO_COLOR": "1"}
    dumb = context.run("top", "--once", "--draw", "always", environment=plain)
    check(all(byte < 128 for byte in dumb.stdout), f"more than ASCII without a Unicode locale: {dumb.stdout!r}")

    with on_terminal(context, environment, "top", *wide) as terminal:
        first = terminal.wait_for("REQ/S▼")
        check(ENTER in first and HIDE in first, f"no screen of its own: {first[:60]!r}")
        # A frame begins with the cursor at home: 24 lines, of which each but the last has a line end.
        terminal.wait_for("complete to ")
        frame = terminal.shown().split("\x1b[H")[-2]
        equal(frame.count("\r\n"), 23, f"line ends of a frame {frame!r}")
        terminal.type("g")
        terminal.wait_for("ROUTE")
        terminal.type("s")
        terminal.wait_for("ERRORS▼")
        terminal.type("p")
        terminal.wait_for("paused")
        terminal.type("?")
        terminal.wait_for("next or previous grouping")
        terminal.type("x")
        terminal.wait_for("REQ/S")
        terminal.type("")
        terminal.resize(40, 132)
        # Wider windows have more columns.
        terminal.wait_for("OUT/S")
        terminal.type("\x1a")
        terminal.wait_stopped()
        given_back(terminal, "Ctrl-Z")
        terminal.type("")
        terminal.signal(signal.SIGCONT)
        terminal.wait_for(ENTER)
        terminal.wait_for("OUT/S")
        terminal.type("q")
        equal(terminal.wait_end(), 0, "exit code after q")
        given_back(terminal, "q")
    for name, number in (("Ctrl-C", None), ("SIGTERM", signal.SIGTERM), ("SIGQUIT", signal.SIGQUIT)):
        with on_terminal(context, environment, "top", *wide) as terminal:
            terminal.wait_for("REQ/S▼")
            if number is None:
                terminal.type("\x03")
            else:
                terminal.signal(number)
            code = terminal.wait_end()
            equal(code, -number if number == signal.SIGQUIT else 0, f"exit code after {name}")
            given_back(terminal, name)
    with on_terminal(context, environment | {"SLUICE_TOKEN": "wrong"}, "top") as terminal:
        equal(terminal.wait_end(), 1, "exit code with a wrong token")
        check(ENTER not in terminal.shown(), "the terminal is taken over for nothing")
    watch(context, environment)


def watch(context: Context, environment: dict[str, str]) -> None:
    """`sluice query --watch` draws over the old answer on a terminal, appends elsewhere, and ends with 0 on Ctrl-C."""
    question = ["query", "--granularity", "total", "--from", "-7d", "--group-by", "status", "--watch", "200ms"]
    with on_terminal(context, environment, *question) as terminal:
        shown = terminal.wait_for("A\r")
        check("█" in shown and "\x1b[1mstatus" in shown, f"no bars: {shown!r}")
        # The second answer begins as many lines further up as the first one had.
        first = shown.split("\x1b[?7h")[0]
        lines = first.count("\n")
        terminal.wait_for(f"\x1b[{lines}A\r")
        terminal.type("\x03")
        equal(terminal.wait_end(), 0, "exit code after Ctrl-C")
        check(SHOW in terminal.shown(), f"the cursor stays hidden: {terminal.shown()!r}")
    output = context.directory / "watched.ndjson"
    with open(output, "wb") as target:
        child = subprocess.Popen(
            [str(context.binary), *question, "--format", "ndjson"], stdin=subprocess.DEVNULL, stdout=target, env=environment)
    try:
        until(lambda: output.read_text().count('"status":200') >= 3, "three answers, one after the other", 30)
        child.send_signal(signal.SIGINT)
        equal(child.wait(30), 0, "exit code after SIGINT")
    finally:
        child.kill()
        child.wait()
    check("\x1b" not in output.read_text(), "control sequences in a file")
    # What is wrong with the arguments is said before a token is looked for.
    nobody = {name: value for name, value in environment.items() if name != "SLUICE_TOKEN"}
    result = context.run(*question[:-1], "soon", environment=nobody, code=2)
    check(b'--watch: "soon" is no interval' in result.stderr, f"what is wrong with --watch: {result.stderr!r}")
