"""kill -9, twenty times in a row under load: no total ever decreases, and the gateway serves again within a second."""

from __future__ import annotations

import random
import statistics
import threading
import time

from bms_face import ELECTRICAL_WH, HEAT_WH, NO_U64, PERCENT, Face, u64
from harness import Run, python_version, start, wait_until
from mqtt_tools import mosquitto_version
from run_site import RunSite, machine

KILLS = 20


class Load:
    """A writer and a reader with connections of their own, that go on through every death of the gateway."""

    def __init__(self, site: RunSite):
        self.site = site
        self.stop = threading.Event()
        self.reads = self.writes = self.goods = self.lost = 0
        self.highest = {"heat (IR 30)": -1, "electrical (IR 34)": -1}
        self.falls: list[str] = []
        self.moved = 0
        self.refused: list[int] = []
        self.threads = [
            threading.Thread(target=self._go, args=(task,), daemon=True) for task in (self._read, self._write)
        ]
        for thread in self.threads:
            thread.start()

    def _go(self, task) -> None:
        while not self.stop.is_set():
            try:
                with Face(self.site.modbus, timeout=2.0) as face:
                    while not self.stop.is_set():
                        task(face)
            except Exception:
                # The gateway was killed under the request, or is not yet back.
                self.lost += 1
                self.stop.wait(0.002)

    def _read(self, face: Face) -> None:
        words = face.inputs(HEAT_WH, 8)
        self.reads += 1
        for name, value in (
            ("heat (IR 30)", u64(words)),
            ("electrical (IR 34)", u64(words[ELECTRICAL_WH - HEAT_WH :])),
        ):
            if value == NO_U64:
                continue
            if value < self.highest[name]:
                self.falls.append(f"{name}: {self.highest[name]} -> {value} in boot {self.site.boots}")
            if value > self.highest[name]:
                self.moved += 1
            self.highest[name] = max(value, self.highest[name])
            if name.startswith("heat"):
                self.goods += 1

    def _write(self, face: Face) -> None:
        refused = face.write(PERCENT, 200 + self.writes % 300)
        if refused is None:
            self.writes += 1
        else:
            self.refused.append(refused)

    def end(self) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join(10.0)


def main(run: Run) -> None:
    run.peer(
        "pymodbus", python_version("pymodbus"), f"writes and reads without pause through {KILLS} kills of the gateway"
    )
    run.peer("mosquitto", mosquitto_version(), "is the broker that stays while the gateway is killed")
    site = RunSite(run)
    gateway, first = site.spawn_and_time()
    run.note(f"first start, empty state: {1000 * first:.0f} ms")
    with Face(site.modbus) as face:
        face.ask(50)
        wait_until(lambda: face.total(HEAT_WH) is not None, 30.0, "the meter has answered")
        wait_until(lambda: face.total(HEAT_WH) > 0, 180.0, "heat is metered", every=0.2)
        wait_until(lambda: (face.total(ELECTRICAL_WH) or 0) > 0, 60.0, "electricity is metered", every=0.2)
    load = Load(site)
    run.at_end(load.end)
    dice = random.Random(9)
    starts: list[float] = []
    rows: list[str] = []
    for kill in range(1, KILLS + 1):
        reads, writes, moved = load.reads, load.writes, load.moved
        if kill % 2:
            # At a moment of its own each time,
            more = dice.randrange(20, 400)
            dies = lambda: load.reads >= reads + more and load.writes >= writes + 20  # noqa: B023, E731
        else:
            # and right after a total moved, which is when there is most to lose.
            dies = lambda: load.moved > moved and load.writes >= writes + 20  # noqa: B023, E731
        wait_until(dies, 30.0, f"load before kill {kill}", every=0.001)
        gateway.kill9()
        gateway, took = site.spawn_and_time()
        starts.append(took)
        heat, electrical = load.highest.values()
        rows.append(
            f"{kill:4}  {1000 * took:8.0f}   {load.reads - reads:8}   {load.writes - writes:8}   {heat:10}   {electrical:10}"
        )
    goods = load.goods
    wait_until(lambda: load.goods > goods + 20, 30.0, "good totals after the last kill")
    marks = dict(load.highest)
    with Face(site.modbus) as face:
        wait_until(
            lambda: (face.total(HEAT_WH) or 0) > marks["heat (IR 30)"], 60.0, "the heat total goes on", every=0.1
        )
        wait_until(
            lambda: (face.total(ELECTRICAL_WH) or 0) > marks["electrical (IR 34)"],
            60.0,
            "the electrical total goes on",
            every=0.1,
        )
    load.end()

    run.note(machine())
    run.note("kill  serving/ms      reads     writes   heat/Wh so far   electrical/Wh so far")
    for row in rows:
        run.note(row)
    run.note(f"start to serving: median {1000 * statistics.median(starts):.0f} ms, worst {1000 * max(starts):.0f} ms")
    run.equal(f"no total decreased in {load.reads} reads and {KILLS} kills", load.falls[:5], [])
    run.check("totals moved while it was killed", load.moved >= KILLS // 2, f"{load.moved} steps")
    run.check(
        f"each of {KILLS} starts served within 1 s",
        len(starts) == KILLS and max(starts) < 1.0,
        f"worst {1000 * max(starts):.0f} ms",
    )
    run.check(
        "every write was accepted or lost with the process",
        not [code for code in load.refused if code != 6],
        load.refused[:5],
    )
    began = time.monotonic()
    run.equal("a SIGTERM ends the gateway with 0", gateway.stop(20.0), 0)
    run.note(f"it stopped in {time.monotonic() - began:.1f} s")


start(main)
