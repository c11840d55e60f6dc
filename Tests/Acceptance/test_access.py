"""Who may see what, how often, and what is noted of it: tried over every endpoint, and in SQL behind them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from harness.checks import check, equal, settles, until
from harness.context import Context
from harness.database import Database
from harness.deployment import Roles, make_roles
from harness.registry import test

RANGE = {"from": "2025-06-01T00:00:00Z", "to": "2025-06-02T00:00:00Z"}
OPENAPI = Path(__file__).parents[2] / "schemas" / "openapi.yaml"


def operations() -> list[tuple[str, str, list[str]]]:
    """Method, path and names of parameters of everything that the description lists."""
    found, path, method = [], "", ""
    for line in OPENAPI.read_text().split("\ncomponents:")[0].splitlines():
        if match := re.fullmatch(r"  (/\S*):", line):
            path = match[1]
        elif match := re.fullmatch(r"    (get|post|put|patch|delete|head):", line):
            found.append((match[1].upper(), path, []))
        elif match := re.fullmatch(r"        - name: (\S+)", line):
            found[-1][2].append(match[1])
    check(len(found) > 8, f"operations of the description: {found}")
    return found


def texts(value: Any) -> set[str]:
    """Every text in a record."""
    if isinstance(value, str):
        return {value}
    if isinstance(value, dict):
        return set().union(*map(texts, value.values()))
    return set().union(*map(texts, value)) if isinstance(value, list) else set()


class Bearer:
    """A token, what it owns, and what would give others away."""

    def __init__(self, roles: Roles, records: list[dict[str, Any]], public: bytes, **own: str) -> None:
        self.own = [record for record in records if all(record.get(name) == value for name, value in own.items())]
        others = [record for record in records if record not in self.own]
        known = set().union(*map(texts, self.own))
        check(self.own and others, f"the test has no records for {own}")
        self.markers = {
            text for text in set().union(*map(texts, others)) - known if len(text) > 2 and text.encode() not in public}
        check(self.markers & {"org-0", "demo", "app-1", "app-2"}, f"no markers beside {own}")
        scope = "application" if "application" in own else "org"
        self.token = roles.make_token(
            "--scope", scope, *(part for name, value in own.items() for part in (f"--{name}", value)))
        self.asked = 0

    def ask(self, roles: Roles, method: str, path: str, parameters: Any = None, **more: Any) -> Any:
        """Asks, and finds nothing of others in the answer but what the question said itself."""
        answer = roles.api.call(method, path, parameters, token=self.token, **more)
        self.asked += 1
        what = f"{method} {path} {parameters} {more}"
        check(answer.status < 500 and answer.status not in (101, 429), f"{what}: {answer.status} {answer.body[:300]!r}")
        sent = json.dumps([path, parameters, str(more)], ensure_ascii=False)
        text = (str(answer.headers) + answer.body.decode(errors="replace"))
        # Names within others, as "app-1" in "app-10", count only as a whole.
        leaked = [
            marker for marker in self.markers
            if marker in text and marker not in sent
            and re.search(rf"(?<![\w-]){re.escape(marker)}(?![\w-])", text)]
        check(not leaked, f"{what} shows {leaked[:5]}: {answer.body[:600]!r}")
        if answer.status == 200 and "application/json" in answer.headers.get("content-type", ""):
            body = answer.json()
            rows = body.get("rows") if isinstance(body, dict) else None
            if isinstance(rows, list) and all(isinstance(row.get("requests", 0), int) for row in rows):
                total = sum(row.get("requests", 0) for row in rows) + body.get("other_requests", 0)
                check(total <= len(self.own), f"{what} counts {total}, the scope has {len(self.own)}")
        return answer


def everything(roles: Roles, bearer: Bearer, others: dict[str, list[str]]) -> None:
    """Asks all that the description offers, with parameters that name others."""
    meta = roles.api.call("GET", "/v1/meta").json()
    for method, path, parameters in operations():
        concrete = re.sub(r"\{.*?\}", "1", path)
        if method == "POST":
            for filters in ([], [f"org:eq:{others['org'][0]}"]):
                body = {**RANGE, "group_by": ["org"], "metrics": ["requests"], "filter": filters}
                bearer.ask(roles, "POST", concrete, body=body)
            continue
        bearer.ask(roles, method, concrete)
        bearer.ask(roles, method, concrete, list(RANGE.items()))
        for name in parameters:
            for value in [*others["org"][:1], *others.get("application", [])[:1], "", "*", "' OR true --", "%"]:
                bearer.ask(roles, method, concrete, [*RANGE.items(), (name, value)])
    base = [*RANGE.items(), ("metrics", "requests")]
    for path in ("/v1/usage", "/v1/top"):
        total = [("granularity", "total")] if path == "/v1/usage" else []
        for dimension in meta["dimensions"]:
            foreign = others.get(dimension, [])[:2]
            filters = [[], [f"{dimension}:ne:nothing"], [f"{dimension}:prefix:"], [f"{dimension}:eq:__other__"]]
            filters += [[f"{dimension}:eq:{value}"] for value in foreign[:1]]
            filters += [[f"{dimension}:in:{','.join(foreign)},"], [f"{dimension}:nin:x"]]
            for each in filters:
                question = [*base, *total, ("group_by", dimension), *(("filter", text) for text in each)]
                bearer.ask(roles, "GET", path, question)
            for beside in ("org", "application"):
                if beside != dimension:
                    bearer.ask(roles, "GET", path, [*base, *total, ("group_by", f"{beside},{dimension}")])
    for form in ("csv", "ndjson"):
        for limit in ("none", "10000"):
            for groups in ("org,api", "application,key"):
                answer = bearer.ask(
                    roles, "GET", "/v1/usage", [*base, ("group_by", groups), ("format", form), ("limit", limit)])
                equal(answer.status, 200, f"{form} {limit} {groups}")
    # Pages and tags that somebody else got are worth nothing.
    for groups in ("org,api,application", "application", "org"):
        question = [*base, ("granularity", "1h"), ("group_by", groups), ("limit", "1"), ("fill", "zero")]
        theirs = roles.api.call("GET", "/v1/usage", question)
        equal(theirs.status, 200, f"the administrator's page of {groups}")
        bearer.ask(roles, "GET", "/v1/usage", [*question, ("cursor", theirs.json()["next"])])
        answer = bearer.ask(
            roles, "GET", "/v1/usage", question, headers={"If-None-Match": theirs.headers.get("etag", "")})
        check(answer.status != 304, "somebody else's entity tag is taken for the own one")
    for compare in ("previous", "-1d", "-7d"):
        bearer.ask(roles, "GET", "/v1/usage", [*base, ("compare", compare), ("group_by", "org,application")])


@test(seconds=90, full_only=True)
def isolation(context: Context) -> None:
    """no token sees anything of others, by any endpoint, parameter, filter, cursor, tag or page"""
    meters = [
        {"name": "calls", "aggregate": "count", "start": "2025-06-01"},
        {"name": "of-demo", "aggregate": "count", "start": "2025-06-01", "filter": ["org:eq:demo"]},
        {"name": "of-org-0", "aggregate": "count", "start": "2025-06-01", "filter": ["org:eq:org-0"]}]
    cluster, roles = make_roles(context, meters=meters)
    roles.settings["serve"]["requests_max"] = 0
    roles.config = context.configuration(roles.settings, "isolation.yaml")
    for number, profile in enumerate(("ten", "demo")):
        context.run(
            "load", "--into", roles.data, "--records", 1500, "--profile", profile, "--seed", 3 + number, "--start",
            "2025-06-01T03:00:00Z", "--step", 1_000_000)
    roles.start_aggregator()
    roles.start_serve()
    roles.api.wait_total(3000, "records loaded", 40, from_=RANGE["from"], to=RANGE["to"])
    context.run("meter", "close", "--config", roles.config)
    records = context.requests_logged(roles.data)
    public = OPENAPI.read_bytes() + b"such as api:eq:orders"  # In the words of a refusal.
    pages = {
        path: roles.api.call("GET", path, token=None)
        for path in ("/", "/portal", "/assets/dashboard.js", "/assets/portal.js", "/assets/chart.js", "/metrics", "/livez")}
    public += b"".join(answer.body for path, answer in pages.items() if path != "/metrics")
    names = {
        "org": ("org",), "application": ("application",), "key": ("key_id",), "api": ("api",), "route": ("route",),
        "plan": ("plan",), "upstream": ("upstream_address",), "country": ("country",)}
    asked = 0
    for own in ({"org": "org-0", "application": "app-1"}, {"org": "demo"}, {"org": "org-0"}):
        bearer = Bearer(roles, records, public, **own)
        others = {
            dimension: sorted({record[field] for record in records for field in fields if record.get(field)} & bearer.markers)
            for dimension, fields in names.items()}
        others["org"] = others["org"] or ["nobody"]
        everything(roles, bearer, others)
        for path, answer in pages.items():
            mine = bearer.ask(roles, "GET", path)
            check(path == "/metrics" or mine.body == answer.body, f"{path} is not the same for everybody")
        asked += bearer.asked
        # What belongs to the scope is all there.
        groups = "org,application" if "application" in own else "org"
        tally = roles.api.tally(groups, token=bearer.token, from_=RANGE["from"], to=RANGE["to"])
        equal(tally, {tuple(own.values()): len(bearer.own)}, f"what {own} sees")
        check(roles.api.call("GET", "/v1/ledger", token=bearer.token).status == 403, "the ledger is for admins")
        # Meters: no name of one in which nothing is theirs, no amount of others.
        listed = [meter["name"] for meter in bearer.ask(roles, "GET", "/v1/meters", {"open": "true"}).json()["meters"]]
        equal(listed, ["calls", f"of-{own['org']}"], f"meters of {own}")
        for name in ("calls", "of-demo", "of-org-0"):
            for revision in ("latest", "all"):
                for form in ("json", "csv", "ndjson"):
                    answer = bearer.ask(roles, "GET", f"/v1/meters/{name}", {"revision": revision, "format": form})
                    equal(answer.status, 200 if name in listed else 404, f"meter {name} as {own}")
                    if answer.status == 200 and form == "json":
                        quantity = sum(row["quantity"] for row in answer.json()["rows"])
                        equal(quantity, len(bearer.own), f"meter {name} as {own}")
        # The same behind the API: SQL with no WHERE at all, as the role that the API reads with.
        sees = reader(roles.database, own)
        equal(sees["sluice_g1.consumer_15m"] + sees["sluice_g1.consumer_delta"], len(bearer.own), f"SQL as {own}")
        hidden = [name for name in sees if name.startswith("sluice.")]
        equal({name: sees[name] for name in hidden}, dict.fromkeys(hidden, 0), f"accounts as {own}")
    context.note(f"{asked} questions")
    check(sum(reader(roles.database, None).values()) == 0, "without a scope the reader role sees rows")


def reader(database: Database, own: dict[str, str] | None) -> dict[str, int]:
    """Rows (of rollups: requests) that the reader role sees in tables without any condition."""
    enter = ""
    if own is not None:
        scope = "application" if "application" in own else "org"
        application = f"'{own['application']}'" if "application" in own else "NULL"
        enter = f"PERFORM sluice.enter('{scope}', '{own['org']}', {application});"
    tables = ["consumer_15m", "consumer_delta", "api_1m", "api_delta", "summary_1h", "client_geo_delta"]
    counts = [f"('sluice_g1.{name}', (SELECT coalesce(sum(requests), 0) FROM sluice_g1.{name}))" for name in tables]
    counts += [f"('sluice.{name}', (SELECT count(*) FROM sluice.{name}))" for name in ("log", "ledger", "dead_letter")]
    rows = database.rows(
        f"BEGIN READ ONLY; SET LOCAL ROLE sluice_reader; DO $$BEGIN {enter} END$$; "
        f"SELECT name, count FROM (VALUES {', '.join(counts)}) v (name, count); ROLLBACK")
    return {name: int(count) for name, count in rows}


@test(seconds=60)
def tokens(context: Context) -> None:
    """tokens expire and end, are limited per second, and what they asked is in the audit"""
    _, roles = make_roles(context)
    friend = "https://status.example.com"
    roles.settings["serve"] |= {"requests_max": 2, "attempts_max": 2, "cors_origins": [friend]}
    roles.config = context.configuration(roles.settings, "tokens.yaml")
    serve = roles.start_serve()
    busy, brief = roles.make_token("--scope", "admin"), roles.make_token("--scope", "admin", "--expires", "3s")
    equal(roles.api.call("GET", "/v1/meta", token=brief).status, 200, "a token before its expiry")
    answers = [roles.api.call("GET", "/v1/usage", {"from": "-1h"}, token=busy) for _ in range(200)]
    refused = [answer for answer in answers if answer.status == 429]
    check(refused, "200 requests in a row, and none is refused")
    refused[0].problem(429)
    check(int(refused[0].headers["retry-after"]) >= 1, f"Retry-After: {refused[0].headers}")
    equal({answer.status for answer in answers}, {200, 429}, "answers to a busy token")
    equal(roles.api.call("GET", "/v1/meta").status, 200, "another token meanwhile")
    attempts = [roles.api.call("GET", "/v1/meta", token=f"sluice_{number:043d}").status for number in range(100)]
    equal(set(attempts), {401, 429}, "answers to guesses")
    equal(roles.api.call("GET", "/v1/meta").status, 200, "a known token while somebody guesses")
    until(lambda: roles.api.call("GET", "/v1/meta", token=brief).status in (401, 429), "the brief token has ended", 20)
    # Pages elsewhere: only the listed origin's.
    for origin, allowed in ((friend, friend), ("https://evil.example", None)):
        answer = roles.api.call("GET", "/openapi.yaml", token=None, headers={"Origin": origin})
        equal(answer.headers.get("access-control-allow-origin"), allowed, f"what {origin} may read")
    equal(
        roles.api.call("OPTIONS", "/v1/usage", token=None, headers={"Origin": friend}).status, 204, "a listed origin asks")

    def listed(*arguments: str) -> list[dict[str, Any]]:
        return json.loads(context.run("token", *arguments, "--config", roles.config, "--format", "json").stdout)

    settles(lambda: sum(token["last_used_at"] is not None for token in listed("ls")), 3, "tokens listed as used", 20)
    accepted = len(answers) - len(refused)
    of_busy = next(use["token"] for use in listed("audit", "--limit", "1000") if use["question"] == "from=-1h")
    uses = listed("audit", "--token", of_busy, "--limit", "1000")
    equal(len(uses), accepted, "requests of the busy token in the audit")
    equal(
        {(use["method"], use["path"], use["question"], use["status"], use["address"]) for use in uses},
        {("GET", "/v1/usage", "from=-1h", 200, "127.0.0.1")}, "what the audit says")
    context.run("token", "revoke", "--config", roles.config, of_busy)
    until(lambda: roles.api.call("GET", "/v1/meta", token=busy).status in (401, 429), "the revoked token has ended", 20)
    equal(serve.terminate(20), 0, "exit code of serve")


@test(seconds=60)
def plain_database_user(context: Context) -> None:
    """a database user without rights over roles is told the one grant it lacks; with it all works"""
    cluster, roles = make_roles(context)
    admin = roles.database
    cluster.create("plain")
    admin.rows("CREATE ROLE plain LOGIN")
    admin.rows("ALTER DATABASE plain OWNER TO plain")
    database = Database(re.sub(r"//sluice@", "//plain@", admin.uri).replace("/usage?", "/plain?"))
    equal(database.value("SELECT current_user || ' ' || current_database()"), "plain plain", "the plain user's session")
    plain = Roles(context, database)
    result = context.run("migrate", "--config", plain.config, code=None)
    check(result.returncode != 0, "migrated without the grant")
    check(b"GRANT sluice_reader TO plain" in result.stderr, f"standard error: {result.stderr.decode()}")
    admin.rows("GRANT sluice_reader TO plain")
    plain.migrate()
    context.run("load", "--into", plain.data, "--records", 500, "--profile", "ten", "--start", RANGE["from"])
    plain.start_aggregator()
    plain.start_serve()
    plain.api.wait_total(500, "records counted by a plain user", 40, from_=RANGE["from"], to=RANGE["to"])
    org = plain.make_token("--scope", "org", "--org", "nobody")
    equal(plain.api.rows(token=org, granularity="total", from_=RANGE["from"], to=RANGE["to"]), [], "another organisation")
