"""Emergency stop over Modbus against `heatgate run`: caps fall at once, the latch survives, and only a person re-arms."""

from __future__ import annotations

import time

from alarm_views import EMERGENCY_STOP, INIT, SAFETY, Views, Watcher
from bacnet_tools import Client, talk
from bms_face import FAULT_CODE, FAULT_RESET, GATEWAY_HEARTBEAT, PERCENT, POWER_COMMAND, REQUEST_SOURCE, STATE, Face
from harness import Run, command, python_version, start, wait_until
from mqtt_tools import Subscriber, mosquitto_version
from run_site import HEATERS, RunSite

STOP_COIL, RESET_COIL, STOP_BV, RESET_BV = 20, 1, 20, 2
FALLBACK_W = 7_500.0
# IR 3 and IR 1 of the register map: safety's request, and one more than the number of the gravest alarm.
SOURCE_SAFETY, CODE_STOP = 6, 7
BASE = "heatgate/v1/demo"


def main(run: Run) -> None:
    run.peer(
        "pymodbus", python_version("pymodbus"), "writes the emergency stop (coil 20), and resets that must not re-arm"
    )
    run.peer("mosquitto_sub", mosquitto_version(), "hears the caps fall")
    run.peer(
        "bacpypes3", python_version("bacpypes3"), "reads the alarm (BI 7), and resets over BV 2, which must not re-arm"
    )
    site = RunSite(run)
    gateway, _ = site.spawn_and_time()
    assert site.broker is not None
    heard = Subscriber(run, site.broker.address, f"{BASE}/#")
    views = Views(run, site.modbus, site.bacnet, site.http, heard)
    watch = Watcher(run, site.modbus)

    def told(heater: str, leaf: str, since: int = 0) -> list[dict]:
        return heard.payloads(f"{BASE}/heaters/{heater}/{leaf}", since)

    def rearm(zone: str = "hall") -> tuple[int, str]:
        code, out, err = command([str(run.binary), "rearm", zone, "--state-dir", str(site.state)])
        return code, (out + err).strip()

    def beats(face: Face, count: int) -> None:
        """The gateway went on for some seconds: whatever a write brings about has come about."""
        beat = face.inputs(GATEWAY_HEARTBEAT)[0]
        wait_until(
            lambda: (face.inputs(GATEWAY_HEARTBEAT)[0] - beat) % 0x10000 >= count, count + 10.0, f"{count} s pass"
        )

    def stays(face: Face, what: str) -> None:
        beats(face, 2)
        run.equal(f"{what}: the state stays safety", face.inputs(STATE)[0], SAFETY)
        run.equal(f"{what}: nothing is commanded", face.float(POWER_COMMAND), 0.0)

    with Face(site.modbus) as face:
        face.ask(80)
        wait_until(
            lambda: all(
                any(row["p_max_w"] > FALLBACK_W + 1000 for row in told(heater, "command")) for heater in HEATERS
            ),
            90.0,
            "both heaters are commanded above their fallback",
        )
        wait_until(
            lambda: all(told(heater, "telemetry")[-1]["applied_w"] > FALLBACK_W for heater in HEATERS),
            30.0,
            "both obey",
        )
        run.equal("nothing is latched: re-arming is refused", rearm()[0], 1)

        mark = heard.count()
        began = time.monotonic()
        face.client.write_coil(STOP_COIL, True, device_id=1)
        wait_until(
            lambda: all(told(heater, "command", mark) for heater in HEATERS),
            5.0,
            "a command to each heater",
            every=0.002,
        )
        took = time.monotonic() - began
        first = [told(heater, "command", mark)[0] for heater in HEATERS]
        run.check("each heater is commanded within a second", took < 1.0, f"{1000 * took:.0f} ms")
        run.equal(
            "to nothing, at once, and for longer than the gateway lives",
            [(one["p_max_w"], one["ramp_w_per_s"], one["fallback_w"]) for one in first],
            [(0.0, 0.0, 0.0)] * 2,
        )
        run.check("with the reason", all("emergency stop" in str(one["reason"]) for one in first), first[0]["reason"])
        run.equal(
            "Modbus shows safety at once",
            [face.inputs(STATE)[0], face.inputs(REQUEST_SOURCE)[0], face.inputs(FAULT_CODE)[0]],
            [SAFETY, SOURCE_SAFETY, CODE_STOP],
        )
        wait_until(lambda: all(told(heater, "ack", mark) for heater in HEATERS), 5.0, "acknowledgements")
        run.equal(
            "a controller that cannot go to nothing says so",
            [told(heater, "ack", mark)[0]["result"] for heater in HEATERS],
            ["clamped"] * 2,
        )
        wait_until(
            lambda: all(
                told(heater, "telemetry", mark)[-1:] and told(heater, "telemetry", mark)[-1]["applied_w"] <= FALLBACK_W
                for heater in HEATERS
            ),
            15.0,
            "both are at their least",
        )
        run.check("both are at their least power", True)
        views.show(EMERGENCY_STOP, True, mark)
        code, said = rearm()
        run.check("while the input is active re-arming is refused", code == 1 and "still active" in said, said)

        # From here on only the latch holds it.
        face.client.write_coil(STOP_COIL, False, device_id=1)
        stays(face, "the input is quiet again")
        face.write(FAULT_RESET, 1)
        stays(face, "fault_reset by HR 9")
        run.equal("fault_reset clears itself", face.holding(FAULT_RESET)[0], 0)
        face.client.write_coil(RESET_COIL, True, device_id=1)
        stays(face, "fault_reset by coil 1")

        async def reset(client: Client):
            return await client.write("binary-value", RESET_BV, "active"), str(
                await client.read("binary-value", STOP_BV)
            )

        written, bv = talk(site.bacnet, reset)
        run.equal("BACnet takes a fault_reset (BV 2)", written, None)
        run.equal("BACnet shows the quiet input (BV 20)", bv, "inactive")
        stays(face, "fault_reset by BV 2")
        face.ask(90)
        stays(face, "a new request")
    run.check("the alarm stays while it is latched", watch.rows[-1].quality >> EMERGENCY_STOP.number & 1)

    for how in ("a proper end", "kill -9"):
        mark = heard.count()
        if how == "kill -9":
            gateway.kill9()
        else:
            run.equal("a SIGTERM ends the gateway with 0", gateway.stop(20.0), 0)
            left = [told(heater, "command", mark)[-1] for heater in HEATERS if told(heater, "command", mark)]
            run.equal(
                "what is stopped is not released",
                [one["p_max_w"] + one["fallback_w"] for one in left],
                [0.0] * len(left),
            )
            mark = heard.count()
        since = time.monotonic()
        gateway, _ = site.spawn_and_time()
        with Face(site.modbus) as face:
            wait_until(
                lambda mark=mark: all(told(heater, "command", mark) for heater in HEATERS),
                15.0,
                "commands of the new process",
            )
            new = [row["p_max_w"] for heater in HEATERS for row in told(heater, "command", mark)]
            run.check(f"after {how}: nothing is all that is commanded", not any(new), f"{len(new)} commands")
            stays(face, f"after {how}")
        states = {row.state for row in watch.since(since)}
        run.equal(f"after {how}: no other state was ever shown", states, {SAFETY})

    code, said = rearm("roof")
    run.check("an unknown zone is not re-armed", code == 1 and "roof" in said, said)
    mark = heard.count()
    code, said = rearm()
    run.check("a person on the spot re-arms", code == 0, said)
    with Face(site.modbus) as face:
        watch.wait(lambda row: row.state == INIT, 10.0, "it waits for a request")
        beats(face, 2)
        run.equal("then it waits for a request", face.inputs(STATE)[0], INIT)
        caps = [row["p_max_w"] for heater in HEATERS for row in told(heater, "command", mark)]
        run.check("no more than the fail-safe cap is commanded", max(caps, default=0.0) <= FALLBACK_W, caps)
        views.show(EMERGENCY_STOP, False, mark)
        face.ask(60)
        row = watch.wait(lambda row: row.state not in (INIT, SAFETY), 15.0, "the request is followed")
        run.check("a fresh request is followed again", row.source == 2, f"state {row.state}")
        run.equal("percent as written", face.holding(PERCENT)[0], 600)
    run.equal("nothing is latched any more", rearm()[0], 1)
    watch.end()
    run.equal("a SIGTERM ends the gateway with 0", gateway.stop(20.0), 0)


start(main)
