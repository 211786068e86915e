"""mosquitto: the broker as an outside part, and mosquitto_sub and mosquitto_pub as outside clients."""

from __future__ import annotations

import json
from collections.abc import Callable

from harness import Address, Failed, Process, Run, accepts, command, free_port, need, package_version, wait_until


class Mosquitto:
    """A broker of its own: loopback, its own port, nothing kept on disk."""

    def __init__(self, run: Run, name: str = "mosquitto"):
        self.run = run
        self.name = name
        self.address: Address = ("127.0.0.1", free_port())
        self.conf = run.scratch / f"{name}.conf"
        self.conf.write_text(
            f"listener {self.address[1]} 127.0.0.1\nallow_anonymous true\npersistence false\nlog_dest stderr\n"
            # Without a user it drops to `mosquitto`, which may not read the scratch directory.
            "user root\n"
        )
        self.process: Process | None = None
        self.begin()

    def begin(self) -> None:
        self.process = self.run.spawn(self.name, [need("mosquitto"), "-c", str(self.conf)])
        wait_until(lambda: accepts(self.address), 10.0, "mosquitto listens")

    def end(self) -> None:
        assert self.process is not None
        self.process.stop()


def mosquitto_version() -> str:
    return package_version("mosquitto")


class Subscriber:
    """mosquitto_sub on some topics; every message is kept as (topic, retained, payload)."""

    def __init__(self, run: Run, broker: Address, *topics: str, name: str = "mosquitto_sub", mqtt5: bool = False):
        argv = [need("mosquitto_sub"), "-h", broker[0], "-p", str(broker[1]), "-q", "1", "-F", "%t\t%r\t%p"]
        if mqtt5:
            argv += ["-V", "mqttv5"]
        for topic in topics:
            argv += ["-t", topic]
        self.process = run.spawn(name, argv)

    def messages(self) -> list[tuple[str, bool, str]]:
        rows = []
        for line in list(self.process.lines):
            topic, _, rest = line.partition("\t")
            retained, _, payload = rest.partition("\t")
            rows.append((topic, retained == "1", payload))
        return rows

    def payloads(self, topic: str, since: int = 0) -> list[dict]:
        return [json.loads(payload) for name, _, payload in self.messages()[since:] if name == topic]

    def last(self, topic: str) -> dict | None:
        found = self.payloads(topic)
        return found[-1] if found else None

    def count(self) -> int:
        return len(self.process.lines)

    def wait(self, wanted: Callable[[str, dict], bool], bound: float, what: str, since: int = 0) -> dict:
        """The first message, from message `since` on, that is wanted."""

        def fits(line: str) -> bool:
            topic, _, rest = line.partition("\t")
            try:
                payload = json.loads(rest.partition("\t")[2])
            except json.JSONDecodeError:
                return False
            return wanted(topic, payload)

        line = self.process.wait_line(fits, bound, what, since)
        return json.loads(line.split("\t", 2)[2])


def publish(broker: Address, topic: str, payload: str, retain: bool = False) -> None:
    argv = [need("mosquitto_pub"), "-h", broker[0], "-p", str(broker[1]), "-q", "1", "-t", topic, "-m", payload]
    code, _, err = command(argv + (["-r"] if retain else []))
    if code != 0:
        raise Failed(f"mosquitto_pub to {topic}: {err}")
