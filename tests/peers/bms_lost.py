"""The BMS falls silent: an outside writer without a heartbeat, then the simulated BMS with one, as a process, killed.

Loss is declared after the timeout and shown everywhere; the policy holds, then ramps down, and at no read is the power
above the one before; it is left only on a new write, and where a heartbeat is supervised on three good beats too.
"""

from __future__ import annotations

import time

from alarm_views import BMS, BMS_LOST, FAILSAFE, FALLBACK, HOLD, NOBODY, Views, Watcher
from bms_face import GATEWAY_HEARTBEAT, HEARTBEAT, OUTDOOR, PERCENT, TIMEOUT, Face
from demo_site import Demo
from harness import Run, python_version, shown, start, wait_until
from mqtt_tools import Subscriber, mosquitto_version

SPEED = 180
# Without a BMS in the demo its liveness runs in wall time; this is the shortest that may be written.
SILENCE_S = 10
# A busy machine's share; the gateway itself declares the loss within a tick of 10 s of site time.
SLACK_S = 2.0
HOLD_S = 15 * 60 / SPEED
NOMINAL_KW, ETA = 57.0, 0.95
# A change below 1 % of the rated 60 kW is not worth a command, and up to 1 % makes up for what ramps withheld: caps may rest
# that far from what is asked.
DEADBAND_KW = 1.25


def asked_kw(percent: float) -> float:
    """Electrical power that a share of the nominal heat comes to."""
    return percent / 100 * NOMINAL_KW / ETA


def settled(command_kw: float, expected_kw: float) -> bool:
    return abs(command_kw - expected_kw) <= DEADBAND_KW


def declared(run: Run, watch: Watcher, last_sign: float, who: str) -> float:
    lost = watch.wait(lambda row: row.quality & 1, SILENCE_S + 10, f"{who}: the loss is declared")
    took = lost.at - last_sign
    run.check(
        f"{who}: lost {SILENCE_S} s after its last sign of life",
        SILENCE_S - 0.5 <= took <= SILENCE_S + SLACK_S,
        f"{took:.2f} s",
    )
    run.equal(f"{who}: the last request is held at first", lost.source, HOLD)
    return lost.at


def policy(run: Run, watch: Watcher, lost: float, ends: float | None, who: str) -> None:
    """Hold, then down by 10 % a minute to the fallback, or to off where `ends` is None."""
    after = watch.wait(lambda row: row.source != HOLD, HOLD_S + 10, f"{who}: the hold ends")
    held = after.at - lost
    run.check(f"{who}: held for 15 min of site time", HOLD_S - 0.5 <= held <= HOLD_S + SLACK_S, f"{held:.2f} s")
    if ends is None:
        low = watch.wait(lambda row: row.source == NOBODY and row.state == FAILSAFE, 20.0, f"{who}: down to off")
        run.check(f"{who}: then down to off", low.command_kw <= 15.01, f"{low.command_kw:.2f} kW")
    else:
        run.equal(f"{who}: then it is the fallback that is followed", after.source, FALLBACK)
        low = watch.wait(lambda row: settled(row.command_kw, ends), 20.0, f"{who}: down to {ends:.1f} kW")
        run.check(f"{who}: down to 30 % of nominal heat", True, f"{low.command_kw:.2f} kW")
    fell = low.at - after.at
    run.check(f"{who}: by the ramp, not by a step", fell > 0.5, f"{fell:.2f} s")


def main(run: Run) -> None:
    run.peer(
        "pymodbus",
        python_version("pymodbus"),
        "is a BMS without a heartbeat that falls silent; reads every step of the policy",
    )
    run.peer("bacpypes3", python_version("bacpypes3"), "reads the BMS alarm (BI 1) with its event state")
    run.peer("mosquitto_sub", mosquitto_version(), "hears the BMS alarm as point and as event")
    # Without a meter the efficiency stays as believed.
    demo = Demo(run, without="bms,meter", speed=SPEED)
    heard = Subscriber(run, demo.broker, "heatgate/v1/demo/#")
    views = Views(run, demo.modbus, demo.address("bacnet"), demo.http, heard)
    watch = Watcher(run, demo.modbus)

    who = "without a heartbeat"
    with Face(demo.modbus) as face:
        run.equal("HR 8 takes the shortest timeout", face.write(TIMEOUT, SILENCE_S), None)
        face.write(OUTDOOR, 50)
        face.ask(60)
        watch.wait(
            lambda row: row.source == BMS and settled(row.command_kw, asked_kw(60)), 30.0, "60 % are commanded"
        )
        first = time.monotonic()
        last = first
        while last - first < SILENCE_S + 1:
            face.write(PERCENT, 600)
            last = time.monotonic()
            # The next one a second later: ticks of the gateway's heartbeat say when.
            beat = face.inputs(GATEWAY_HEARTBEAT)[0]
            wait_until(
                lambda beat=beat: (face.inputs(GATEWAY_HEARTBEAT)[0] - beat) % 0x10000 >= SPEED, 5.0, "a second passes"
            )
        alive = watch.since(first)
        run.check(
            f"{who}: identical rewrites are life enough",
            alive and not any(row.quality & 1 for row in alive),
            f"{last - first:.1f} s, {len(alive)} reads",
        )
        mark = heard.count()
        lost = declared(run, watch, last, who)
        views.show(BMS_LOST, True, mark)
        policy(run, watch, lost, asked_kw(30), who)
        run.equal(f"{who}: power was never raised", watch.rises(lost), [])
        run.check(f"{who}: reading alone did not end it", watch.rows[-1].quality & 1)
        mark = heard.count()
        face.write(PERCENT, 600)
        back = watch.wait(lambda row: not row.quality & 1, 5.0, f"{who}: the next write ends it")
        run.equal(f"{who}: a new write ends it, and the BMS is followed", back.source, BMS)
        views.show(BMS_LOST, False, mark)
        watch.wait(lambda row: settled(row.command_kw, asked_kw(60)), 20.0, f"{who}: power returns")

        who = "with a heartbeat"
        argv = ["sim", "bms", "--gateway", shown(demo.modbus), "--speed", str(SPEED)]
        bms = run.heatgate("sim-bms", *argv)
        # Mild outdoors: the policy then ends in off.
        face.write(OUTDOOR, 180)
        wait_until(lambda: face.holding(HEARTBEAT)[0] > 0, 10.0, "the simulated BMS beats")

        def has_it() -> bool:
            percent = face.holding(PERCENT)[0] / 10
            return percent >= 50 and settled(watch.rows[-1].command_kw, asked_kw(percent))

        wait_until(has_it, 60.0, "the simulated BMS has what it asks for")
        bms.kill9()
        last = time.monotonic()
        mark = heard.count()
        # Now only the beats count: other writes are no life.
        wait_until(
            lambda: face.write(PERCENT, face.holding(PERCENT)[0]) is None and time.monotonic() - last > SILENCE_S / 2,
            10.0,
            "writes while it is silent",
            every=0.5,
        )
        lost = declared(run, watch, last, who)
        views.show(BMS_LOST, True, mark)
        policy(run, watch, lost, None, who)

        def steps(count: int) -> None:
            beat = face.inputs(GATEWAY_HEARTBEAT)[0]
            wait_until(
                lambda: (face.inputs(GATEWAY_HEARTBEAT)[0] - beat) % 0x10000 > 10 * count,
                10.0,
                f"{count} ticks of control",
            )

        face.write(PERCENT, 700)
        steps(3)
        run.check(f"{who}: a new write alone does not end it", watch.rows[-1].quality & 1)
        number = face.holding(HEARTBEAT)[0]
        for beat in (1, 2):
            face.write(HEARTBEAT, (number + beat) & 0xFFFF)
            steps(2)
        run.check(f"{who}: nor do two beats more", watch.rows[-1].quality & 1)
        run.equal(f"{who}: power was never raised", watch.rises(lost), [])
        mark = heard.count()
        bms = run.heatgate("sim-bms-again", *argv)
        back = watch.wait(lambda row: not row.quality & 1, 15.0, f"{who}: the BMS is back")
        run.equal(f"{who}: beats and writes end it, and the BMS is followed", back.source, BMS)
        views.show(BMS_LOST, False, mark)
        wait_until(
            lambda: face.holding(PERCENT)[0] > 0 and watch.rows[-1].command_kw > 15.0 + 1.0,
            30.0,
            "heat is commanded again",
        )
        run.equal("a SIGTERM ends the simulated BMS with 0", bms.stop(), 0)
    watch.end()
    run.equal("a SIGTERM ends the demo with 0", demo.process.stop(), 0)


start(main)
