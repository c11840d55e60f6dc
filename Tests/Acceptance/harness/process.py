"""A program under test in the background: started, watched and ended by process id."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from harness import checks
from harness.checks import Failure, until


class Process:
    """One running program with its output in a file."""

    def __init__(
        self, command: list[str], log: Path, environment: dict[str, str], directory: Path
    ) -> None:
        self.command = command
        self.log = log
        with open(log, "ab") as output:
            self._child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                env=environment, cwd=directory)
        self.pid = self._child.pid

    @property
    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self._child.poll() is None

    @property
    def code(self) -> int | None:
        """Its exit code; negative for a signal; None while it runs."""
        return self._child.poll()

    def output(self) -> str:
        """What it has printed so far."""
        return self.log.read_text(errors="replace")

    def require_running(self) -> None:
        """Fails when it has ended by itself."""
        if not self.is_running:
            raise Failure(
                f"`{' '.join(['sluice', *self.command[1:]])}` ended with {self.code}: "
                f"{self.output()[-1500:]}")

    def signal(self, number: int) -> None:
        """Sends a signal, unless it has ended."""
        if self.is_running:
            self._child.send_signal(number)

    def kill(self) -> None:
        """Ends it as a power cut of the process would, and waits until it is gone."""
        if self.is_running:
            self._child.kill()
        self._child.wait()

    def wait(self, seconds: float) -> int:
        """Waits for its end and returns the exit code."""
        try:
            return self._child.wait(seconds * checks.stretch())
        except subprocess.TimeoutExpired:
            raise Failure(
                f"`{' '.join(['sluice', *self.command[1:]])}` still runs after {seconds:g} s") from None

    def terminate(self, seconds: float = 30) -> int:
        """Asks it to stop and returns the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait(seconds)


def process_is_alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except OSError:
        return False


def kill_pid(pid: int) -> None:
    """Ends a process by its id and waits until it is gone."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    until(lambda: not process_is_alive(pid), f"process {pid} gone after SIGKILL", 10, 0.01)
