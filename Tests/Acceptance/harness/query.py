"""The query API as an independent client uses it."""

from __future__ import annotations

import http.client
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from harness import checks
from harness.checks import Failure, check, equal, settles


class Answer:
    """What came back."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    def json(self) -> Any:
        """The body as JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            raise Failure(f"no JSON ({self.status}): {self.body[:400]!r}") from None

    def problem(self, status: int) -> dict[str, Any]:
        """The body as a problem document (RFC 9457) with this status."""
        check(self.status == status, f"status {self.status}, expected {status}: {self.body[:400]!r}")
        kind = self.headers.get("content-type", "")
        check(kind.startswith("application/problem+json"), f"content type {kind!r} of a problem")
        problem = self.json()
        equal(problem.get("status"), status, "status inside the problem document")
        check(problem.get("title"), f"no title: {problem}")
        check(problem.get("detail"), f"a problem that does not say what to change: {problem}")
        return problem


class QueryAPI:
    """One server of the query API with a token."""

    def __init__(self, port: int, token: str | None) -> None:
        self.port = port
        self.token = token

    def call(
        self, method: str, path: str, parameters: list[tuple[str, str]] | dict[str, str] | None = None,
        body: Any = None, token: str | None = "own", seconds: float = 30,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """One call; `token` replaces the own one, None sends none."""
        token = self.token if token == "own" else token
        sent = dict(headers or {})
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        data = None
        if body is not None:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            sent.setdefault("Content-Type", "application/json")
        if parameters:
            path += "?" + urlencode(parameters)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds * checks.stretch())
        try:
            connection.request(method, path, data, sent)
            response = connection.getresponse()
            return Answer(
                response.status, {key.lower(): value for key, value in response.getheaders()}, response.read())
        except OSError as error:
            raise Failure(f"{method} {path}: {error}") from None
        except http.client.HTTPException as error:
            raise Failure(f"{method} {path}: {type(error).__name__} {error}") from None
        finally:
            connection.close()

    def get(self, path: str, **parameters: str) -> Answer:
        """One GET."""
        return self.call("GET", path, parameters)

    def usage(self, parameters: list[tuple[str, str]] | dict[str, str], token: str | None = "own") -> dict[str, Any]:
        """The answer of `/v1/usage`."""
        answer = self.call("GET", "/v1/usage", parameters, token=token)
        check(answer.status == 200, f"/v1/usage {parameters}: {answer.status} {answer.body[:600]!r}")
        return answer.json()

    def rows(self, token: str | None = "own", **parameters: str) -> list[dict[str, Any]]:
        """The rows of a usage answer; `filter` may be a list."""
        flat: list[tuple[str, str]] = []
        for key, value in ({"limit": "10000"} | parameters).items():
            name = {"from_": "from"}.get(key, key)
            flat += [(name, each) for each in value] if isinstance(value, list) else [(name, value)]
        return self.usage(flat, token)["rows"]

    def tally(self, group_by: str, metrics: str = "requests", **parameters: str) -> dict[tuple, Any]:
        """Totals by group: one metric, or a tuple of several."""
        names, wanted = group_by.split(","), metrics.split(",")
        result = {}
        for row in self.rows(group_by=group_by, metrics=metrics, granularity="total", **parameters):
            values = tuple(row[name] for name in wanted)
            key = tuple(row[name] for name in names)
            check(key not in result, f"two total rows for {key}")
            result[key] = values[0] if len(values) == 1 else values
        return result

    def total(self, metric: str = "requests", **parameters: str) -> Any:
        """One metric over everything."""
        rows = self.rows(metrics=metric, granularity="total", **parameters)
        return rows[0][metric] if rows else 0

    def wait_total(self, expected: int, what: str, seconds: float = 30, **parameters: str) -> None:
        """Waits until so many requests are visible, and fails at once when there are more."""

        def measure() -> int:
            found = self.total(**parameters) or 0
            if found > expected:
                raise Failure(f"{what}: {found} requests are counted, {expected} were there")
            return found

        settles(measure, expected, what, seconds)


def admin_token(data: Path) -> str:
    """The token that the first start wrote."""
    path = data / "admin.token"
    mode = path.stat().st_mode & 0o777
    check(mode == 0o600, f"{path.name} has mode {mode:o}, expected 600")
    return path.read_text().strip()
