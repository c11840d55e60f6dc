"""Faults that are preloaded into `sluice`, or that happen to its disk."""

from __future__ import annotations

import mmap
import os
import shutil
import struct
import subprocess
from pathlib import Path

from harness.checks import Failure, Skip
from harness.context import Context

SOURCES = Path(__file__).resolve().parent.parent / "faults"


def preload(context: Context, name: str) -> Path:
    """A library of `faults/`, compiled once for a test."""
    library = context.directory / f"{name}.so"
    if library.exists():
        return library
    compiler = shutil.which("clang") or shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise Skip(f"no C compiler for {name}.c")
    done = subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(SOURCES / f"{name}.c"), "-ldl"],
        capture_output=True, check=False)
    if done.returncode != 0:
        raise Failure(f"{name}.c does not compile: {done.stderr.decode()}")
    return library


class SteppingClock:
    """The wall clock of every process that has `environment`."""

    def __init__(self, context: Context) -> None:
        self._library = preload(context, "stepping_clock")
        self._path = context.write("clock", bytes(8))
        with open(self._path, "r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 8)

    @property
    def environment(self) -> dict[str, str]:
        """What makes a process use it."""
        return {"LD_PRELOAD": str(self._library), "CLOCK_FILE": str(self._path)}

    def step_to(self, seconds: float) -> None:
        """How far it is from the true time from now on."""
        self._memory[:8] = struct.pack("=q", int(seconds * 1e9))


class SmallDisk:
    """A file system of its own, in memory, which can be filled; a skip where mounting is not permitted."""

    def __init__(self, directory: Path, megabytes: int) -> None:
        self.directory = directory
        options = f"size={megabytes}m,mode=0700"
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(directory)], check=False, capture_output=True)
        if mounted.returncode != 0:
            raise Skip("mounting a small file system is not permitted here")
        self._filler = directory / "filler"

    def fill(self) -> None:
        """Something else takes the rest."""
        with open(self._filler, "wb", buffering=0) as file:
            room = os.fstatvfs(file.fileno())
            for size in (room.f_bavail * room.f_frsize, 1 << 20, 1 << 16, 1 << 12):
                try:
                    while size:
                        os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), size)
                except OSError:
                    continue  # less is left than this

    def free(self) -> None:
        """There is room again."""
        self._filler.unlink(missing_ok=True)

    def unmount(self) -> None:
        """Gives it back."""
        subprocess.run(["umount", "--lazy", str(self.directory)], check=False)
