"""A headless Chromium, driven through its WebDriver (W3C) with the standard library alone."""

from __future__ import annotations

import base64
import json
import shutil
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from harness import checks
from harness.checks import Failure, check, until
from harness.context import Context
from harness.process import Process

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"

# Keys as WebDriver names them.
TAB, ENTER, ESCAPE, SPACE = "\ue004", "\ue007", "\ue00c", " "


def programs() -> tuple[str, str] | None:
    """Paths of Chromium and its driver, if both are installed."""
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    return (browser, driver) if browser and driver else None


class Browser:
    """One browser with a profile of its own, and one window."""

    def __init__(self, context: Context, *, width: int = 1440, height: int = 900) -> None:
        found = programs()
        if not found:
            raise Failure("no chromium and chromedriver: run scripts/setup.sh test")
        self.context = context
        self.downloads = context.make_directory()
        self.port = context.free_port()
        environment = context.environment({"HOME": str(context.make_directory()), "TZ": "Europe/Berlin", "LANG": "C.UTF-8"})
        self.process = Process(
            [found[1], f"--port={self.port}", "--log-level=WARNING"], context.directory / f"chromedriver-{self.port}.txt",
            environment, context.directory)
        context.processes.append(self.process)
        until(self._is_ready, "chromedriver is ready", 20)
        options = {
            "binary": found[0],
            # The tests run as root in a container, where Chromium's sandbox cannot start.
            "args": [
                "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
                "--no-first-run", "--disable-extensions", "--disable-background-networking", "--disable-sync",
                "--force-color-profile=srgb", f"--window-size={width},{height}",
                f"--user-data-dir={context.make_directory()}",
            ],
            "prefs": {"download.default_directory": str(self.downloads), "download.prompt_for_download": False},
        }
        session = self._command("POST", "/session", {"capabilities": {"alwaysMatch": {
            "browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"},
        }}}, seconds=60)
        self.session = f"/session/{session['sessionId']}"
        self.resize(width, height)

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._command("DELETE", self.session, None)
        except Failure:
            pass
        self.process.kill()

    # Protocol -----------------------------------------------------------------------------------

    def _is_ready(self) -> bool:
        self.process.require_running()
        try:
            return bool(self._command("GET", "/status", None)["ready"])
        except Failure:
            return False

    def _command(self, method: str, path: str, body: Any, seconds: float = 30) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=seconds * checks.patience) as response:
                return json.load(response)["value"]
        except urllib.error.HTTPError as error:
            value = json.load(error)["value"]
            raise Failure(f"browser: {value['error']}: {value['message'].splitlines()[0]}") from None
        except OSError as error:
            raise Failure(f"browser: {error}") from None

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        return self._command(method, self.session + path, {} if method == "POST" and body is None else body)

    def devtools(self, command: str, **parameters: Any) -> Any:
        """A command of the DevTools protocol."""
        return self._call("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    # The page -----------------------------------------------------------------------------------

    def open(self, url: str) -> None:
        """Loads an address."""
        self._call("POST", "/url", {"url": url})

    def run(self, script: str, *arguments: Any) -> Any:
        """Runs the body of a function in the page."""
        return self._call("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def run_async(self, script: str, *arguments: Any) -> Any:
        """Runs the body of an async function in the page and waits for its result."""
        body = (
            "const done = arguments[arguments.length - 1]; const args = [...arguments].slice(0, -1);"
            f"(async () => {{ {script} }})().then((value) => done({{ value }}), (error) => done({{ error: String(error) }}));")
        result = self._call("POST", "/execute/async", {"script": body, "args": list(arguments)})
        check("error" not in result, f"script in the page: {result.get('error')}")
        return result.get("value")

    @property
    def url(self) -> str:
        """The address."""
        return self._call("GET", "/url")

    @property
    def title(self) -> str:
        """The title."""
        return self._call("GET", "/title")

    @property
    def text(self) -> str:
        """All text that can be seen."""
        return self.run("return document.body.innerText")

    def find(self, selector: str, *, text: str | None = None) -> str:
        """The first visible element of a selector (with exactly this text); fails if there is none."""
        element = self.run(
            "const [selector, text] = arguments;"
            "return [...document.querySelectorAll(selector)].find((e) => e.getClientRects().length > 0"
            " && (text === null || e.textContent.trim() === text)) ?? null",
            selector, text)
        if element is None:
            raise Failure(f"nothing visible on the page is {selector}{'' if text is None else f' with text {text!r}'}")
        return element[ELEMENT]

    def has(self, selector: str, *, text: str | None = None) -> bool:
        """Whether such an element is visible."""
        try:
            self.find(selector, text=text)
            return True
        except Failure:
            return False

    def texts(self, selector: str) -> list[str]:
        """The texts of all visible elements of a selector."""
        return self.run(
            "return [...document.querySelectorAll(arguments[0])].filter((e) => e.getClientRects().length > 0)"
            ".map((e) => e.textContent.trim())", selector)

    def click(self, selector: str, *, text: str | None = None) -> None:
        """Clicks with the pointer, as a person would: the element has to be in reach."""
        element = self.find(selector, text=text)
        self.run("arguments[0].scrollIntoView({ block: 'center' })", {ELEMENT: element})
        self._call("POST", f"/element/{element}/click")

    def type(self, selector: str, text: str) -> None:
        """Types into an element."""
        self._call("POST", f"/element/{self.find(selector)}/value", {"text": text})

    def choose(self, selector: str, value: str) -> None:
        """Chooses an option of a select."""
        self.run(
            "const [element, value] = arguments; element.value = value;"
            "element.dispatchEvent(new Event('change', { bubbles: true }))", {ELEMENT: self.find(selector)}, value)

    def press(self, *keys: str) -> None:
        """Presses keys one after the other, wherever the focus is."""
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self._call("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})

    def drag(self, selector: str, start: float, end: float) -> None:
        """Drags across an element, from one share of its width to another."""
        element = {ELEMENT: self.find(selector)}
        self.run("arguments[0].scrollIntoView({ block: 'center' })", element)
        width = self.run("return arguments[0].getBoundingClientRect().width", element)

        def move(share: float) -> dict[str, Any]:
            return {"type": "pointerMove", "duration": 50, "origin": element, "x": round((share - 0.5) * width), "y": 0}

        self._call("POST", "/actions", {"actions": [{"type": "pointer", "id": "mouse", "actions": [
            move(start), {"type": "pointerDown", "button": 0}, move((start + end) / 2), move(end),
            {"type": "pointerUp", "button": 0}]}]})

    @property
    def focused(self) -> str:
        """What has the focus: its text, label or name."""
        return self.run(
            "const e = document.activeElement; return e.getAttribute('aria-label') || e.textContent.trim() || e.name || e.tagName")

    def wait(self, condition: str, what: str, seconds: float = 20) -> Any:
        """Waits until a script gives something true, and returns it."""
        result: list[Any] = []

        def holds() -> bool:
            result[:] = [self.run(condition)]
            return bool(result[0])

        until(holds, what, seconds)
        return result[0]

    def wait_text(self, text: str, seconds: float = 20) -> None:
        """Waits until the page shows a text."""
        try:
            until(lambda: text in self.text, f"the page shows {text!r}", seconds)
        except Failure as failure:
            raise Failure(f"{failure}; it shows: {self.text[:1500]!r}") from None

    def settle(self, seconds: float = 30) -> None:
        """Waits until no panel is busy, and everything is painted."""
        self.wait(
            "return !document.querySelector('[aria-busy]') && document.querySelectorAll('#app .skeleton').length === 0",
            "every panel has its answer", seconds)
        self.run_async("await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    # Surroundings -------------------------------------------------------------------------------

    def resize(self, width: int, height: int, *, phone: bool = False) -> None:
        """Takes the size of a screen; a phone also has touch and a finer grid of pixels."""
        self.devtools(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=2 if phone else 1,
            mobile=phone)
        self.devtools("Emulation.setTouchEmulationEnabled", enabled=phone)

    def prefer(self, scheme: str) -> None:
        """What the system prefers: `dark` or `light`."""
        self.devtools("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def screenshot(self, path: Path, *, whole: bool = True) -> None:
        """Keeps a picture of the page."""
        parameters: dict[str, Any] = {"format": "png"}
        if whole:
            size = self.devtools("Page.getLayoutMetrics")["cssContentSize"]
            parameters["captureBeyondViewport"] = True
            parameters["clip"] = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(self.devtools("Page.captureScreenshot", **parameters)["data"]))

    def downloaded(self, name: str, seconds: float = 20) -> bytes:
        """The content of a finished download, which is then removed."""
        path = self.downloads / name
        until(lambda: path.is_file() and not list(self.downloads.glob("*.crdownload")), f"{name} is downloaded", seconds)
        content = path.read_bytes()
        path.unlink()
        return content

    def console(self) -> list[dict[str, Any]]:
        """What the console got since the last call."""
        return self._call("POST", "/se/log", {"type": "browser"})

    def check_console(self, *allowed: str) -> None:
        """Nothing but the allowed texts stands in the console."""
        wrong = [entry["message"] for entry in self.console() if entry["level"] in ("SEVERE", "WARNING")]
        wrong = [message for message in wrong if not any(text in message for text in allowed)]
        check(not wrong, "the console says: " + "\n  ".join(wrong))
