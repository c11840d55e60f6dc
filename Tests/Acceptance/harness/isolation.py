"""Runs one test in a child process that owns everything the test starts.

The child is a subreaper: whatever daemonises inside a test (the embedded PostgreSQL does) becomes
its child and is ended with it, by process id. Nothing is ever ended by name.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import random
import shutil
import signal
import tempfile
import time
import traceback
import zlib
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path

from harness import checks
from harness.checks import Failure, Skip
from harness.context import Context
from harness.registry import Test

PR_SET_CHILD_SUBREAPER = 36
LOG_TAIL_LINES = 25


@dataclass(frozen=True)
class Result:
    """How a test ended."""

    verdict: str
    detail: str
    seconds: float


class Isolated:
    """A test that runs in a process of its own, under its time limit; several may run at the same time."""

    def __init__(
        self, test: Test, *, binary: Path, root: Path, quick: bool, seed: int, keep: bool, lane: int = 0,
    ) -> None:
        self.test, self._keep = test, keep
        # Short, because a socket path holds 107 bytes. Mode 0700, as mkdtemp makes it.
        self._directory = Path(tempfile.mkdtemp(prefix="sluice-", dir=os.environ.get("TMPDIR", "/tmp")))
        context = multiprocessing.get_context("fork")
        self._receiver, sender = context.Pipe(duplex=False)
        self._child = context.Process(
            target=_child, args=(test, self._directory, binary, root, quick, seed, lane, sender), daemon=False)
        self._started = time.monotonic()
        self._limit = 0.0
        self._child.start()
        sender.close()

    @property
    def verdict_pipe(self) -> Connection:
        """Readable when the test has a verdict, or died without one."""
        return self._receiver

    @property
    def seconds_left(self) -> float:
        """Until its time limit, which grows while the machine is busy."""
        self._limit = max(self._limit, self.test.seconds * checks.stretch())
        return max(0.0, self._started + self._limit - time.monotonic())

    def finish(self) -> Result:
        """Takes the verdict, or ends the test if there is none, and cleans up after it."""
        verdict, detail = "failed", ""
        if self._receiver.poll(0):
            try:
                verdict, detail = self._receiver.recv()
            except EOFError:
                detail = "the test's process ended without a verdict"
        else:
            detail = f"not finished within {self._limit:.0f} s"
        self._receiver.close()
        self._end()
        seconds = time.monotonic() - self._started
        if verdict == "failed":
            detail += _log_tails(self._directory)
        if self._keep and verdict == "failed":
            detail += f"\nkept: {self._directory}"
        else:
            shutil.rmtree(self._directory, ignore_errors=True)
        return Result(verdict, detail, seconds)

    def _end(self) -> None:
        child = self._child
        child.join(20)
        if not child.is_alive():
            return
        _end_descendants(child.pid)
        os.kill(child.pid, signal.SIGTERM)
        child.join(10)
        if child.is_alive():
            child.kill()
            child.join()


def run_isolated(test: Test, *, binary: Path, root: Path, quick: bool, seed: int, keep: bool) -> Result:
    """Runs one test to its end."""
    running = Isolated(test, binary=binary, root=root, quick=quick, seed=seed, keep=keep)
    while running.seconds_left and not wait([running.verdict_pipe], min(1, running.seconds_left)):
        pass
    return running.finish()


def _child(
    test: Test, directory: Path, binary: Path, root: Path, quick: bool, seed: int, lane: int, sender: Connection
) -> None:
    """Runs the body, reports, and ends every descendant."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGTERM, lambda *_: _stop())
    own_seed = seed ^ zlib.crc32(test.name.encode())
    context = Context(directory, binary, root, quick, own_seed, random.Random(own_seed), lane)
    try:
        test.body(context)
        verdict = ("passed", "\n".join(context.notes))
    except Skip as skip:
        verdict = ("skipped", str(skip))
    except Failure as failure:
        place = traceback.extract_tb(failure.__traceback__)
        ours = [frame for frame in place if "/Acceptance/" in frame.filename]
        where = "".join(f"\n  at {Path(f.filename).name}:{f.lineno}: {f.line}" for f in ours)
        verdict = ("failed", f"{failure}{where}")
    except BaseException:  # noqa: BLE001: whatever it was, it is a failed test
        verdict = ("failed", traceback.format_exc())
    if verdict[0] == "failed" and context.notes:
        verdict = ("failed", "\n".join([*context.notes, verdict[1]]))
    try:
        context.kill_all()
        _end_descendants(os.getpid())
    finally:
        sender.send(verdict)
        sender.close()
        os._exit(0)


def _stop() -> None:
    _end_descendants(os.getpid())
    os._exit(1)


def children_of(parent: int) -> list[int]:
    """The live children of a process, read from /proc."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == parent and fields[0] != b"Z":
            found.append(int(entry))
    return found


def _end_descendants(root: int) -> None:
    """Kills every descendant of a process of ours; orphans turn up as children meanwhile."""
    for _ in range(50):
        pending, seen = [root], []
        while pending:
            for pid in children_of(pending.pop()):
                seen.append(pid)
                pending.append(pid)
        if not seen:
            return
        for pid in seen:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        if root == os.getpid():
            try:
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            except ChildProcessError:
                pass
        time.sleep(0.02)


def _log_tails(directory: Path) -> str:
    """The last lines of every log file that the test left."""
    text = ""
    for path in sorted(directory.rglob("*.txt")):
        try:
            lines = path.read_text(errors="replace").splitlines()
        except OSError:
            continue
        if lines:
            text += f"\n--- {path.name} (last {min(len(lines), LOG_TAIL_LINES)} of {len(lines)} lines)\n"
            text += "\n".join(line[:240] for line in lines[-LOG_TAIL_LINES:])
    return text
