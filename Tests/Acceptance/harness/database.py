"""PostgreSQL seen from outside: clusters of the tests' own, and rollup tables read through psql."""

from __future__ import annotations

import csv
import glob
import io
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from harness import checks, sketches
from harness.checks import Failure, check, equal, settles, until
from harness.process import kill_pid, process_is_alive

API_DIMENSIONS = ["org", "api", "version", "route", "method", "status", "outcome", "region"]
CONSUMER_DIMENSIONS = ["org", "api", "version", "route", "application", "key", "plan", "status_class"]
ROLLUPS = {
    "api": (API_DIMENSIONS, ["1m", "15m", "1d"]),
    "consumer": (CONSUMER_DIMENSIONS, ["15m", "1d"]),
    "upstream": (["org", "api", "upstream", "outcome"], ["1m", "15m", "1d"]),
    "client_geo": (["org", "api", "country", "platform"], ["15m", "1d"]),
    "client_agent": (["org", "api", "user_agent"], ["15m", "1d"]),
    "summary": (["org", "api"], ["1m", "15m", "1h", "1d"]),
    "total": (["org"], ["1m", "15m", "1h", "1d"]),
    "route": (["org", "api", "route"], ["1m", "15m", "1h", "1d"]),
    "status": (["org", "api", "status", "outcome"], ["1m", "15m", "1h", "1d"]),
}
COUNTS = [
    "requests", "client_errors", "server_errors", "aborted", "bytes_in", "bytes_out",
    "latency_count", "latency_sum", "latency_min", "latency_max",
    "upstream_count", "upstream_sum", "upstream_min", "upstream_max",
]
TIER_SECONDS = {"1m": 60, "15m": 900, "1h": 3600, "1d": 86400}


def _binaries() -> Path:
    """Where the server's programs are."""
    for pattern in ("/usr/lib/postgresql/*/bin/initdb", "/usr/bin/initdb", "/usr/local/bin/initdb"):
        found = sorted(glob.glob(pattern))
        if found:
            return Path(found[-1]).parent
    raise Failure("no PostgreSQL server is installed (initdb not found)")


def _as_server() -> list[str]:
    """How to run a program as an unprivileged user when we are root."""
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []


class Database:
    """A database as psql sees it."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.generation = 1

    def follow_generation(self) -> int:
        """Looks at the tables of the active generation from now on."""
        self.generation = self.integer("SELECT id FROM sluice.generation WHERE state = 'active'")
        return self.generation

    def rows(self, sql: str, seconds: float = 60) -> list[list[str]]:
        """The rows of a query as text; null is the empty string."""
        try:
            result = subprocess.run(
                ["psql", "--no-psqlrc", "--quiet", "--csv", "--tuples-only", "--set=ON_ERROR_STOP=1",
                 f"--command={sql}", self.uri],
                capture_output=True, timeout=seconds * checks.stretch(), check=False,
                env=os.environ | {"PGCONNECT_TIMEOUT": "60", "PGTZ": "UTC"})
        except subprocess.TimeoutExpired:
            raise Failure(f"psql did not end within {seconds:g} s: {sql[:200]}") from None
        if result.returncode != 0:
            raise Failure(f"psql: {result.stderr.decode(errors='replace').strip()[:600]}")
        csv.field_size_limit(1 << 27)
        return list(csv.reader(io.StringIO(result.stdout.decode())))

    def value(self, sql: str) -> str:
        """The first column of the first row."""
        return self.rows(sql)[0][0]

    def integer(self, sql: str) -> int:
        """A single number; null is 0."""
        return int(self.value(sql) or 0)

    # Rollups ------------------------------------------------------------------------------------

    def table_rows(self, rollup: str, table: str) -> list[dict[str, Any]]:
        """The rows of one table, ids replaced by the values that they stand for."""
        dimensions, _ = ROLLUPS[rollup]
        blobs = ["latency_hist", "upstream_hist", "clients"] + ([] if "key" in dimensions else ["keys"])
        columns, joins = ["extract(epoch FROM r.bucket)::bigint"], ""
        for name in dimensions:
            if name == "status":
                columns.append("r.status")
                continue
            joins += f' LEFT JOIN sluice.dimension "d_{name}" ON "d_{name}".id = r."{name}"'
            # An id without its row would be shown as such: it must never happen.
            columns.append(
                f"""CASE WHEN r."{name}" = 0 THEN '' ELSE coalesce("d_{name}".value, '?' || r."{name}") END""")
        columns += [f"r.{name}" for name in COUNTS]
        columns += [f"encode(r.{name}, 'hex')" for name in blobs]
        sql = f'SELECT {", ".join(columns)} FROM sluice_g{self.generation}."{rollup}_{table}" r{joins}'
        rows = []
        width = 1 + len(dimensions)
        for fields in self.rows(sql, 120):
            row: dict[str, Any] = {
                "key": (int(fields[0]), *fields[1:width]),
                "counts": dict(zip(COUNTS, map(int, fields[width:width + len(COUNTS)]))),
            }
            for name, text in zip(blobs, fields[width + len(COUNTS):]):
                row[name] = bytes.fromhex(text)
            rows.append(row)
        return rows

    def dump(self, rollup: str, tier: str) -> dict[tuple, dict[str, Any]]:
        """A tier by key: bucket start and dimension values."""
        found: dict[tuple, dict[str, Any]] = {}
        for row in self.table_rows(rollup, tier):
            check(row["key"] not in found, f"{rollup}_{tier} has two rows for {row['key']}")
            found[row["key"]] = row
        return found

    def pending_deltas(self) -> int:
        """Delta rows that the compactor has not merged yet."""
        return self.integer(
            "SELECT " + " + ".join(f'(SELECT count(*) FROM sluice_g{self.generation}."{name}_delta")' for name in ROLLUPS))

    def requests(self) -> int:
        """Requests counted in the rollup `api`, merged or not, in one snapshot."""
        return self.integer(
            f"SELECT (SELECT coalesce(sum(requests), 0) FROM sluice_g{self.generation}.api_1m)"
            f" + (SELECT coalesce(sum(requests), 0) FROM sluice_g{self.generation}.api_delta)")

    def wait_compacted(self, seconds: float = 60) -> None:
        """Waits until all deltas are merged into the tiers."""
        settles(self.pending_deltas, 0, "delta rows left", seconds)

    def check_rows(self) -> dict[str, int]:
        """Checks every row of every table by itself; returns the rows seen per table.

        Histogram totals equal the counts; minimum and maximum lie in the first and last bucket; the
        classes of errors do not exceed the requests; encodings are canonical.
        """
        seen = {}
        for rollup, (_, tiers) in ROLLUPS.items():
            for table in [*tiers, "delta"]:
                rows = self.table_rows(rollup, table)
                seen[f"{rollup}_{table}"] = len(rows)
                seconds = TIER_SECONDS[tiers[0] if table == "delta" else table]
                for row in rows:
                    _check_row(f"{rollup}_{table}", row, seconds)
        return seen

    def check_tiers(self) -> dict[str, dict[tuple, dict[str, Any]]]:
        """Checks that each tier is the sum of the finer one; returns all tiers."""
        tables = {}
        for rollup, (_, tiers) in ROLLUPS.items():
            finer = None
            for tier in tiers:
                rows = self.dump(rollup, tier)
                tables[f"{rollup}_{tier}"] = rows
                if finer is not None:
                    equal(rows, fold_up(finer, TIER_SECONDS[tier]), f"{rollup}_{tier} as the sum of the finer tier")
                finer = rows
        return tables


def _check_row(table: str, row: dict[str, Any], seconds: int) -> None:
    counts, where = row["counts"], f"{table} {row['key']}"
    check(row["key"][0] % seconds == 0, f"{where}: bucket is not aligned")
    check(not any(str(part).startswith("?") for part in row["key"][1:]), f"{where}: unknown dimension id")
    check(counts["requests"] > 0, f"{where}: no requests")
    check(
        counts["client_errors"] + counts["server_errors"] <= counts["requests"],
        f"{where}: more errors than requests: {counts}")
    for name in ("latency", "upstream"):
        histogram = sketches.decode_histogram(row[f"{name}_hist"])
        total = sum(histogram.values())
        if total != counts[f"{name}_count"]:
            raise Failure(f"{where}: {name}_hist holds {total}, {name}_count says {counts[f'{name}_count']}")
        check(counts[f"{name}_count"] <= counts["requests"], f"{where}: more {name} values than requests")
        if total:
            low, high = counts[f"{name}_min"], counts[f"{name}_max"]
            check(
                sketches.histogram_index(low) == min(histogram) and sketches.histogram_index(high) == max(histogram),
                f"{where}: {name} minimum {low} or maximum {high} is not in the outermost buckets")
            check(low * total <= counts[f"{name}_sum"] <= high * total, f"{where}: impossible {name}_sum")
    sketches.decode_sketch(row["clients"])
    sketches.decode_sketch(row.get("keys", b""))


def fold_up(finer: dict[tuple, dict[str, Any]], seconds: int) -> dict[tuple, dict[str, Any]]:
    """The coarser tier that belongs to a finer one."""
    result: dict[tuple, dict[str, Any]] = {}
    groups: dict[tuple, list[dict[str, Any]]] = {}
    for key, row in finer.items():
        groups.setdefault((key[0] - key[0] % seconds, *key[1:]), []).append(row)
    for key, rows in groups.items():
        counts = {name: sum(row["counts"][name] for row in rows) for name in COUNTS}
        for name in ("latency", "upstream"):
            known = [row["counts"] for row in rows if row["counts"][f"{name}_count"]]
            counts[f"{name}_min"] = min((c[f"{name}_min"] for c in known), default=0)
            counts[f"{name}_max"] = max((c[f"{name}_max"] for c in known), default=0)
        merged: dict[str, Any] = {"key": key, "counts": counts}
        for name in ("latency_hist", "upstream_hist"):
            merged[name] = sketches.merge_histograms([row[name] for row in rows])
        for name in ("clients", "keys"):
            if name in rows[0]:
                merged[name] = sketches.merge_sketches([row[name] for row in rows])
        result[key] = merged
    return result


class Cluster:
    """A PostgreSQL cluster of the test's own, reached by a socket."""

    def __init__(self, directory: Path, settings: str = "") -> None:
        """Lines of `settings` come last in the server's configuration file."""
        self._binaries = _binaries()
        # Its user must be able to reach it, so it does not live in the test's private directory.
        self.root = Path(tempfile.mkdtemp(prefix="sluice-pg-", dir=os.environ.get("TMPDIR", "/tmp")))
        (directory / f"cluster-{self.root.name}").symlink_to(self.root)
        if os.geteuid() == 0:
            account = pwd.getpwnam("postgres")
            os.chown(self.root, account.pw_uid, account.pw_gid)
        self.data = self.root / "data"
        self.log = directory / f"{self.root.name}.txt"
        self._command(
            "initdb", "--no-sync", "--auth=trust", "--username=sluice", "--encoding=UTF8",
            "--locale=C", f"--pgdata={self.data}")
        settings = (
            f"listen_addresses = ''\nunix_socket_directories = '{self.root}'\nmax_connections = 100\n"
            "shared_buffers = 64MB\nlog_min_messages = warning\n"
            # Processes are killed here; the power is not cut.
            f"fsync = off\n{settings}")
        with open(self.data / "postgresql.conf", "a", encoding="utf-8") as file:
            file.write(settings)
        self.start()

    def _command(self, program: str, *arguments: str) -> None:
        result = subprocess.run(
            [*_as_server(), str(self._binaries / program), *arguments],
            capture_output=True, timeout=300 * checks.stretch(), check=False, cwd="/")
        if result.returncode != 0:
            raise Failure(f"{program}: {result.stderr.decode(errors='replace')[-800:]}")

    def start(self) -> None:
        """Starts the server and waits until it answers, also after a crash."""
        self._launch()

        def answers() -> bool:
            if self._child.poll() is not None:
                self._launch()  # the children of a killed one had not left yet
            return self.is_answering()

        until(answers, "the test's PostgreSQL answers", 60)

    def _launch(self) -> None:
        with open(self.log, "ab") as output:
            self._child = subprocess.Popen(
                [*_as_server(), str(self._binaries / "postgres"), "-D", str(self.data)],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd="/")

    @property
    def pid(self) -> int:
        """The postmaster."""
        return self._child.pid

    def back_up(self) -> Path:
        """A base backup of the running server; it replaces an older one."""
        target = self.root / "backup"
        shutil.rmtree(target, ignore_errors=True)
        self._command(
            "pg_basebackup", f"--host={self.root}", "--username=sluice", f"--pgdata={target}", "--checkpoint=fast",
            "--no-sync", "--wal-method=stream")
        return target

    def restore(self, backup: Path) -> None:
        """Puts a base backup in the place of the killed server's files."""
        shutil.rmtree(self.data)
        subprocess.run(["cp", "--archive", str(backup), str(self.data)], check=True, timeout=300 * checks.stretch())

    def is_answering(self) -> bool:
        """Whether connections are accepted."""
        return subprocess.run(
            ["pg_isready", "--quiet", f"--host={self.root}"], check=False).returncode == 0

    def kill(self) -> None:
        """Ends the postmaster as kill -9 does; its children notice and leave."""
        self._child.kill()
        self._child.wait()

    def make_replica(self) -> "Replica":
        """A streaming replica of the running server; not started."""
        return Replica(self)

    def create(self, name: str) -> Database:
        """A new, empty database."""
        admin = Database(f"postgresql://sluice@/postgres?host={self.root}")
        admin.rows(f"CREATE DATABASE {name}")
        return Database(f"postgresql://sluice@/{name}?host={self.root}")

    def stop(self) -> None:
        """Ends the server and removes its files."""
        self.kill()
        shutil.rmtree(self.root, ignore_errors=True)


class Replica:
    """A hot standby that streams from a cluster, reached by a socket of its own."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._data = cluster.root / "replica"
        self._sockets = cluster.root / "sockets"
        self._sockets.mkdir()
        if os.geteuid() == 0:
            account = pwd.getpwnam("postgres")
            os.chown(self._sockets, account.pw_uid, account.pw_gid)
        cluster._command(
            "pg_basebackup", f"--host={cluster.root}", "--username=sluice", f"--pgdata={self._data}", "--checkpoint=fast",
            "--no-sync", "--wal-method=stream", "--write-recovery-conf")
        self._child: subprocess.Popen | None = None

    def start(self) -> None:
        """Starts it and waits until it answers, also after a crash."""
        self._launch()

        def answers() -> bool:
            if self._child.poll() is not None:
                self._launch()  # the children of a killed one had not left yet
            return subprocess.run(["pg_isready", "--quiet", f"--host={self._sockets}"], check=False).returncode == 0

        until(answers, "the replica answers", 60)

    def _launch(self) -> None:
        with open(self._cluster.log, "ab") as output:
            self._child = subprocess.Popen(
                [*_as_server(), str(_binaries() / "postgres"), "-D", str(self._data),
                 "-c", f"unix_socket_directories={self._sockets}", "-c", "wal_retrieve_retry_interval=200ms"],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd="/")

    def database(self, name: str) -> Database:
        """A database of it."""
        return Database(f"postgresql://sluice@/{name}?host={self._sockets}")

    def kill(self) -> None:
        """Ends it as kill -9 does; its children notice and leave."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()


class Embedded:
    """The PostgreSQL inside a data directory, as an outsider finds it."""

    def __init__(self, data: Path) -> None:
        self.data = data

    @property
    def pid(self) -> int | None:
        """The postmaster's process id, if it is alive."""
        try:
            pid = int((self.data / "postgres/postmaster.pid").read_text().split("\n")[0])
        except (OSError, ValueError):
            return None
        return pid if process_is_alive(pid) else None

    def kill(self) -> int:
        """Kills the postmaster with SIGKILL and returns the id that it had."""
        pid = until(lambda: self.pid, "a live embedded PostgreSQL", 60)
        kill_pid(pid)
        return pid

    def database(self) -> Database:
        """Its database, reached through the socket named in the lock file."""
        lines = (self.data / "postgres/postmaster.pid").read_text().split("\n")
        return Database(f"postgresql://sluice@/sluice?host={lines[4].strip()}&port={lines[3].strip()}")
