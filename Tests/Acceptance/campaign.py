"""One deployment under steady load, and a seed that decides what is killed, frozen, filled, set back or restored.

A round is a list of faults in random order. Whatever they were, the numbers are exact at its end.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.broker import Broker, Tansu
from harness.checks import Failure, Final, Skip, check, equal, stretch, until
from harness.context import Context
from harness.database import Cluster
from harness.deployment import Roles
from harness.faults import SmallDisk, SteppingClock, preload
from harness.http import is_ready
from harness.isolation import children_of
from harness.kafka_roles import FOLDING, KafkaRoles
from harness.process import Process, kill_pid
from harness.records import check_topic
from harness.traffic import Exchange, Fleet, Worker, connections, gateway_settings, perform
from harness.upstream import Upstream
from test_crash import check_counted, check_identities, check_ledger, copy_data

LOG = {"segment_bytes": "1MiB"}
DISK_MEGABYTES = 768


def steady(worker: Worker) -> None:
    """Requests of all kinds at fixed times; what broke off or was refused with 503 is noted as such."""
    rng, due = worker.plan.rng, time.monotonic()
    for client in connections(worker):
        while worker.goes_on:
            count = rng.choice([1, 1, 2, 8, 16])
            burst = [worker.plan.plain() if rng.random() < 0.8 else worker.plan.any() for _ in range(count)]
            due = max(due + count / 60, time.monotonic() - 1)  # requests a second of this connection
            worker.sent += burst
            try:
                goes_on = perform(client, burst, may_break=True, may_refuse=True)
            except OSError:
                goes_on = False
            with worker.completed.get_lock():
                worker.completed.value += sum(exchange.is_complete for exchange in burst)
            time.sleep(max(0.0, due - time.monotonic()))  # the load's own clock
            if not goes_on:
                break


@dataclass
class Member:
    """A role that is kept running, as a supervisor would."""

    name: str
    start: Callable[[dict[str, str]], Process]
    process: Process
    may_end: bool = False  # because a fault reached it
    met_full_disk: bool = False
    started: float = field(default_factory=time.monotonic)

    def restart(self, **faults: str) -> None:
        """Starts it anew, on a failing disk if so wanted."""
        self.started, self.may_end, self.met_full_disk = time.monotonic(), bool(faults), False
        self.process = self.start(faults)

    def reach_full_disk(self) -> None:
        """The disk is full while it runs: it may give up, at once or when it next notices."""
        self.may_end = self.met_full_disk = True


@dataclass
class Site:
    """A data directory with what runs on it."""

    roles: Roles
    fleet: Fleet
    gateway: Member


@dataclass
class Round:
    """What is done to one deployment."""

    kills: int = 20
    restarts: int = 4
    freezes: int = 6
    faults: int = 4
    fills: int = 2
    steps: int = 3
    restores: int = 1
    twins: int = 1

    def actions(self) -> list[str]:
        """All of them, in the order of a list."""
        pairs = {
            "kill": self.kills, "crash_postgres": self.restarts, "freeze": self.freezes, "fail_disk": self.faults,
            "fill_disk": self.fills, "set_clock": self.steps, "restore": self.restores, "run_twin": self.twins}
        return [name for name, count in pairs.items() for _ in range(count)]


class Campaign:
    """One round: a deployment, its faults, and the final reckoning."""

    def __init__(self, context: Context, transport: str = "local") -> None:
        self.context, self.rng, self.transport = context, context.rng, transport
        self.done: Counter[str] = Counter()
        self.members: list[Member] = []
        self.frozen: dict[int, float] = {}
        self.outages: list[tuple[float, float]] = []  # from when to when PostgreSQL was away, or frozen
        self.sites: list[Site] = []
        self.backup: Path | None = None
        self.upstream = Upstream()
        self.upstream.ask("forget")
        self.clock = SteppingClock(context)
        self.broker: Broker | None = Tansu(context) if transport == "kafka" else None
        self.cluster = Cluster(context.directory)
        self.database = self.cluster.create("usage")
        data = context.make_directory()
        self.disk: SmallDisk | None = None
        try:
            self.disk = SmallDisk(data, DISK_MEGABYTES)
        except Skip as reason:
            context.note(f"no full disks: {reason}")
        roles = self._roles(data)
        roles.migrate()
        # A commit that takes its time is often met in its middle.
        if self.rng.random() < 0.5:
            for setting in ("commit_delay = 20000", "commit_siblings = 0"):
                self.database.rows(f"ALTER SYSTEM SET {setting}")
            self.database.rows("SELECT pg_reload_conf()")
            context.note("slow commits")
        self.members.append(Member("serve", self._starter(roles, "serve"), roles.start_serve()))
        self.api = roles.api  # its token is older than any backup
        self.backup = self.cluster.back_up()
        self._open(roles, "one-")
        for _ in range(2):
            self._add(roles, "aggregator")

    # Deployment ---------------------------------------------------------------------------------

    def _roles(self, data: Path) -> Roles:
        gateway = gateway_settings(self.upstream.url, self.context.refusing_port())
        # Who is frozen, or waits for a busy machine, must not answer 504.
        gateway["timeouts"] = {"connect": "120s", "upstream": "120s", "request": "120s"}
        gateway["threads"] = 1
        sync = self.rng.choice(["strict", "interval", "os"])
        more: dict[str, Any] = {"log": LOG | {"sync": sync}, "aggregator": FOLDING}
        if self.broker:
            roles: Roles = KafkaRoles(self.context, self.database, self.broker, gateway, data, **more)
        else:
            roles = Roles(self.context, self.database, gateway, data, **more)
        roles.environment = (roles.environment or {}) | self.clock.environment
        return roles

    def _starter(self, roles: Roles, role: str) -> Callable[[dict[str, str]], Process]:
        def start(faults: dict[str, str]) -> Process:
            environment = roles.environment | faults
            if faults:
                environment["LD_PRELOAD"] += f":{preload(self.context, 'failing_disk')}"
                environment["FAULT_UNDER"] = str(roles.data)
            return self.context.start(role, "--config", str(roles.config), environment=environment)

        return start

    def _add(self, roles: Roles, role: str) -> Member:
        start = self._starter(roles, role)
        member = Member(role, start, start({}))
        self.members.append(member)
        return member

    def _open(self, roles: Roles, name: str) -> None:
        gateway = self._add(roles, "gateway")
        until(lambda: is_ready(roles.gateway_port), "the gateway serves", 90, 0.02)
        if self.broker:
            self._add(roles, "pump")
        fleet = Fleet(
            self.context.directory, roles.gateway_port, self.context.seed, steady, processes=1, threads=4, seconds=7200,
            name=name)
        self.sites.append(Site(roles, fleet, gateway))

    # Life ---------------------------------------------------------------------------------------

    def run(self, plan: Round) -> None:
        """Does everything, then settles."""
        actions = plan.actions()
        self.rng.shuffle(actions)
        try:
            for action in actions:
                self._pause()
                getattr(self, action)()
                self._mend()
            self.settle()
        finally:
            self.context.note(f"done {dict(self.done)}")
            self._wake(all_=True)
            self.context.kill_all()
            if self.disk:
                self.disk.unmount()
        self.cluster.stop()

    def _pause(self) -> None:
        """Lets the clients get some answers, at least for a moment."""
        goal = self.sites[0].fleet.completed + self.rng.randrange(1, 120)

        def served() -> bool:
            self._wake()
            self._mend()
            return self.sites[0].fleet.completed >= goal

        until(served, "the clients are served", 90, 0.005)

    def _wake(self, all_: bool = False) -> None:
        """Lets those go on that have been stopped long enough."""
        for pid, due in list(self.frozen.items()):
            if all_ or time.monotonic() >= due:
                del self.frozen[pid]
                try:
                    os.kill(pid, signal.SIGCONT)
                except ProcessLookupError:
                    pass

    def _mend(self) -> None:
        """Starts again what has ended; without a fault nothing may end by itself."""
        for member in self.members:
            if member.process.is_running:
                continue
            self.frozen.pop(member.process.pid, None)
            # A trap or a bus error is wrong, whatever the disk does.
            code = member.process.code
            is_excused = member.may_end or (code > 0 and self._has_reason_to_end(member))
            if not is_excused or (code < 0 and code != -signal.SIGKILL):
                try:
                    member.process.require_running()
                except Failure as failure:
                    raise Final(str(failure)) from None
            self.done["ended by itself"] += code > 0
            member.restart()

    def _has_reason_to_end(self, member: Member) -> bool:
        """Whether a fault explains the end of a role, however long after it the end came."""
        text = member.process.output()
        if member.met_full_disk and "No space left on device" in text:
            return True
        # A role that is being started while PostgreSQL is away says so and ends.
        met_outage = any(end >= member.started for _, end in self.outages)
        says = ("\n" + text).rpartition("\nsluice: ")[2]
        return met_outage and any(word in says for word in ("database", "PostgreSQL"))

    def _note_outage(self, began: float, ended: float | None = None) -> None:
        """Remembers that PostgreSQL did not answer; it may not quite do so for a while after."""
        self.outages.append((began, (ended or time.monotonic()) + 30 * stretch()))

    # Faults -------------------------------------------------------------------------------------

    def kill(self) -> None:
        """SIGKILL of one or several at the same time; each counts."""
        count = 1 if self.rng.random() < 0.8 else self.rng.randrange(2, len(self.members) + 1)
        for member in self.rng.sample(self.members, count):
            member.may_end = True
            member.process.kill()
            self.done[f"SIGKILL {member.name}"] += 1

    def crash_postgres(self) -> None:
        """SIGKILL of the postmaster or of one backend, which makes the postmaster restart all of them."""
        self._wake(all_=True)
        began = time.monotonic()
        backends = children_of(self.cluster.pid)
        if backends and self.rng.random() < 0.3:
            kill_pid(self.rng.choice(backends))
            until(self.cluster.is_answering, "PostgreSQL answers after a backend was killed", 60)
            self.done["PostgreSQL backend"] += 1
        else:
            self.cluster.kill()
            self.cluster.start()
            self.done["PostgreSQL postmaster"] += 1
        self._note_outage(began)

    def freeze(self) -> None:
        """SIGSTOP of anything; it goes on after a moment, sometimes after others have taken over."""
        victims = [member.process.pid for member in self.members] + [self.cluster.pid, *children_of(self.cluster.pid)]
        if self.broker:
            victims.append(self.broker.pid)
        pid = self.rng.choice([each for each in victims if each not in self.frozen])
        try:
            os.kill(pid, signal.SIGSTOP)
        except ProcessLookupError:
            return
        is_long = self.rng.random() < 0.15
        self.frozen[pid] = time.monotonic() + (self.rng.uniform(7, 12) if is_long else self.rng.uniform(0.05, 2))
        if pid not in [member.process.pid for member in self.members]:
            self._note_outage(time.monotonic(), self.frozen[pid])
        self.done["SIGSTOP"] += 1

    def fail_disk(self) -> None:
        """A role is killed and started on a disk whose n-th call fails, once or for good."""
        member = self.rng.choice([each for each in self.members if each.name in ("gateway", "pump", "aggregator")])
        faults = {
            "FAULT_CALLS": self.rng.choice(["write", "sync", "space"]), "FAULT_AT": str(self.rng.randrange(1, 60)),
            "FAULT_TIMES": self.rng.choice(["1", "1", "0"]), "FAULT_CODE": self.rng.choice(["5", "28"])}
        member.process.kill()
        self.done[f"SIGKILL {member.name}"] += 1
        self.done["failing disk"] += 1
        self._wake(all_=True)
        member.restart(**faults)
        began = time.monotonic()
        site = next((site for site in self.sites if site.gateway is member), self.sites[0])
        goal = site.fleet.completed + 60
        # With a disk that fails for good nothing is answered any more: that is long enough.
        until(
            lambda: site.fleet.completed >= goal or time.monotonic() > began + 3 or not member.process.is_running,
            "the fault was met", 10, 0.01)
        member.process.kill()

    def fill_disk(self) -> None:
        """The disk of the first data directory is full for a moment, in which something may be killed."""
        if not self.disk:
            return
        self.disk.fill()
        for member in self.members:
            member.reach_full_disk()
        self.done["full disk"] += 1
        if self.rng.random() < 0.5:
            self.kill()
            for member in self.members:
                if not member.process.is_running:
                    member.restart()
                    member.reach_full_disk()
        self._until_later(self.rng.uniform(0.1, 1.5))
        self.disk.free()
        # Who gave up is started again; from now on only who says that the disk was full may.
        self._until_later(0.2)
        self._mend()
        for member in self.members:
            member.may_end = False

    def _until_later(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        until(lambda: self._wake() or time.monotonic() >= end, "a moment", seconds + 5, 0.01)

    def set_clock(self) -> None:
        """The wall clock is set back, or right again.

        By less than an hour: an aggregator that is further behind puts what it reads aside as lying in the future.
        """
        back = self.rng.choice([0.0, -0.001, -1.0, -90.0, -1800.0])
        self.clock.step_to(back)
        self.done["clock set"] += 1

    def restore(self) -> None:
        """PostgreSQL loses its files and gets an older base backup back, while the log goes on."""
        self._wake(all_=True)
        began = time.monotonic()
        backends = children_of(self.cluster.pid)
        self.cluster.kill()
        for pid in backends:
            kill_pid(pid)
        self.cluster.restore(self.backup)
        self.cluster.start()
        self._note_outage(began)
        self.done["PostgreSQL restored"] += 1
        self._pause()
        if self.rng.random() < 0.5:
            self.backup = self.cluster.back_up()

    def run_twin(self) -> None:
        """The first data directory is copied as it is, and the copy runs beside it from now on."""
        data = self.context.make_directory()
        copy_data(self.sites[0].roles.data, data)
        roles = self._roles(data)
        self._open(roles, f"twin{len(self.sites)}-")
        if not self.broker:
            self._add(roles, "aggregator")
        self.done["twin"] += 1

    # Reckoning ----------------------------------------------------------------------------------

    def settle(self) -> None:
        """Everybody lives again; then the numbers are compared."""
        self._wake(all_=True)
        self.clock.step_to(0)
        self._mend()
        self._pause()
        sent: list[Exchange] = []
        for site in self.sites:
            sent += site.fleet.finish()
        for site in self.sites:
            self._mend()
            until(lambda: is_ready(site.roles.gateway_port), "the gateway is ready in the end", 90)
            equal(site.gateway.process.terminate(), 0, "exit code of a gateway")
            self.members.remove(site.gateway)
        self._reckon(sent)

    def _reckon(self, sent: list[Exchange]) -> None:
        records: dict[tuple, dict[str, Any]] = {}
        for site in self.sites:
            for record in self.context.requests_logged(site.roles.data):
                identity = (record["log_id"], record["offset"])
                check(records.setdefault(identity, record) == record, f"two different records are called {identity}")
        self.context.note(check_identities(list(records.values()), sent))
        until(lambda: is_ready(self.sites[0].roles.query_port), "the query API is ready in the end", 90)
        check_counted(self.api, list(records.values()), 240)
        self.database.check_rows()
        self.database.wait_compacted(180)
        self.database.check_tiers()
        equal(self.database.requests(), len(records), "requests after compaction")
        logged: list[dict[str, Any]] = []
        for site in self.sites:
            check_ledger(self.database, self.context, site.roles.data)
            logged += self.context.log_records(site.roles.data)
        equal(self.database.integer("SELECT count(*) FROM sluice.dead_letter"), 0, "dead letters")
        if self.broker:
            for site in self.sites:
                site.roles.wait_shipped(seconds=120)
                account = site.roles.account()
                equal((account["balance"], account["pending"]), ("balanced", 0), f"the ledger of the sink: {account}")
            found = check_topic(self.broker.messages(seconds=120), logged, "the topic")
            self.context.note(f"topic: {found}")
