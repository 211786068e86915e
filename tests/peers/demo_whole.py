"""The whole demo as a reader starts it: a minute on the wall, an hour of site time; every printed address answers."""

from __future__ import annotations

import time

from bms_face import HEAT_DELIVERED, STATE, Face
from demo_site import Demo
from harness import Run, http_get, python_version, start, wait_until
from meter_peer import meter_values
from mqtt_tools import Subscriber, mosquitto_version


def main(run: Run) -> None:
    run.peer("pymodbus", python_version("pymodbus"), "reads the BMS face and the meter of the whole demo")
    run.peer("mosquitto_sub", mosquitto_version(), "hears the gateway's retained status from the demo's own broker")
    run.peer("bacpypes3", python_version("bacpypes3"), "reads the heat delivered (AI 12) of the whole demo")
    began = time.monotonic()
    demo = Demo(run, "--for", "60s")
    run.note(f"addresses after {time.monotonic() - began:.2f} s: {demo.addresses}")
    run.equal("the site is demo", demo.addresses.get("site"), "demo")
    run.equal("the BACnet device is 47001", demo.addresses.get("bacnet_device"), 47001)

    for path, wanted in (("/healthz", None), ("/readyz", None), ("/metrics", "heatgate_"), ("/", "<html")):
        status, body = wait_until(
            lambda path=path: (lambda answer: answer if answer[0] == 200 else None)(http_get(demo.http, path)),
            20.0,
            f"HTTP 200 at {path}",
        )
        run.check(f"HTTP {path} answers", status == 200 and (wanted is None or wanted in body), f"{len(body)} bytes")
    run.equal("an unknown page is 404", http_get(demo.http, "/no-such-page")[0], 404)

    with Face(demo.modbus) as face:
        run.check("Modbus: the state is one of the ten", 1 <= face.inputs(STATE)[0] <= 10, face.inputs(STATE)[0])
        heat = wait_until(lambda: (face.float(HEAT_DELIVERED) or 0) > 1.0, 40.0, "heat is delivered (IR 14 over 1 kW)")
        run.check("Modbus: heat is delivered", heat, f"{face.float(HEAT_DELIVERED):.1f} kW")

    status = Subscriber(run, demo.broker, "heatgate/v1/demo/gateway/status")
    online = status.wait(lambda _, payload: payload.get("state") == "online", 10.0, "the gateway's status is online")
    run.check("MQTT: the retained status is online, with boot and version", {"boot_id", "version", "at"} <= set(online))
    status.process.stop()

    power = wait_until(
        lambda: meter_values(demo.meter)[0] > 1.0 and meter_values(demo.meter)[0], 20.0, "the meter counts heat"
    )
    run.check("the meter answers a master of its own", power > 1.0, f"{power:.1f} kW")

    if demo.addresses.get("bacnet"):
        from bacnet_tools import talk

        value = talk(demo.address("bacnet"), lambda client: client.read("analog-input", 12))
        run.check("BACnet: AI 12 is a number", isinstance(value, float), value)
    else:
        run.check("BACnet: the demo printed its address", False, demo.addresses)

    code = demo.process.wait_exit(90.0)
    took = time.monotonic() - began
    run.equal("the demo exits with 0", code, 0)
    run.check("it took about its minute", 55.0 <= took <= 75.0, f"{took:.1f} s")
    minutes, summaries = demo.events("minute"), demo.events("summary")
    run.check("one line for each simulated minute", 55 <= len(minutes) <= 62, len(minutes))
    alarms = [(row["minute"], zone["alarms"]) for row in minutes for zone in row["zones"] if zone["alarms"]]
    run.equal("no alarm in any minute", alarms, [])
    run.equal("one summary", len(summaries), 1)
    if summaries:
        summary = summaries[0]
        run.check("heat was asked for", summary["asked_kwh"] > 0, f"{summary['asked_kwh']:.2f} kWh")
        run.check("heat was delivered", summary["delivered_kwh"] > 0, f"{summary['delivered_kwh']:.2f} kWh")
        run.check("commands were sent", summary["commands"] > 0, summary["commands"])
        run.check(
            "the energy error is a number",
            isinstance(summary["energy_error_pct"], (int, float)),
            f"{summary['energy_error_pct']} %",
        )


start(main)
