"""The demand in, the caps out, the heat back: mbpoll is the BMS, mosquitto_sub listens; then mosquitto is the broker too."""

from __future__ import annotations

from bms_face import (
    ENABLE,
    HEAT_DELIVERED,
    LIMIT,
    MODE,
    MODE_PERCENT,
    PERCENT,
    SEASON,
    TIMEOUT,
    TWIN,
)
from demo_site import Demo
from harness import Address, Run, near, start, wait_until
from mbpoll_tools import mbpoll, mbpoll_version, read_one
from mqtt_tools import Mosquitto, Subscriber, mosquitto_version

HEATERS = ("rack-a", "rack-b")
TRUE_ETA = 0.88
HEAT_KW = 28.5
# The efficiency is learned from the meter: caps are what gives the heat that is asked.
CAPS_KW = HEAT_KW / TRUE_ETA
# Deadband and repayment of what ramps withheld: 1 % of rated power each.
WITHIN = 0.045


def caps_kw(heard: Subscriber) -> float | None:
    """The sum of the last cap of each heater; `None` before both were heard."""
    last = [heard.last(f"heatgate/v1/demo/heaters/{heater}/command") for heater in HEATERS]
    return None if None in last else sum(command["p_max_w"] for command in last) / 1000.0


def settles(run: Run, modbus: Address, heard: Subscriber, label: str) -> None:
    """Fifty percent ends at 28.5 kW of heat, whatever efficiency is believed, and stays there."""
    steady = 0

    def steady_for_a_while() -> bool:
        nonlocal steady
        heat = read_one(modbus, "3:float", HEAT_DELIVERED)
        steady = steady + 1 if near(caps_kw(heard), CAPS_KW, WITHIN) and near(heat, HEAT_KW, WITHIN) else 0
        return steady >= 10

    try:
        wait_until(steady_for_a_while, 90.0, f"{label}: caps and heat settle", every=0.2)
    finally:
        # Shown in any case: the figure is what a reader wants to see.
        run.note(f"{label}: caps {caps_kw(heard)} kW, heat {read_one(modbus, '3:float', HEAT_DELIVERED):.2f} kW")
    heat = read_one(modbus, "3:float", HEAT_DELIVERED)
    twin = read_one(modbus, "3", HEAT_DELIVERED + TWIN) / 10.0
    run.check(
        f"{label}: caps of rack-a and rack-b add up to what 28.5 kW of heat take",
        near(caps_kw(heard), CAPS_KW, WITHIN),
        f"{caps_kw(heard):.2f} kW",
    )
    run.check(f"{label}: heat (IR 14) settles at 28.5 kW", near(heat, HEAT_KW, WITHIN), f"{heat:.2f} kW")
    run.check(f"{label}: its scaled twin (IR 74) agrees", abs(twin - heat) < 0.6, f"{twin:.1f} kW")


def demand(run: Run, modbus: Address, label: str) -> None:
    """Enable, mode percent, 50 %."""
    for what, address, value in (("enable", ENABLE, 1), ("mode percent", MODE, MODE_PERCENT), ("50 %", PERCENT, 500)):
        run.equal(
            f"{label}: mbpoll writes {what} (HR {address} = {value})", mbpoll(modbus, "4", address, write=(value,)), []
        )


def refused(run: Run, modbus: Address) -> None:
    """What is wrong changes nothing, and says what is wrong with it."""

    def held() -> list[float] | int:
        return mbpoll(modbus, "4", 0, 12)

    before = held()
    for what, code, kind, first, values in (
        ("100.1 % (HR 0 = 1001)", 3, "4", PERCENT, (1001,)),
        ("mode 9 (HR 3 = 9)", 3, "4", MODE, (9,)),
        ("mode 0 (HR 3 = 0)", 3, "4", MODE, (0,)),
        ("enable 2 (HR 4 = 2)", 3, "4", ENABLE, (2,)),
        ("season 4 (HR 5 = 4)", 3, "4", SEASON, (4,)),
        ("timeout 9 s (HR 8 = 9)", 3, "4", TIMEOUT, (9,)),
        ("timeout 3601 s (HR 8 = 3601)", 3, "4", TIMEOUT, (3601,)),
        ("a block with one bad value (HR 0..4)", 3, "4", PERCENT, (400, 100, 450, 9, 1)),
        ("an unused register (HR 50)", 2, "4", 50, (1,)),
        ("the read-only mirror (HR 1014)", 2, "4", 1014, (1,)),
        ("a block that runs into unused registers (HR 10..13)", 2, "4", 10, (200, 50, 0, 0)),
        ("a register that is not there (HR 40000)", 2, "4", 40000, (1,)),
        ("a coil that is not there (coil 5)", 2, "0", 5, (1,)),
    ):
        run.equal(f"refused with exception {code:02}: {what}", mbpoll(modbus, kind, first, write=values), code)
    run.equal("nothing changed by what was refused", held(), before)
    run.equal(
        "an electrical limit of none (HR 6 = 0xFFFF) is accepted", mbpoll(modbus, "4", LIMIT, write=(0xFFFF,)), []
    )


def main(run: Run) -> None:
    mosquitto, master = mosquitto_version(), mbpoll_version()
    run.peer("mbpoll", master, "writes the demand as BMS, reads heat back, is refused what is out of range")
    run.peer("mosquitto_sub", mosquitto, "hears the caps that rack-a and rack-b are sent")
    demo = Demo(run, without="bms", name="demo-own-broker")
    heard = Subscriber(run, demo.broker, "heatgate/v1/demo/heaters/+/command", name="sub-own-broker")
    demand(run, demo.modbus, "own broker")
    settles(run, demo.modbus, heard, "own broker")
    refused(run, demo.modbus)
    heard.process.stop()
    run.equal("own broker: a SIGTERM ends the demo with 0", demo.process.stop(), 0)

    run.peer(
        "mosquitto", mosquitto, "is the site's broker, MQTT 3.1.1 and 5 clients beside each other; restarted under way"
    )
    broker = Mosquitto(run)
    demo = Demo(run, without="bms,broker", name="demo-mosquitto", outside={"broker": broker.address})
    run.equal("the demo says whose broker it uses", demo.broker, broker.address)
    heard = Subscriber(run, broker.address, "heatgate/v1/demo/#", name="sub-mosquitto", mqtt5=True)
    demand(run, demo.modbus, "mosquitto")
    settles(run, demo.modbus, heard, "mosquitto")

    broker.end()
    mark = heard.count()
    broker.begin()
    prefix = "heatgate/v1/demo"
    heard.wait(
        lambda topic, row: topic == f"{prefix}/gateway/status" and row["state"] == "online",
        60.0,
        "the gateway is back after the broker's restart",
        mark,
    )
    run.check("mosquitto restarted: the gateway is back", True)
    for heater in HEATERS:
        heard.wait(
            lambda topic, row, heater=heater: topic == f"{prefix}/heaters/{heater}/status" and row["state"] == "online",
            60.0,
            f"{heater} is back",
            mark,
        )
        run.check(f"mosquitto restarted: {heater} is back", True)
    run.equal("mosquitto restarted: mbpoll asks for 25 %", mbpoll(demo.modbus, "4", PERCENT, write=(250,)), [])
    wait_until(lambda: near(caps_kw(heard), CAPS_KW / 2, 0.05), 60.0, "caps follow the new demand", every=0.1)
    run.check("mosquitto restarted: caps follow the new demand", True, f"{caps_kw(heard):.2f} kW")
    mark = heard.count()
    for heater in HEATERS:
        row = heard.wait(
            lambda topic, row, heater=heater: topic == f"{prefix}/heaters/{heater}/ack",
            60.0,
            f"{heater} acknowledges",
            mark,
        )
        run.check(
            f"mosquitto restarted: {heater} acknowledges", row["result"] in ("accepted", "clamped"), row["result"]
        )
    run.equal("mosquitto: a SIGTERM ends the demo with 0", demo.process.stop(), 0)


start(main)
