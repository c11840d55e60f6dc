"""What a test is given: a directory, ports, seeded randomness, and real `sluice` processes."""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from harness import checks
from harness.checks import Failure, check
from harness.combined_log import synthetic
from harness.process import Process

PORTS_A_LANE, PORT_LANES = 3000, 4


class Context:
    """One test's surroundings."""

    def __init__(
        self, directory: Path, binary: Path, root: Path, quick: bool, seed: int,
        rng: random.Random, lane: int = 0,
    ) -> None:
        self.directory = directory
        self.binary = binary
        self.root = root
        self.quick = quick
        self.seed = seed
        self.rng = rng
        self.notes: list[str] = []
        self.processes: list[Process] = []
        self._ports: set[int] = set()
        # Tests that run at the same time choose from ranges of their own.
        first = 20_000 + lane % PORT_LANES * PORTS_A_LANE
        self._port_range = range(first, first + PORTS_A_LANE)
        self._refusing: list[socket.socket] = []
        self._logs = 0

    # Surroundings -------------------------------------------------------------------------------

    def note(self, text: str) -> None:
        """Adds a line to what is printed for this test."""
        self.notes.append(text)

    def note_seed(self) -> None:
        """Prints the seed of a test that makes random choices."""
        self.note(f"seed {self.seed}")

    def pick(self, *, quick: Any, full: Any) -> Any:
        """One of two sizes, by suite."""
        return quick if self.quick else full

    def make_directory(self) -> Path:
        """A new private directory, mode 0700."""
        return Path(tempfile.mkdtemp(prefix="d", dir=self.directory))

    def write(self, name: str, content: str | bytes) -> Path:
        """Writes a file of the test's own."""
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def free_port(self) -> int:
        """A port that nothing listens on, below the range of outgoing connections."""
        for _ in range(200):
            port = random.SystemRandom().choice(self._port_range)
            if port in self._ports:
                continue
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    continue
            self._ports.add(port)
            return port
        raise Failure("no free port found")

    def refusing_port(self) -> int:
        """A port that refuses connections as long as the test goes on: it is taken, but nobody listens."""
        taken = socket.socket()
        # As `free_port` asks: what an earlier test left to the system (TIME_WAIT) does not matter.
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", self.free_port()))
        self._refusing.append(taken)
        return taken.getsockname()[1]

    def access_log(self) -> tuple[Path, bool]:
        """10,000 lines of an access log, and whether they are those of the real web site.

        The real log is not part of the project; without it beside the checkout a seeded one takes its place.
        """
        for parent in (self.root, *self.root.parents):
            candidate = parent / "shared/data/apache_access.log"
            if candidate.is_file():
                return candidate, True
        self.note("the real access log (shared/data/apache_access.log) is not here: a seeded one instead")
        rng = random.Random(20150517)
        times = sorted(rng.randrange(1_431_856_800, 1_432_155_600) for _ in range(10_000))
        return self.write("seeded_access.log", synthetic(rng, times)), False

    # Programs -----------------------------------------------------------------------------------

    def configuration(self, settings: dict[str, Any], name: str = "sluice.yaml") -> Path:
        """Writes a configuration file; JSON is YAML."""
        return self.write(name, json.dumps(settings, indent=1))

    def environment(self, extra: dict[str, str] | None = None) -> dict[str, str]:
        """The environment of every program: nothing of ours leaks into it."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith("SLUICE_")}
        return kept | (extra or {})

    def start(self, *arguments: str, environment: dict[str, str] | None = None) -> Process:
        """Starts `sluice` in the background, with its output in a log file."""
        self._logs += 1
        log = self.directory / f"{self._logs:03d}-{arguments[0]}.txt"
        process = Process(
            [str(self.binary), *map(str, arguments)], log, self.environment(environment),
            self.directory)
        self.processes.append(process)
        return process

    def run(
        self, *arguments: str | Path, code: int | None = 0, seconds: float = 60,
        environment: dict[str, str] | None = None, stdin: bytes = b"", cwd: Path | None = None,
    ) -> subprocess.CompletedProcess:
        """Runs a `sluice` command to its end and checks its exit code (None: any)."""
        command = [str(self.binary), *map(str, arguments)]
        shown = " ".join(["sluice", *map(str, arguments)])
        try:
            result = subprocess.run(
                command, input=stdin, capture_output=True, timeout=seconds * checks.stretch(),
                cwd=cwd or self.directory, env=self.environment(environment), check=False)
        except subprocess.TimeoutExpired as error:
            raise Failure(
                f"`{shown}` did not end within {seconds:g} s; standard error: "
                f"{(error.stderr or b'')[-800:].decode(errors='replace')}") from None
        if code is not None and result.returncode != code:
            raise Failure(
                f"`{shown}` ended with {result.returncode}, expected {code}\n"
                f"standard output: {result.stdout[-1500:].decode(errors='replace')}\n"
                f"standard error: {result.stderr[-1500:].decode(errors='replace')}")
        return result

    def kill_all(self) -> None:
        """Ends what is still running, without ceremony."""
        for process in self.processes:
            process.kill()

    # Records ------------------------------------------------------------------------------------

    def log_records(self, data: Path, seconds: float = 120) -> list[dict[str, Any]]:
        """Every record of every log of a data directory, as `sluice log cat` prints it."""
        result = self.run("log", "cat", data, "--format", "ndjson", seconds=seconds)
        records = []
        for number, line in enumerate(result.stdout.splitlines(), 1):
            try:
                records.append(json.loads(line))
            except ValueError as error:
                raise Failure(f"`sluice log cat` line {number} is no JSON ({error}): {line[:300]!r}") from None
        return records

    def requests_logged(self, data: Path) -> list[dict[str, Any]]:
        """The request records alone; each identity occurs once."""
        records = self.log_records(data)
        seen = set()
        for record in records:
            identity = (record.get("log_id"), record.get("offset"))
            check(identity not in seen, f"two records are called {identity}")
            seen.add(identity)
        return [record for record in records if record.get("kind") == "request"]
