"""One alarm in every view of the gateway, and a reader that misses no step of the face while something is lost."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from dataclasses import dataclass

from bacnet_tools import Client, talk
from bms_face import POWER_COMMAND, QUALITY, REQUEST_SOURCE, STATE, Face, f32
from harness import Address, Failed, Run, http_get, wait_until
from mqtt_tools import Subscriber

# IR 0 and IR 3, as the register map says them.
INIT, STANDBY, STARTING, HEATING, LIMITED, DUMP, FAILSAFE, FAULT, SAFETY, MANUAL = range(1, 11)
NOBODY, BMS, HOLD, FALLBACK = range(1, 5)


@dataclass(frozen=True)
class Alarm:
    """Alarm `number` of the register map: discrete input, bit of the quality word, binary input number + 1."""

    number: int
    key: str
    words: str


BMS_LOST = Alarm(0, "bms_lost", "bms lost")
CONTROLLER_LOST = Alarm(1, "controller_lost", "controller lost")
EMERGENCY_STOP = Alarm(6, "emergency_stop", "emergency stop")


@dataclass
class Views:
    """Where a gateway shows itself. `heard` listens to all of its topics."""

    run: Run
    modbus: Address
    bacnet: Address
    http: Address
    heard: Subscriber
    base: str = "heatgate/v1/demo"

    def event(self, alarm: Alarm, state: str, since: int, bound: float = 10.0) -> None:
        """The alarm started or ended, said once in `events`."""

        def wanted(topic: str, payload: dict) -> bool:
            return topic == f"{self.base}/events" and payload.get("alarm") == alarm.key and payload["state"] == state

        event = self.heard.wait(wanted, bound, f"event {alarm.key} {state}", since)
        self.run.check(f"MQTT events: {alarm.key} {state}", {"id", "at", "zone"} <= set(event), event["zone"])

    def show(self, alarm: Alarm, on: bool, since: int) -> None:
        """Modbus (both places), BACnet, MQTT and the page say the same."""
        run, what = self.run, f"{alarm.words}: {'on' if on else 'off'}"
        with Face(self.modbus) as face:
            seen = wait_until(
                lambda: face.discrete(alarm.number) is on and [face.inputs(QUALITY)[0]], 10.0, f"Modbus, {what}"
            )
            run.equal(
                f"Modbus DI {alarm.number} and bit {alarm.number} of IR 4, {what}",
                bool(seen[0] >> alarm.number & 1),
                on,
            )

        async def dialogue(client: Client) -> list[str]:
            props = ("present-value", "event-state", "status-flags")
            return [str(await client.read("binary-input", alarm.number + 1, prop)) for prop in props]

        said = talk(self.bacnet, dialogue)
        run.equal(f"BACnet BI {alarm.number + 1}, {what}", said[0], "active" if on else "inactive")
        # Clause 12.2.7: In_Alarm is set when Event_State is not normal, and only then; without event reporting it never is.
        run.equal(f"its Event_State and its flags agree, {what}", "in-alarm" in said[2], said[1] != "normal")
        point = self.heard.wait(
            lambda topic, payload: topic == f"{self.base}/points/hall/alarm_{alarm.key}" and payload["value"] is on,
            10.0,
            f"points/hall/alarm_{alarm.key}, {what}",
            since,
        )
        run.equal(f"MQTT points/hall/alarm_{alarm.key}, {what}", point["quality"], "good")
        self.event(alarm, "start" if on else "end", since)
        status, page = http_get(self.http, "/")
        run.check(
            f"the status page, {what}", status == 200 and (f"hall: {alarm.words}" in page) is on, f"{len(page)} bytes"
        )


@dataclass(frozen=True)
class Row:
    at: float
    state: int
    source: int
    quality: int
    command_kw: float


class Watcher:
    """Reads the face without pause on a connection of its own; every answer is kept. It goes on through restarts."""

    def __init__(self, run: Run, modbus: Address):
        self.modbus = modbus
        self.rows: list[Row] = []
        self._stop = threading.Event()
        # It tries again and again while the gateway is away; each try would be a line.
        logging.getLogger("pymodbus").setLevel(logging.CRITICAL)
        self._thread = threading.Thread(target=self._go, daemon=True)
        self._thread.start()
        run.at_end(self.end)

    def _go(self) -> None:
        while not self._stop.is_set():
            try:
                with Face(self.modbus, timeout=2.0) as face:
                    while not self._stop.wait(0.01):
                        words = face.inputs(0, 20)
                        command = f32(words[POWER_COMMAND:])
                        row = Row(time.monotonic(), words[STATE], words[REQUEST_SOURCE], words[QUALITY], command)
                        self.rows.append(row)
            except Exception:
                # The gateway is away; the caller's own checks say whether it may be.
                self._stop.wait(0.05)

    def end(self) -> None:
        self._stop.set()
        self._thread.join(5.0)

    def wait(self, wanted, bound: float, what: str) -> Row:
        """The first row from now on that is wanted."""
        seen = len(self.rows)

        def look() -> Row | None:
            nonlocal seen
            while seen < len(self.rows):
                row = self.rows[seen]
                seen += 1
                if wanted(row):
                    return row
            return None

        try:
            return wait_until(look, bound, what, every=0.01)
        except Failed as failure:
            raise Failed(f"{failure}; last seen {self.rows[-1:]}") from None

    def since(self, at: float) -> list[Row]:
        return [row for row in list(self.rows) if row.at >= at]

    def rises(self, since: float) -> list[str]:
        """Every read whose power command is above the one before it."""
        rows = self.since(since)
        pairs = itertools.pairwise(rows)
        return [f"{a.command_kw:.3f} -> {b.command_kw:.3f} kW" for a, b in pairs if b.command_kw > a.command_kw + 1e-3]
