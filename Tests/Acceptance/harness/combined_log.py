"""What DuckDB makes of an access log, and access logs of our own making."""

from __future__ import annotations

import random
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path

import duckdb

# Our own reading of the Combined Log Format. The last quote may be missing: one line of the real
# log ends inside its user agent, and is a request nevertheless.
PATTERN = (
    r'^(\S+) (\S+) (\S+) \[([^\]]+)\] "((?:[^"\\]|\\.)*)" (\d{3}) (\d+|-)'
    r'(?: "((?:[^"\\]|\\.)*)" "((?:[^"\\]|\\.)*)"?)?\s*$'
)


class AccessLog:
    """An access log as a table `log` with the columns client, moment (UTC), method, path, status, bytes."""

    def __init__(self, path: Path) -> None:
        self.connection = duckdb.connect()
        self.connection.execute("SET TimeZone = 'UTC'")
        self.connection.execute(
            """
            CREATE TABLE line AS
            SELECT unnest(string_split(content, chr(10))) AS text FROM read_text($path)
            """,
            {"path": str(path)})
        self.connection.execute("DELETE FROM line WHERE text = ''")
        # Group by group keeps the pattern in one place.
        self.connection.execute(
            """
            CREATE TABLE log AS
            WITH part AS (
                SELECT
                    regexp_extract(text, $pattern, 1) AS client,
                    regexp_extract(text, $pattern, 4) AS stamp,
                    regexp_extract(text, $pattern, 5) AS request,
                    regexp_extract(text, $pattern, 6) AS status,
                    regexp_extract(text, $pattern, 7) AS size
                FROM line WHERE regexp_matches(text, $pattern)
            )
            SELECT
                client,
                CAST(strptime(stamp, '%d/%b/%Y:%H:%M:%S %z') AS TIMESTAMPTZ) AS moment,
                string_split(request, ' ')[1] AS method,
                string_split(request, ' ')[2] AS path,
                CAST(status AS INTEGER) AS status,
                CASE size WHEN '-' THEN 0 ELSE CAST(size AS BIGINT) END AS bytes
            FROM part
            """,
            {"pattern": PATTERN})

    def one(self, sql: str) -> tuple:
        """The first row of a query."""
        return self.connection.execute(sql).fetchone()

    def tally(self, expression: str, measure: str = "count(*)") -> dict:
        """A measure by an expression."""
        return dict(self.connection.execute(
            f"SELECT {expression}, {measure} FROM log GROUP BY ALL").fetchall())

    def buckets(self, granularity: str, zone: str) -> dict[tuple[str, int], tuple[int, int]]:
        """Requests and bytes by (local start of the bucket as ISO 8601 text, status)."""
        self.connection.execute(f"SET TimeZone = '{zone}'")
        length = {"1m": "1 minute", "5m": "5 minutes", "15m": "15 minutes", "1h": "1 hour"}.get(granularity)
        # date_trunc of a TIMESTAMPTZ is by the session's time zone; weeks begin on Monday.
        unit = {"1m": "minute", "1h": "hour", "1d": "day", "1w": "week", "1mo": "month"}.get(granularity)
        start = f"date_trunc('{unit}', moment)" if unit else f"time_bucket(INTERVAL '{length}', moment)"
        rows = self.connection.execute(
            f"""
            SELECT strftime({start}, '%Y-%m-%dT%H:%M:%S%z'), status, count(*), sum(bytes)::BIGINT
            FROM log GROUP BY ALL
            """).fetchall()
        self.connection.execute("SET TimeZone = 'UTC'")
        return {(normal_offset(text), status): (count, size) for text, status, count, size in rows}


def normal_offset(text: str) -> str:
    """The same time with an offset as the query API writes it: `Z` or `+02:00`."""
    head, offset = text[:19], text[19:]
    if offset in ("Z", "+00", "+0000", "+00:00"):
        return head + "Z"
    sign, digits = offset[0], offset[1:].replace(":", "")
    return f"{head}{sign}{digits[:2]}:{digits[2:4] or '00'}"


def line(
    at: int, *, client: str = "192.0.2.1", method: str = "GET", path: str = "/", status: int = 200,
    size: int | None = 100, referrer: str = "-", agent: str = "curl/8.5.0", offset: str = "+0000",
) -> str:
    """One line of a Combined log; `at` is in seconds since 1970."""
    stamp = datetime.fromtimestamp(at, timezone.utc).strftime("%d/%b/%Y:%H:%M:%S")
    return (
        f'{client} - - [{stamp} {offset}] "{method} {path} HTTP/1.1" {status} '
        f'{"-" if size is None else size} "{referrer}" "{agent}"')


def synthetic(rng: random.Random, times: Iterable[int]) -> str:
    """A Combined log with one line for each time, in the given order."""
    return "".join(
        line(
            at, client=f"198.51.100.{rng.randrange(250)}", method=rng.choice(["GET", "GET", "HEAD", "POST", "PUT"]),
            path=f"/things/{rng.randrange(50)}", status=rng.choice([200, 200, 200, 201, 304, 404, 500]),
            size=rng.choice([None, 0, 17, 100, 4096, 1_000_000])) + "\n"
        for at in times)
