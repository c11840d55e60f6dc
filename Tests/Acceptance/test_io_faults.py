"""Disks that fail: the n-th write, sync or reservation of a short scenario, for every n that it reaches."""

from __future__ import annotations

import errno
from collections import Counter

from harness.checks import check, until
from harness.context import Context
from harness.deployment import Up, settings
from harness.faults import preload
from harness.http import Broken, Client, is_ready
from harness.process import Process
from harness.registry import test
from harness.upstream import Upstream

ALL_TIME = {"from_": "2000-01-01T00:00:00Z"}
REQUESTS = 8


class Scenario:
    """A gateway that is started on the same data again and again, each time with another fault."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.library = preload(context, "failing_disk")
        self.upstream = Upstream()
        self.data = context.make_directory()
        self.port = context.free_port()
        gateway = {
            "listen": f"127.0.0.1:{self.port}", "threads": 1, "timeouts": {"request": "1s", "drain": "1s"},
            "apis": [{"id": "open", "org": "acme", "listen_path": "/open/", "upstreams": [self.upstream.url]}],
        }
        self.settings = settings(context, self.data, gateway, log={"sync": "strict", "segment_bytes": "1MiB"})
        self.config = context.configuration(self.settings, "faulty.yaml")
        self.completed: Counter[str] = Counter()
        self.sent = 0

    def run(self, calls: str, at: int, *, times: int = 1, code: int = errno.EIO) -> bool:
        """Serves a few requests with a fault; false when the fault was not reached."""
        mark = self.context.directory / f"fault-{calls}-{at}-{times}-{code}"
        process = self.context.start(
            "gateway", "--config", str(self.config),
            environment={
                "LD_PRELOAD": str(self.library), "FAULT_UNDER": f"{self.data}/log", "FAULT_CALLS": calls,
                "FAULT_AT": str(at), "FAULT_TIMES": str(times), "FAULT_CODE": str(code), "FAULT_MARK": str(mark)})
        if self._is_up(process):
            self._requests()
            # A disk that fails for good does not keep it from ending.
        process.terminate()
        return mark.exists()

    def _is_up(self, process: Process) -> bool:
        """Waits until it serves, or has given up because its log cannot be opened."""
        until(lambda: not process.is_running or is_ready(self.port), "the gateway serves or gives up", 60)
        return process.is_running

    def _requests(self) -> None:
        client: Client | None = None
        for _ in range(REQUESTS):
            self.sent += 1
            path = f"/open/r{self.sent}"
            try:
                client = client or Client(self.port)
                client.send(f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
                response = client.read()
            except (Broken, OSError):
                client = None
                continue
            # An honest refusal is no promise that the request is recorded.
            if response.status != 503:
                self.completed[path] += 1
            if response.closes:
                client = None
        if client:
            client.close()

    def finish(self) -> str:
        """Without faults: everything that was seen complete is recorded and counted, once."""
        up = Up(self.context, self.settings["gateway"], self.data).start()
        records = [record for record in self.context.requests_logged(self.data) if record["path"].startswith("/open/r")]
        found = Counter(record["path"] for record in records)
        doubled = [path for path, count in found.items() if count > 1]
        check(not doubled, f"recorded twice: {doubled[:5]}")
        lost = [path for path in self.completed if path not in found]
        check(not lost, f"{len(lost)} of {len(self.completed)} responses seen complete are not recorded: {lost[:5]}")
        up.api.wait_total(len(records), "records in the log", 60, **ALL_TIME)
        up.database().check_rows()
        self.upstream.stop()
        return f"{self.sent} sent, {len(self.completed)} completed, {len(records)} recorded"


@test(seconds=600, full_only=True)
def every_call(context: Context) -> None:
    """EIO and ENOSPC at the n-th write, sync and reservation, for every n: what was seen complete is recorded"""
    scenario = Scenario(context)
    step = context.pick(quick=5, full=1)
    faults = 0
    for calls in ("write", "sync", "space"):
        for code in (errno.EIO, errno.ENOSPC):
            at = 1
            while scenario.run(calls, at, code=code):
                faults += 1
                at += step
    # A disk that fails from some point on, for good.
    for calls in ("write", "sync"):
        for at in (1, 4, 9):
            check(scenario.run(calls, at, times=0), f"every {calls} from {at} on fails")
            faults += 1
    context.note(f"{faults} faults: {scenario.finish()}")
