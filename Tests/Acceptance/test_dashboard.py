"""Dashboard and developer portal in a real browser, over real imported data.

Screenshots are kept in `.build/screenshots`, to be looked at.
"""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from harness.browser import ENTER, ESCAPE, TAB, Browser
from harness.checks import check, equal, until
from harness.context import Context
from harness.deployment import Roles, make_roles
from harness.registry import test

# Ten thousand requests of May 2015, and generated ones of a week in June 2025.
SITE = {"from": "2015-05-17T00:00:00Z", "to": "2015-05-22T00:00:00Z"}
WEEK = {"from": "2025-06-01T00:00:00Z", "to": "2025-06-08T00:00:00Z"}
WEEK_RECORDS = 6000


def address(view: str, **more: Any) -> str:
    """The fragment of a view; lists are repeated."""
    parts = []
    for name, value in more.items():
        for each in value if isinstance(value, list) else [value]:
            parts.append(f"{name.rstrip('_')}={each}")
    return f"#/{view}?" + "&".join(parts)


class Pages:
    """A browser at a server with data."""

    def __init__(self, context: Context, roles: Roles, browser: Browser) -> None:
        self.context = context
        self.roles = roles
        self.api = roles.api
        self.browser = browser
        self.base = f"http://127.0.0.1:{roles.query_port}/"
        self.pictures = context.root / ".build" / "screenshots"

    def open(self, page: str = "", fragment: str = "") -> None:
        """Opens a page anew: a change of the fragment alone would not load it."""
        self.browser.open("about:blank")
        self.browser.open(self.base + page + fragment)

    def sign_in(self, token: str) -> None:
        """Types a token and waits for the first view."""
        self.browser.wait("return document.activeElement?.id === 'token'", "the token can be typed")
        self.browser.type("#token", token)
        self.browser.click("#sign-in button[type=submit]")
        self.browser.wait("return document.querySelector('#app main .panel')", "the first view is there")
        self.browser.settle()

    def go(self, fragment: str) -> None:
        """Goes to a view by its address."""
        self.browser.run("location.hash = arguments[0]", fragment)
        self.browser.run_async("await new Promise((done) => setTimeout(done))")
        self.browser.settle()

    def picture(self, name: str, *, whole: bool = True) -> None:
        """Keeps a screenshot; nothing may stick out to the right."""
        wide = self.browser.run("return document.documentElement.scrollWidth - document.documentElement.clientWidth")
        check(wide <= 0, f"{name}: the page is {wide} px wider than the screen")
        self.browser.screenshot(self.pictures / f"{name}.png", whole=whole)

    def tile(self, metric: str) -> str:
        """The number of a tile as it is shown."""
        return self.browser.texts(f".tile[data-metric={metric}] .tile-value")[0].replace("\u00a0", " ")

    def state(self) -> dict[str, list[str]]:
        """The parameters in the address."""
        found: dict[str, list[str]] = {}
        for name, value in parse_qsl(self.browser.url.partition("?")[2], keep_blank_values=True):
            found.setdefault(name, []).append(value)
        return found

    def csv_of(self, panel: str) -> bytes:
        """Clicks the CSV button of a panel and gives the file."""
        name = self.browser.run(
            "return document.querySelector(arguments[0]).dataset.csv", f"#panel-{panel} [data-csv]")
        self.browser.click(f"#panel-{panel} [data-csv]")
        return self.browser.downloaded(f"sluice-{name}.csv")


def loaded(context: Context, **settings: Any) -> Roles:
    """A server over the access log (org site) and generated records (orgs demo and org-0)."""
    _, roles = make_roles(context, **settings)
    log, _ = context.access_log()
    context.run("import", "--config", roles.config, "--format", "combined", "--org", "site", "--api", "web", log)
    for number, profile in enumerate(("ten", "demo")):
        context.run(
            "load", "--into", roles.data, "--records", WEEK_RECORDS, "--profile", profile, "--seed", 3 + number,
            "--start", WEEK["from"], "--step", 7 * 86_400 * 1_000_000 // WEEK_RECORDS)
    roles.start_aggregator()
    roles.start_serve()
    roles.api.wait_total(10_000, "the access log", 60, from_=SITE["from"], to=SITE["to"])
    roles.api.wait_total(2 * WEEK_RECORDS, "the generated records", 60, from_=WEEK["from"], to=WEEK["to"])
    return roles


@test(seconds=180, full_only=True)
def dashboard(context: Context) -> None:
    """dashboard: sign in, range, filter, CSV, deep links, phone, themes, sign out; the console stays empty"""
    roles = loaded(context)
    with Browser(context) as browser:
        browser.prefer("light")
        pages = Pages(context, roles, browser)
        api = roles.api

        # Sign in: wrong tokens are refused in words, and nothing is kept of them.
        pages.open()
        paint = browser.wait(
            "return performance.getEntriesByName('first-contentful-paint')[0]?.startTime", "the first paint")
        context.note(f"first paint after {paint:.0f} ms")
        pages.picture("sign-in", whole=False)
        browser.type("#token", "sluice_" + "x" * 43)
        browser.press(ENTER)
        browser.wait_text("does not know this token")
        equal(browser.run("return sessionStorage.length + localStorage.length"), 0, "what is kept of a wrong token")
        browser.check_console("401")
        pages.sign_in(api.token)
        check(api.token not in browser.url, "the token is in the address")
        equal(browser.run("return [sessionStorage.length, localStorage.length, document.cookie]"), [1, 0, ""], "what is kept")

        # The last day has nothing: the page offers to go to where there is something.
        browser.wait_text("No requests in this range")
        pages.picture("empty")
        browser.click("button", text="Go to the latest data")
        browser.wait("return !location.hash.includes('from=-24h')", "another range")
        browser.settle()
        state = pages.state()
        found = api.total(from_=state["from"][0], to=state["to"][0])
        check(found > WEEK_RECORDS, f"the page went to {state}, where there are {found} requests")
        equal(pages.tile("requests"), f"{found:,}", "requests of the latest data")
        pages.picture("overview")

        # A range of one's own, on the clock of a zone.
        browser.choose("select[name=tz]", "UTC")
        browser.settle()
        browser.click("[data-range=custom]")
        for name, text in (("from", SITE["from"]), ("to", SITE["to"])):
            browser.run("document.querySelector(arguments[0]).value = arguments[1]", f"dialog [name={name}]", text[:16])
        browser.click("dialog button[type=submit]")
        browser.wait("return !document.querySelector('dialog')", "the dialog is closed")
        browser.settle()
        state = pages.state()
        equal((state["from"], state["to"], state["tz"]), ([SITE["from"]], [SITE["to"]], ["UTC"]), "the address")
        equal(pages.tile("requests"), "10,000", "requests of the access log")
        [expected] = api.rows(
            metrics="errors,error_rate,bytes_out,unique_clients", granularity="total", from_=SITE["from"], to=SITE["to"])
        percent = expected["error_rate"] * 100
        equal(pages.tile("error_rate").replace(" ", ""), f"{percent:.{2 if percent < 10 else 1}f}%", "error rate")
        equal(pages.tile("unique_clients"), f"{expected['unique_clients']:,}", "clients")
        equal(pages.tile("latency_p95"), "–", "a latency that an access log does not know")
        pages.picture("overview-access-log")

        # Click to filter; the CSV is what the API gives for the same question.
        browser.click("#panel-status .value", text="404")
        browser.settle()
        equal(pages.state()["filter"], ["status:eq:404"], "the filter in the address")
        missing = api.rows(
            metrics="requests", granularity="total", filter="status:eq:404", from_=SITE["from"], to=SITE["to"])[0]["requests"]
        equal(pages.tile("requests"), f"{missing:,}", "requests with 404")
        content = pages.csv_of("top-route")
        # The columns depend on how many lists there is room for.
        columns = content.split(b"\r\n", 1)[0].decode().split(",")
        check(columns[:3] == ["route", "requests", "error_rate"], f"columns of the routes: {columns}")
        answer = api.call("GET", "/v1/usage", [
            ("granularity", "total"), ("metrics", ",".join(columns[1:])), ("group_by", "route"), ("filter", "status:eq:404"), ("order", "-requests"), ("limit", "8"), ("format", "csv"),
            *SITE.items()])
        equal(content, answer.body, "CSV of the routes")
        browser.wait_text("CSV saved")
        browser.click(".chip button")
        browser.settle()
        check("filter" not in pages.state(), "the filter is still in the address")

        # Every view shows what the API says, and links lead back to it.
        pages.go(address("breakdown", **WEEK, tz="UTC", by="api", sort="-errors"))
        rows = api.rows(
            metrics="requests,errors", group_by="api", granularity="total", order="-errors", limit="100",
            from_=WEEK["from"], to=WEEK["to"])
        shown = browser.run(
            "return [...document.querySelectorAll('#panel-breakdown tbody tr')].map((row) =>"
            " [row.querySelector('.value').textContent, row.querySelector('.with-bar').textContent])")
        equal(shown, [[row["api"], f"{row['requests']:,}"] for row in rows], "the table by API")
        table = list(csv.DictReader(io.StringIO(pages.csv_of("breakdown").decode())))
        equal([(row["api"], int(row["errors"])) for row in table], [(row["api"], row["errors"]) for row in rows], "its CSV")
        pages.picture("breakdown")
        browser.click("#panel-over-time [aria-label='Show as table']")
        browser.settle()
        check(browser.has("#panel-over-time table"), "the chart is no table")
        browser.click("#panel-over-time [aria-label='Show as table']")
        browser.settle()
        link = browser.url
        pages.open(fragment="#" + link.partition("#")[2])
        browser.wait("return document.querySelector('#panel-breakdown tbody tr')", "the linked view")
        browser.settle()
        equal(browser.url, link, "a link opened anew")

        # A drag over a chart takes its time; the browser's way back returns.
        browser.drag("#panel-over-time canvas", 0.4, 0.6)
        browser.wait(f"return !location.hash.includes({json.dumps(WEEK['from'])})", "a narrower range")
        browser.settle()
        narrow = pages.state()
        check(WEEK["from"] < narrow["from"][0] < narrow["to"][0] < WEEK["to"], f"the range after the drag: {narrow}")
        browser.run("history.back()")
        browser.wait(f"return location.hash.includes({json.dumps(WEEK['from'])})", "the way back")
        browser.settle()

        for view in ("errors", "latency", "health"):
            pages.go(address(view, **WEEK, tz="Europe/Berlin"))
            pages.picture(view)
        check("accounted for" in browser.text and "Ledger" in browser.text, "the ledger is not shown")
        ledger = list(csv.DictReader(io.StringIO(pages.csv_of("ledger").decode())))
        logs = api.call("GET", "/v1/ledger").json()["logs"]
        equal({row["log_id"]: row["folded"] for row in ledger}, {log["log_id"]: str(log["folded"]) for log in logs}, "ledger as CSV")

        # Dark, a phone, a wall.
        browser.prefer("dark")
        for view in ("overview", "breakdown", "errors", "latency"):
            pages.go(address(view, **WEEK, tz="UTC"))
            pages.picture(f"{view}-dark")
        browser.resize(390, 844, phone=True)
        for scheme in ("light", "dark"):
            browser.prefer(scheme)
            for view in ("overview", "breakdown", "latency", "health"):
                pages.go(address(view, **WEEK, tz="UTC"))
                pages.picture(f"phone-{view}-{scheme}")
        browser.resize(1920, 1080)
        pages.go(address("overview", **WEEK, tz="UTC", wall="1"))
        check(not browser.has("#sign-out") and not browser.has("select[name=tz]"), "a wall shows controls")
        pages.picture("wall", whole=False)
        browser.press(ESCAPE)
        browser.wait("return !document.body.classList.contains('wall')", "Escape leaves the wall")
        browser.resize(1440, 900)
        browser.prefer("light")
        browser.click("[aria-label='Theme: auto']")
        browser.click("[aria-label='Theme: light']")
        equal(browser.run("return document.documentElement.dataset.theme"), "dark", "the chosen theme")
        browser.check_console()

        # Live: what is new shows without a hand.
        now = datetime.now(timezone.utc)
        pages.go(address("overview", from_="-24h", to="now", tz="UTC", live="5"))
        browser.wait_text("No requests in this range")
        context.run(
            "load", "--into", roles.data, "--records", 50, "--profile", "demo", "--seed", 9,
            "--start", (now - timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ"), "--step", 1_000_000)
        until(lambda: browser.texts(".tile[data-metric=requests] .tile-value") == ["50"], "fresh records show by themselves", 40)

        # Without a connection the last numbers stay, and the page says so; then it goes on by itself.
        browser.check_console()
        browser.devtools("Network.enable")
        browser.devtools("Network.setBlockedURLs", urls=["*/v1/usage*"])
        browser.wait_text("no connection")
        browser.settle()
        equal(pages.tile("requests"), "50", "the last number, without a connection")
        pages.picture("no-connection", whole=False)
        browser.devtools("Network.setBlockedURLs", urls=[])
        browser.wait("return !document.body.innerText.includes('no connection')", "the connection is back", 30)
        browser.settle()
        check(not browser.has("[data-stale]"), "a panel is still stale")
        browser.check_console("ERR_BLOCKED")

        # Signed out, nothing is left: neither on the page, nor behind it.
        browser.click("#sign-out")
        browser.wait_text("You are signed out")
        equal(browser.run("return [sessionStorage.length, document.getElementById('app').childNodes.length]"), [0, 0], "what is left")
        browser.run("history.back()")
        browser.wait_text("Sign in")
        check("50" not in browser.texts(".tile-value"), "numbers after signing out")
        browser.check_console()


@test(seconds=120, full_only=True)
def portal(context: Context) -> None:
    """portal: an application sees itself alone, by page, address, parameter and endpoint; its commands work"""
    meters = [
        {"name": "calls", "aggregate": "count", "start": "2025-05-01"},
        {"name": "egress", "aggregate": "sum", "field": "bytes_out", "start": "2025-05-01", "timezone": "Europe/Berlin"},
        {"name": "theirs", "aggregate": "count", "start": "2025-05-01", "filter": ["org:eq:demo"]}]
    quota = {"name": "quota", "metric": "quota", "meter": "calls", "limit": 1000, "above": 0.9}
    roles = loaded(context, meters=meters, alerts=[quota])
    mine = roles.make_token("--scope", "application", "--org", "org-0", "--application", "app-1")
    records = [record for record in context.requests_logged(roles.data) if record["org"] == "org-0"]
    own = sum(record.get("application") == "app-1" for record in records)
    others = {record.get("application") for record in records} - {"app-1", None}
    check(own > 0 and others, "the generated records have too few applications")
    hidden = sorted(others | {"demo", "site"}) + [
        key for key in {record.get("credential_key_id") or record.get("key") for record in records if record.get("application") != "app-1"}
        if key]
    api = roles.api

    def check_hidden(text: str, where: str) -> None:
        for name in hidden:
            check(not re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text), f"{where} shows {name}: {text[:400]!r}")

    # Every endpoint, by parameter and by body.
    questions: list[list[tuple[str, str]]] = [
        [("group_by", each)] for each in ("org", "api", "version", "route", "application", "key", "plan", "status_class", "status")]
    questions += [[("group_by", "org,application,key")]]
    for other in sorted(others)[:3]:
        questions += [
            [("filter", f"application:eq:{other}"), ("group_by", "application")],
            [("filter", f"application:in:app-1,{other}"), ("group_by", "application")],
            [("filter", "application:ne:app-1"), ("group_by", "application")],
            [("filter", "application:eq:__other__"), ("group_by", "application")],
            [("filter", "org:nin:org-0"), ("group_by", "org")],
        ]
    for question in questions:
        parameters = [*question, ("granularity", "total"), ("limit", "10000"), *WEEK.items()]
        answers = [api.call("GET", "/v1/usage", parameters, token=mine)]
        answers.append(api.call("GET", "/v1/usage", [*parameters, ("format", "csv")], token=mine))
        answers.append(api.call("POST", "/v1/usage", body={name: value if name != "limit" else int(value) for name, value in parameters}, token=mine))
        for answer in answers:
            check(answer.status in (200, 400), f"{question}: {answer.status}")
            if answer.status == 200:
                asked = " ".join(value for _, value in question)
                body = answer.body.decode()
                check_hidden(body, f"the answer to {asked}")
        if answers[0].status == 200:
            total = sum(row["requests"] for row in answers[0].json()["rows"])
            check(total in (0, own), f"{question}: {total} requests, the application has {own}")
    for path in ("/v1/meta", "/v1/ledger", "/v1/top", "/v1/records"):
        answer = api.call("GET", path, token=mine)
        check(answer.status in (200, 400, 403, 404), f"{path}: {answer.status}")
        check_hidden(answer.body.decode(), path)
    equal(api.call("GET", "/v1/ledger", token=mine).status, 403, "the ledger")
    for path in ("/", "/portal"):
        check_hidden(api.call("GET", path, token=None).body.decode(), path)

    with Browser(context) as browser:
        browser.prefer("light")
        pages = Pages(context, roles, browser)
        pages.open("portal", address("usage", **WEEK, tz="UTC"))
        pages.sign_in(mine)
        equal(pages.tile("requests"), f"{own:,}", "requests of the application")
        for view in ("usage", "breakdown", "errors", "latency", "access"):
            pages.go(address(view, **WEEK, tz="UTC"))
            check_hidden(browser.run("return document.documentElement.outerHTML"), f"the portal's {view}")
            pages.picture(f"portal-{view}")
        # By address: a filter for another application finds nothing, whatever the view.
        for view in ("usage", "breakdown", "errors"):
            pages.go(address(view, **WEEK, tz="UTC", filter=f"application:eq:{sorted(others)[0]}"))
            equal(browser.texts(".tile-value, tbody tr"), [], f"another application's {view}")
        # The dashboard's page shows no more to this token.
        pages.open("", address("overview", **WEEK, tz="UTC"))
        browser.wait("return document.querySelector('#app main .tile')", "the dashboard with the portal's token")
        browser.settle()
        check_hidden(browser.run("return document.documentElement.outerHTML"), "the dashboard")
        equal(pages.tile("requests"), f"{own:,}", "requests on the dashboard")
        pages.go(address("health", tz="UTC"))
        check(not browser.has("#panel-ledger"), "the ledger is shown to an application")

        portal_meters(pages, mine, own, check_hidden)

        # The command that the portal shows gives what the portal shows.
        pages.open("portal", address("access", **WEEK, tz="UTC", filter="status_class:eq:2xx"))
        browser.wait("return document.querySelector('.snippet pre')", "the commands")
        browser.settle()
        command = next(text for text in browser.texts(".snippet pre") if text.startswith("curl"))
        check(mine not in browser.run("return document.documentElement.outerHTML"), "the page shows the token")
        if shutil.which("curl"):
            result = subprocess.run(
                ["bash", "-c", command.replace("curl ", "curl --silent --show-error ", 1)], capture_output=True, timeout=30,
                env=context.environment({"SLUICE_TOKEN": mine}), check=False)
            check(result.returncode == 0, f"the command failed: {result.stderr.decode()}")
            expected = api.usage([
                ("granularity", "total"), ("metrics", "requests,errors,error_rate,latency_p95"), ("group_by", "route"),
                ("filter", "status_class:eq:2xx"), ("order", "-requests"), ("limit", "100"), *WEEK.items()], mine)
            equal(json.loads(result.stdout)["rows"], expected["rows"], "the command's answer")
        browser.resize(390, 844, phone=True)
        browser.prefer("dark")
        pages.go(address("usage", **WEEK, tz="UTC"))
        pages.picture("phone-portal-dark")

        # A token that is revoked while somebody looks ends the session, in words.
        listed = json.loads(context.run("token", "ls", "--config", roles.config, "--format", "json").stdout)
        rows = listed if isinstance(listed, list) else next(value for value in listed.values() if isinstance(value, list))
        [identifier] = [row["id"] for row in rows if row.get("application") == "app-1"]
        browser.check_console()
        context.run("token", "revoke", "--config", roles.config, str(identifier))
        until(lambda: api.call("GET", "/v1/meta", token=mine).status == 401, "the token is revoked", 20)
        browser.run("location.hash = arguments[0]", address("errors", **WEEK, tz="UTC"))
        browser.wait_text("no longer takes this token")
        equal(browser.run("return [sessionStorage.length, document.getElementById('app').childNodes.length]"), [0, 0], "what is left")


@test(seconds=90, full_only=True)
def dashboard_by_keyboard(context: Context) -> None:
    """dashboard: everything can be done with the keyboard alone"""
    roles = loaded(context)
    with Browser(context) as browser:
        pages = Pages(context, roles, browser)
        pages.open(fragment=address("overview", **WEEK, tz="UTC"))
        browser.wait("return document.activeElement?.id === 'token'", "the token has the focus")
        browser.press(*roles.api.token, ENTER)
        browser.wait("return document.querySelector('#app main .panel')", "the first view is there")
        browser.settle()

        # The first Tab offers to skip, and every stop can be seen.
        browser.run("document.activeElement.blur()")
        browser.press(TAB)
        equal(browser.focused, "Skip to the content", "the first stop")
        browser.press(ENTER)
        equal(browser.run("return document.activeElement.id"), "main", "the focus after skipping")
        stops = []
        for _ in range(60):
            browser.press(TAB)
            stops.append(browser.focused)
            outline = browser.run(
                "const e = document.activeElement; const s = getComputedStyle(e); const r = e.getBoundingClientRect();"
                "return e === document.body || (s.outlineStyle !== 'none' && r.width > 0)")
            check(outline, f"the stop {stops[-1]!r} cannot be seen")
        check(any("Download CSV" in stop for stop in stops), f"no CSV button among the stops: {stops}")

        # Live refreshes take the focus from nobody.
        pages.go(address("overview", **WEEK, tz="UTC", live="5"))
        browser.run("document.querySelector('#panel-top-route .value').focus()")
        value = browser.focused
        browser.run("window.refreshes = 0; new MutationObserver(() => window.refreshes++)"
                    ".observe(document.querySelector('#panel-top-route .panel-body'), { childList: true })")
        browser.wait("return window.refreshes > 0", "a refresh by itself", 30)
        browser.settle()
        equal(browser.focused, value, "the focus after a refresh")
        pages.go(address("overview", **WEEK, tz="UTC"))

        # Views, range, filter and help by single keys.
        for key, title in (("2", "Breakdown"), ("3", "Errors"), ("4", "Latency"), ("5", "Records"), ("6", "Pipeline"), ("1", "Overview")):
            browser.press(key)
            until(lambda: browser.title.startswith(title), f"key {key} shows {title}", 10)
            browser.settle()
        before = pages.state()["from"]
        browser.press("[")
        until(lambda: pages.state()["from"] != before, "[ goes to an earlier time", 10)
        browser.settle()
        browser.press("]")
        until(lambda: pages.state()["from"] == before, "] comes back", 10)
        browser.settle()
        browser.press("?")
        browser.wait("return document.querySelector('dialog[open]')", "? shows the keys")
        pages.picture("keys", whole=False)
        browser.press(ESCAPE)
        browser.wait("return !document.querySelector('dialog')", "Escape closes")
        browser.press("f")
        browser.wait("return document.querySelector('dialog[open] [name=value]')", "f adds a filter")
        browser.choose("dialog [name=dimension]", "org")
        browser.run("document.querySelector('dialog [name=value]').focus()")
        browser.press(*"demo")
        pages.picture("filter", whole=False)
        browser.press(ENTER)
        browser.wait("return location.hash.includes('filter=org:eq:demo')", "the filter is set")
        browser.settle()
        equal(pages.tile("requests"), f"{WEEK_RECORDS:,}", "requests of the organisation")
        # A value of a table: filter with Enter, sort with Enter.
        browser.run("document.querySelector('#panel-top-api .value').focus()")
        value = browser.focused
        browser.press(ENTER)
        browser.wait("return document.querySelectorAll('.chip').length === 2", f"only {value}")
        browser.settle()
        browser.run("document.querySelector('#panel-top-route th:last-child .sort').focus()")
        browser.press(ENTER)
        browser.wait("return document.querySelector('#panel-top-route th:last-child[aria-sort=descending]')", "sorted")
        browser.settle()
        browser.check_console()


def portal_meters(pages: Pages, token: str, own: int, check_hidden: Any) -> None:
    """What is billed: the open period against its quota, closed ones with the CSV that the API gives, nobody else's."""
    context, roles, api, browser = pages.context, pages.roles, pages.api, pages.browser
    context.run("meter", "close", "--config", roles.config)
    today = datetime.now(timezone.utc)
    context.run(
        "load", "--into", roles.data, "--records", 200, "--profile", "ten", "--seed", 5, "--start",
        today.replace(hour=0, minute=0, second=0).strftime("%Y-%m-%dT%H:%M:%SZ"), "--step", 1000)
    api.wait_total(200, "records of today", 40, from_=today.strftime("%Y-%m-%dT00:00:00Z"), to="now", tz="UTC")
    answer = api.call("GET", "/v1/meters", {"open": "true"}, token=token)
    check_hidden(answer.body.decode(), "the list of meters")
    found = {meter["name"]: meter for meter in answer.json()["meters"]}
    equal(sorted(found), ["calls", "egress"], "meters of the application")
    [row] = found["calls"]["open"][-1]["rows"]
    check(row["quantity"] > 0 and row["left"] == 1000 - row["quantity"], f"the open period: {row}")
    equal(api.call("GET", "/v1/meters/theirs", token=token).status, 404, "another organisation's meter")

    pages.open("portal", address("usage", **WEEK, tz="UTC"))
    browser.wait("return document.querySelector('#app main .tile')", "the portal")
    browser.press("5")
    browser.wait("return document.querySelector('#panel-meter-egress tbody tr')", "the meters")
    browser.settle()
    tile = browser.texts(".tile[data-meter=calls]")[-1].replace("\u00a0", " ")
    for words in (f"{row['quantity']} requests", f"{row['left']} requests left of 1,000 requests"):
        check(words.replace(" ", "") in re.sub(r"\s", "", tile), f"the tile does not say {words}: {tile!r}")
    share = browser.run("return [...document.querySelectorAll('[role=meter]')].at(-1).getAttribute('aria-valuenow')")
    equal(float(share), float(row["quantity"]), "the quota's bar")
    shown = browser.texts("#panel-meter-calls tbody tr:last-child td")
    equal(shown[:4], ["1 – 30 Jun 2025", f"{own:,}", "1", "–"], "the closed period")
    browser.run("document.querySelector('#panel-meter-calls [data-csv]').focus()")
    browser.press(ENTER)
    closed = api.call("GET", "/v1/meters/calls", {"revision": "all", "format": "csv"}, token=token)
    equal(browser.downloaded("sluice-meter-calls.csv"), closed.body, "the CSV of a meter")
    check_hidden(browser.run("return document.documentElement.outerHTML"), "the portal's meters")
    equal(browser.run(FLAWS), [], "flaws of the meters")
    pages.picture("portal-meters")
    browser.resize(390, 844, phone=True)
    browser.prefer("dark")
    pages.picture("phone-portal-meters-dark")
    equal(browser.run(FLAWS), [], "flaws of the meters on a phone in the dark")
    browser.resize(1440, 900)
    browser.prefer("light")


# Text with too little contrast, controls without a name, and names that occur twice.
FLAWS = """
const parse = (text) => (text.match(/[\\d.]+/g) ?? []).map(Number);
const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
  .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
  .reduce((sum, c, index) => sum + c * [0.2126, 0.7152, 0.0722][index], 0);
const ground = (element) => {
  for (let e = element; e; e = e.parentElement) {
    const colour = parse(getComputedStyle(e).backgroundColor);
    if (colour.length === 3 || colour[3] === 1) return colour;
  }
  return [255, 255, 255];
};
const found = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const element = walker.currentNode.parentElement;
  const text = walker.currentNode.textContent.trim();
  if (!text || !element.checkVisibility({ opacityProperty: true }) || element.closest('.visually-hidden, option, svg, noscript')) continue;
  const style = getComputedStyle(element);
  const [a, b] = [light(parse(style.color)), light(ground(element))];
  const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  const isLarge = parseFloat(style.fontSize) >= 24;
  if (contrast < (isLarge ? 3 : 4.5)) found.push(`${text.slice(0, 30)}: contrast ${contrast.toFixed(2)}`);
}
for (const e of document.querySelectorAll('a, button, input, select, [role=img], [role=region]')) {
  if (!e.checkVisibility()) continue;
  const name = e.getAttribute('aria-label') || e.textContent.trim() || e.labels?.[0]?.textContent;
  if (!name) found.push(`no name: ${e.outerHTML.slice(0, 80)}`);
}
const ids = [...document.querySelectorAll('[id]')].map((e) => e.id);
ids.filter((id, index) => ids.indexOf(id) !== index).forEach((id) => found.push(`id twice: ${id}`));
return [...new Set(found)];
"""


@test(seconds=90, full_only=True)
def dashboard_accessible(context: Context) -> None:
    """dashboard: enough contrast in both themes, a name for every control, no identifier twice"""
    roles = loaded(context)
    with Browser(context) as browser:
        pages = Pages(context, roles, browser)
        pages.open()
        equal(browser.run(FLAWS), [], "flaws of the sign-in")
        pages.sign_in(roles.api.token)
        for scheme in ("light", "dark"):
            browser.prefer(scheme)
            for page, views in (("", ("overview", "breakdown", "errors", "latency", "health")), ("portal", ("access",))):
                pages.open(page, address(views[0], **WEEK, tz="UTC", filter="org:ne:nobody"))
                browser.wait("return document.querySelector('#app main .panel')", "the first view")
                for view in views:
                    pages.go(address(view, **WEEK, tz="UTC", filter="org:ne:nobody"))
                    equal(browser.run(FLAWS), [], f"flaws of {view} in {scheme}")
            for key in ("f", "?"):
                browser.press(key)
                browser.wait("return document.querySelector('dialog[open]')", f"the dialog of {key}")
                equal(browser.run(FLAWS), [], f"flaws of the dialog of {key} in {scheme}")
                browser.press(ESCAPE)
                browser.wait("return !document.querySelector('dialog')", "the dialog is closed")


@test(seconds=90, full_only=True)
def dashboard_hostile_values(context: Context) -> None:
    """dashboard: names that are HTML, commas, quotes and formulas are shown, filtered and exported as they are"""
    _, roles = make_roles(context)
    log, _ = context.access_log()
    lines = Path(log).read_text(errors="replace").splitlines()[:200]
    names = [
        "<img src=x onerror=document.title='owned'>", "</script><script>document.title='owned'</script>", "a,b\\c:d",
        '=HYPERLINK("x")', "javascript:alert(1)", "ünï \u00a0code", "constructor",
    ]
    for number, name in enumerate(names):
        path = context.write(f"{number}.log", "\n".join(lines[: 20 * (number + 1)]) + "\n" + lines[-1].replace("200", f"20{number}") + "\n")
        context.run("import", "--config", roles.config, "--format", "combined", "--org", "site", "--api", name, path)
    roles.start_aggregator()
    roles.start_serve()
    roles.api.wait_total(sum(20 * (number + 1) + 1 for number in range(len(names))), "imported", 40, from_=SITE["from"], to=SITE["to"])
    with Browser(context) as browser:
        pages = Pages(context, roles, browser)
        pages.open(fragment=address("breakdown", **SITE, tz="UTC", by="api"))
        pages.sign_in(roles.api.token)
        equal(sorted(browser.texts("#panel-breakdown .value")), sorted(names), "the names as shown")
        pages.picture("hostile-names")
        table = list(csv.DictReader(io.StringIO(pages.csv_of("breakdown").decode())))
        equal(sorted(row["api"] for row in table), sorted(names), "the names as CSV")
        for number, name in enumerate(names):
            pages.go(address("breakdown", **SITE, tz="UTC", by="api"))
            browser.click("#panel-breakdown .value", text=name)
            browser.settle()
            equal(pages.state()["filter"], [f"api:eq:{name}"], "the filter in the address")
            equal(browser.texts("#panel-breakdown .value"), [name], "the rows under the filter")
            equal(browser.texts("#panel-breakdown .with-bar"), [f"{20 * (number + 1) + 1}"], f"requests of {name}")
            for view in ("overview", "errors", "latency"):
                pages.go(f"#/{view}?" + browser.url.partition("?")[2])
        check("owned" not in browser.title and not browser.has("#app img[src=x]"), "a name became HTML")
        browser.check_console()


@test(seconds=90, full_only=True)
def dashboard_buckets(context: Context) -> None:
    """dashboard: the axis has the API's buckets in every zone, across changes of the clock; without Chart.js tables"""
    _, roles = make_roles(context)
    cases = [
        ("Europe/Berlin", "2025-10-25T00:00:00Z"), ("Europe/Berlin", "2025-03-29T00:00:00Z"),
        ("Australia/Lord_Howe", "2025-04-04T12:00:00Z"), ("Australia/Lord_Howe", "2025-10-03T12:00:00Z"),
        ("America/Sao_Paulo", "2018-11-02T00:00:00Z"), ("Asia/Kathmandu", "2025-10-25T00:00:00Z"), ("UTC", "2025-10-25T00:00:00Z"),
    ]
    starts = sorted({start for _, start in cases})
    days = 4
    for number, start in enumerate(starts):
        # A record every five minutes, so that every bucket has a row.
        context.run(
            "load", "--into", roles.data, "--records", days * 288, "--profile", "demo", "--seed", 1 + number,
            "--start", start, "--step", 300_000_000)
    roles.start_aggregator()
    roles.start_serve()
    roles.api.wait_total(len(starts) * days * 288, "records", 40, from_="2018-01-01T00:00:00Z", to="2026-01-01T00:00:00Z")
    with Browser(context) as browser:
        pages = Pages(context, roles, browser)
        pages.open()
        pages.sign_in(roles.api.token)
        for zone, start in cases:
            begin = datetime.fromisoformat(start.replace("Z", "+00:00"))
            end = (begin + timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")
            for step in ("5m", "15m", "1h", "1d", "1w", "1mo"):
                answer = roles.api.usage({"from": start, "to": end, "tz": zone, "granularity": step, "limit": "10000"})
                expected = [int(datetime.fromisoformat(row["bucket"].replace("Z", "+00:00")).timestamp() * 1000) for row in answer["rows"]]
                found = browser.run_async(
                    "const { bucketStarts } = await import(new URL('assets/time.js', document.baseURI));"
                    "return bucketStarts(args[0], Date.parse(args[1]), Date.parse(args[2]), args[3])",
                    step, answer["from"], answer["to"], zone)
                equal(found, expected, f"buckets of {step} in {zone} from {start}")
        # Without the library the same numbers are tables, and the page says why.
        browser.check_console()
        browser.devtools("Network.enable")
        browser.devtools("Network.setBlockedURLs", urls=["*/assets/chart.js"])
        browser.devtools("Network.setCacheDisabled", cacheDisabled=True)
        pages.open(fragment=address("overview", from_=starts[-1], to=end, tz="UTC"))
        browser.wait("return document.querySelector('#panel-requests table')", "a table in place of the chart")
        browser.settle()
        check("Chart.js" in browser.text, "the page does not say why there are no charts")
        pages.picture("without-charts")
        browser.check_console("chart.js")


@test(seconds=120)
def log_browser(context: Context) -> None:
    """log browser: from an error to its records, a condition, older records, one record in full by keyboard, CSV"""
    _, roles = make_roles(context, records={"retain": "36000d"})
    context.run(
        "load", "--into", roles.data, "--records", 1_500, "--profile", "demo", "--seed", 5, "--start", WEEK["from"],
        "--step", 7 * 86_400 * 1_000_000 // 1_500)
    roles.start_aggregator()
    roles.start_serve()
    roles.api.wait_total(1_500, "the generated records", 60, from_=WEEK["from"], to=WEEK["to"])
    with Browser(context) as browser:
        browser.prefer("light")
        pages = Pages(context, roles, browser)
        pages.open(fragment=address("errors", **WEEK, tz="UTC"))
        pages.sign_in(roles.api.token)
        # From the first row of errors to its records: the same number.
        errors = int(browser.texts("#panel-codes tbody tr:first-child td.with-bar")[0].replace(",", ""))
        browser.click("#panel-codes tbody tr:first-child a", text="show")
        browser.wait("return document.querySelector('#panel-records tbody tr')", "the records of the error")
        browser.settle()
        equal(len(browser.texts("#panel-records .records-where .chip")), 2, "conditions that the row gave")
        lines = list(csv.DictReader(io.StringIO(pages.csv_of("records").decode())))
        equal(len(lines), errors, "records of the row")
        check(all(line["error"] for line in lines), "all of them are errors")
        pages.picture("records-of-an-error")

        # All of them, older ones too.
        pages.go(address("records", **WEEK, tz="UTC"))
        browser.wait("return document.querySelectorAll('#panel-records tbody tr').length === 50", "the first page")
        browser.click(".records-more button")
        browser.wait("return document.querySelectorAll('#panel-records tbody tr').length === 100", "two pages")
        pages.picture("records")
        # One condition more, typed.
        browser.choose(".records-where select[name=field]", "latency")
        browser.choose(".records-where select[name=op]", "ge")
        browser.type(".records-where input", "0.2")
        browser.press(ENTER)
        browser.wait("return document.querySelectorAll('.records-where .chip').length === 1", "the condition")
        browser.settle()
        equal(pages.state()["where"], ["latency:ge:0.2"], "the address")
        # A record by keyboard, its address, and back.
        browser.run("document.querySelector('#panel-records .record-open').focus()")
        browser.press(ENTER)
        browser.wait("return document.querySelector('dialog[open] .record-fields')", "the record")
        check("record" in pages.state(), "the record is in the address")
        shown = dict(zip(browser.texts("dialog dt"), browser.texts("dialog dd")))
        check({"Duration", "Path", "Log", "Offset"} <= set(shown), f"fields: {sorted(shown)}")
        pages.picture("record", whole=False)
        browser.prefer("dark")
        pages.picture("record-dark", whole=False)
        browser.press(ESCAPE)
        browser.wait("return !document.querySelector('dialog')", "the record is closed")
        check("record" not in pages.state(), "the record is no longer in the address")
        browser.check_console()
