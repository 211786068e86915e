"""pymodbus as the heat meter: its values reach the BMS; it dies, returns, rolls over, is reset and replaced."""

from __future__ import annotations

import re

from bms_face import FLOW, HEAT_DELIVERED, HEAT_WH, METER_LOST, QUALITY, RETURN, STALE, SUPPLY, Face
from demo_site import Demo
from harness import Failed, Run, http_get, near, python_version, start, wait_until
from meter_peer import ROLLS_AT, MeterPeer

SPEED = 60.0


def link_up(demo: Demo, link: str) -> float | None:
    """heatgate_link_up of a link, from /metrics."""
    status, body = http_get(demo.http, "/metrics")
    if status != 200:
        raise Failed(f"/metrics: {status}")
    found = re.search(rf'^heatgate_link_up\{{link="{re.escape(link)}"\}} (\S+)$', body, re.M)
    return float(found.group(1)) if found else None


class Total:
    """IR 30, watched: it may never be less than it was."""

    def __init__(self, face: Face):
        self.face = face
        self.highest: int | None = None
        self.falls: list[tuple[int, int]] = []
        self.reads = 0

    def now(self) -> int | None:
        value = self.face.total(HEAT_WH)
        self.reads += 1
        if value is not None:
            if self.highest is not None and value < self.highest:
                self.falls.append((self.highest, value))
            self.highest = max(self.highest or 0, value)
        return value


def main(run: Run) -> None:
    run.peer(
        "pymodbus",
        python_version("pymodbus"),
        "is the heat meter: values, death and return, rollover, reset and replacement of its counter",
    )
    # It rolls over some 7 s after it is first read.
    meter = MeterPeer(ROLLS_AT - 3_000.0, SPEED)
    meter.serve()
    run.at_end(meter.die)
    demo = Demo(run, without="meter", speed=SPEED, outside={"meter": meter.address})
    with Face(demo.modbus, timeout=5.0) as face:
        total = Total(face)
        for what, address, value in (
            ("power (IR 14)", HEAT_DELIVERED, meter.reading.power_kw),
            ("supply (IR 20)", SUPPLY, meter.reading.supply_c),
            ("return (IR 22)", RETURN, meter.reading.return_c),
            ("flow (IR 24)", FLOW, meter.reading.flow_m3h),
        ):
            wait_until(
                lambda address=address, value=value: near(face.float(address), value, 1e-5), 30.0, f"{what} arrives"
            )
            run.check(f"the meter's {what} reaches the BMS", True, f"{face.float(address):.3f}")
        wait_until(lambda: total.now() is not None, 30.0, "the total (IR 30) is good")
        wait_until(lambda: link_up(demo, "hall-meter") == 1, 10.0, "the link's metric is up")
        run.check("the link's metric is up", True)
        wait_until(lambda: not face.inputs(QUALITY)[0] & (STALE | 1 << METER_LOST), 10.0, "quality is good")
        run.check("quality (IR 4) is good", True, f"{face.inputs(QUALITY)[0]:#06x}")

        first, counted = total.now(), meter.counted_wh()
        wait_until(lambda: (total.now(), meter.counted_wh() > ROLLS_AT + 2_000)[1], 60.0, "the counter rolls over")
        wait_until(
            lambda: (total.now() or 0) - first > 0.9 * (meter.counted_wh() - counted),
            20.0,
            "the total goes on over the rollover",
        )
        gained, true = total.now() - first, meter.counted_wh() - counted
        run.check(
            "over the rollover the total gains what was metered",
            abs(gained - true) < 0.15 * true,
            f"{gained} Wh, metered {true:.0f} Wh",
        )

        before = total.now()
        meter.die()
        wait_until(lambda: (total.now(), face.discrete(METER_LOST))[1], 60.0, "the alarm meter lost (DI 2) comes")
        run.check("meter dead: alarm 2 (DI 2) comes", True)
        wait_until(
            lambda: face.inputs(QUALITY)[0] & STALE and face.inputs(QUALITY)[0] & 1 << METER_LOST,
            10.0,
            "quality says so",
        )
        run.check("meter dead: quality (IR 4) has bit 15 and bit 2", True, f"{face.inputs(QUALITY)[0]:#06x}")
        wait_until(lambda: link_up(demo, "hall-meter") == 0, 10.0, "the link's metric falls")
        run.check("meter dead: the link's metric falls", True)
        run.check(
            "meter dead: the total stands or is not available", total.now() in (None, total.highest), total.highest
        )
        run.check("meter dead: the total kept what it had", (total.highest or 0) >= (before or 0))

        meter.serve()
        wait_until(lambda: (total.now(), not face.discrete(METER_LOST))[1], 60.0, "the alarm goes")
        run.check("meter back: the alarm goes", True)
        wait_until(lambda: not face.inputs(QUALITY)[0] & (STALE | 1 << METER_LOST), 20.0, "quality is good again")
        run.check("meter back: quality is good", True)
        wait_until(lambda: link_up(demo, "hall-meter") == 1, 10.0, "the link's metric is up again")
        run.check("meter back: the link's metric is up", True)

        for what, counter in (
            ("reset to 0", 0.0),
            ("replaced by one that counted more", 3_000_000_000.0),
            ("replaced by one that counted less", 1_234_567.0),
        ):
            here = total.highest or 0
            meter.set_counter(counter)
            mark = meter.counted_wh()
            wait_until(
                lambda here=here: (total.now() or 0) >= here + 1_000,
                40.0,
                f"the total goes on after the meter was {what}",
            )
            gained = (total.now() or 0) - here
            ceiling = 2.0 * (meter.counted_wh() - mark) + 2_000
            run.check(
                f"meter {what}: the total goes on and does not jump",
                gained <= ceiling,
                f"{gained} Wh in {meter.counted_wh() - mark:.0f} Wh of metering",
            )
        run.equal(f"the total never decreased in {total.reads} reads", total.falls, [])
    run.equal("a SIGTERM ends the demo with 0", demo.process.stop(), 0)


start(main)
