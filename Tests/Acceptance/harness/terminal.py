"""A program on a terminal of its own: keys in, screen out."""

from __future__ import annotations

import errno
import fcntl
import os
import pty
import select
import signal
import struct
import termios
import time
from pathlib import Path

from harness import checks
from harness.checks import Failure


class Terminal:
    """A pseudo-terminal with one program on it, ended by process id."""

    def __init__(self, command: list[str], environment: dict[str, str], directory: Path, rows: int = 24, columns: int = 80) -> None:
        self.command = command
        self._seen = b""
        self._mark = 0
        # The terminal has its size before the program looks.
        self._master, slave = pty.openpty()
        self.resize(rows, columns)
        self.before = termios.tcgetattr(slave)
        self._slave = slave
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.close(self._master)
                os.login_tty(slave)
                os.chdir(directory)
                os.execve(command[0], command, environment)
            finally:
                os._exit(127)
        os.set_blocking(self._master, False)
        self._code: int | None = None

    def resize(self, rows: int, columns: int) -> None:
        """Gives the window another size; the program gets SIGWINCH."""
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, keys: str) -> None:
        """Presses keys; what is shown from now on is looked at by `wait_for`."""
        self._read(0)
        self._mark = len(self._seen)
        os.write(self._master, keys.encode())

    def attributes(self) -> list:
        """How the terminal treats keys."""
        return termios.tcgetattr(self._slave)

    def _read(self, seconds: float) -> None:
        """Takes what is there, waiting for the first of it."""
        while select.select([self._master], [], [], seconds)[0]:
            try:
                found = os.read(self._master, 1 << 16)
            except OSError as error:
                if error.errno not in (errno.EIO, errno.EAGAIN):
                    raise
                return
            if not found:
                return
            self._seen += found
            seconds = 0

    def wait_for(self, text: str, seconds: float = 20) -> str:
        """Waits until `text` was shown since the keys were typed; all that was."""
        deadline = time.monotonic() + seconds * checks.stretch()
        while text.encode() not in self._seen[self._mark:]:
            if time.monotonic() > deadline:
                raise Failure(f"{self.command[1:]}: {text!r} is not shown: {self.shown()[-2000:]!r}")
            self._read(0.1)
        return self.shown()

    def shown(self) -> str:
        """What was written to the terminal since the keys were typed."""
        return self._seen[self._mark:].decode(errors="replace")

    def signal(self, number: int) -> None:
        """Sends a signal to the program."""
        if self._code is None:
            os.kill(self.pid, number)

    def wait_stopped(self, seconds: float = 20) -> None:
        """Waits until the program was stopped as by Ctrl-Z."""
        self._wait(os.WUNTRACED, seconds)

    def wait_end(self, seconds: float = 20) -> int:
        """Waits for the program's end, reading what it writes, and returns its exit code."""
        status = self._wait(0, seconds)
        self._code = os.waitstatus_to_exitcode(status)
        return self._code

    def _wait(self, flags: int, seconds: float) -> int:
        deadline = time.monotonic() + seconds * checks.stretch()
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG | flags)
            if pid:
                self._read(0)
                return status
            if time.monotonic() > deadline:
                raise Failure(f"{self.command[1:]} does not end: {self.shown()[-1000:]!r}")
            self._read(0.05)

    def close(self) -> None:
        """Ends what still runs."""
        if self._code is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self._code = -9
        os.close(self._master)
        os.close(self._slave)
