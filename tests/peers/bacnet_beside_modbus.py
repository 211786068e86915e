"""BACnet and Modbus show one image: commands of both, one beside the other; values that agree; a change of quality is told.

The heat meter is a process of its own, so that it can be killed under a subscription.
"""

from __future__ import annotations

import asyncio

from bacpypes3.basetypes import PropertyIdentifier
from bacpypes3.primitivedata import Enumerated, Null, ObjectIdentifier, Real, Unsigned

from bacnet_tools import Client, talk
from bms_face import ENABLE, HEAT_DELIVERED, HEAT_WH, LIMIT, METER_LOST, MODE, PERCENT, TIMEOUT, Face
from demo_site import Demo
from harness import Address, Failed, Run, accepts, free_port, python_version, shown, start, wait_until

SPEED = 20
# Modbus writes at 15 (the demo's configuration); this is above it.
ABOVE, MODBUS_SLOT = 10, 15
# Object, register, what Modbus writes, what BACnet commands above it: as a value and as the register shows it.
COMMANDS = [
    (("analog-value", 1), PERCENT, 500, Real(70.0), 700),
    (("multi-state-value", 1), MODE, 2, Unsigned(3), 3),
    (("analog-value", 4), LIMIT, 500, Real(25.0), 250),
    (("binary-value", 1), ENABLE, 1, Enumerated(0), 0),
]
DELIVERED = ObjectIdentifier("analog-input,12")


def commands(run: Run, face: Face, bacnet: Address) -> None:
    for (kind, instance), register, low, value, high in COMMANDS:
        name = f"{kind} {instance} and HR {register}"

        async def command(client: Client, value, kind=kind, instance=instance):
            done = await client.write(kind, instance, value, ABOVE)
            return done, await client.read(kind, instance, "current-command-priority")

        run.equal(f"{name}: Modbus writes {low}", face.write(register, low), None)
        done, priority = talk(bacnet, lambda client, value=value, command=command: command(client, value))
        run.equal(f"{name}: BACnet commands at {ABOVE}", done, None)
        ruling = getattr(priority, "unsigned", priority)
        run.equal(f"{name}: priority {ABOVE} rules", ruling, ABOVE)
        run.equal(f"{name}: Modbus reads BACnet's value", face.holding(register)[0], high)
        run.equal(f"{name}: Modbus may write below it", face.write(register, low), None)
        run.equal(f"{name}: and still reads BACnet's", face.holding(register)[0], high)
        done, priority = talk(bacnet, lambda client, command=command: command(client, Null(())))
        run.equal(f"{name}: BACnet releases", done, None)
        run.equal(f"{name}: priority {MODBUS_SLOT} rules", getattr(priority, "unsigned", priority), MODBUS_SLOT)
        run.equal(f"{name}: Modbus's own value rules again", face.holding(register)[0], low)


def agree(run: Run, face: Face, bacnet: Address) -> None:
    """Values move with each tick: a BACnet value lies between, or is, what Modbus read just before and just after."""

    async def reads(client: Client) -> list[str]:
        wrong = []
        for instance, register in zip(range(10, 20), range(10, 30, 2), strict=True):
            for _ in range(10):
                before = face.float(register)
                value = await client.read("analog-input", instance)
                after = face.float(register)
                if (
                    before is not None
                    and after is not None
                    and min(before, after) - 1e-6 <= value <= max(before, after) + 1e-6
                ):
                    break
            else:
                wrong.append(f"AI {instance}: {value}, IR {register}: {before}, {after}")
        scale = getattr(await client.read("accumulator", 1, "scale"), "integerScale", None)
        for kind, of_kwh in (("accumulator", 10.0 ** (scale or 0)), ("large-analog-value", 1.0)):
            before = face.total(HEAT_WH) or 0
            value = await client.read(kind, 1) * of_kwh
            after = face.total(HEAT_WH) or 0
            if not before - 1e-3 <= value * 1000.0 <= after + 1e-3:
                wrong.append(f"{kind} 1: {value} kWh, IR {HEAT_WH}: {before} Wh")
        return wrong

    run.equal("AI 10 to 19, ACC 1 and LAV 1 are what Modbus reads", talk(bacnet, reads), [])


async def changes(run: Run, client: Client, bound: float, kill, revive) -> None:
    """What a subscriber of AI 12 is told while heat rises, the meter dies and comes back."""
    told: list[tuple[float | None, str]] = []
    async with client.app.change_of_value(client.peer, DELIVERED, 12, True, 300) as subscription:
        value: float | None = None

        async def until(wanted, what: str) -> None:
            nonlocal value

            async def listen() -> None:
                nonlocal value
                while True:
                    prop, seen = await subscription.get_value()
                    if prop == PropertyIdentifier("present-value"):
                        value = seen
                    elif prop == PropertyIdentifier("status-flags"):
                        told.append((value, str(seen)))
                        if wanted():
                            return

            try:
                await asyncio.wait_for(listen(), bound)
            except TimeoutError:
                raise Failed(f"{what}: not told within {bound:g} s; last: {told[-3:]}") from None

        await until(lambda: len({value for value, _ in told}) >= 4, "heat rises")
        run.check(
            "COV: changes of value are told", all("fault" not in flags for _, flags in told), [v for v, _ in told]
        )
        kill()
        await until(lambda: "fault" in told[-1][1], "the meter is killed")
        run.check("COV: a lost meter is told as a fault", True, told[-1])
        reliability = await client.read("analog-input", 12, "reliability")
        run.equal("its Reliability", str(reliability), "communication-failure")
        event = str(await client.read("binary-input", METER_LOST + 1))
        run.note(f"BI {METER_LOST + 1} (meter lost) is {event}")
        revive()
        await until(lambda: "fault" not in told[-1][1], "the meter is back")
        run.check("COV: the meter that is back is told as good", True, told[-1])


def main(run: Run) -> None:
    run.peer(
        "bacpypes3",
        python_version("bacpypes3"),
        "commands above Modbus and releases; reads what Modbus reads; is told of a lost meter",
    )
    run.peer("pymodbus", python_version("pymodbus"), "writes below BACnet's commands and reads what rules")
    meter: Address = ("127.0.0.1", free_port())
    demo = Demo(run, without="bms,meter", speed=SPEED, outside={"meter": meter})
    bacnet = demo.address("bacnet")
    argv = ["sim", "meter", "--listen", shown(meter), "--broker", shown(demo.broker), "--speed", str(SPEED)]
    parts = [run.heatgate("sim-meter", *argv)]
    wait_until(lambda: accepts(meter), 20.0, "the simulated meter listens")
    with Face(demo.modbus) as face:
        face.write(TIMEOUT, 3600)
        commands(run, face, bacnet)
        face.write(LIMIT, 0xFFFF)
        face.ask(60)
        wait_until(lambda: (face.float(HEAT_DELIVERED) or 0) > 1.0, 40.0, "heat is delivered")
        agree(run, face, bacnet)

        def revive() -> None:
            parts.append(run.heatgate("sim-meter-again", *argv))

        talk(bacnet, lambda client: changes(run, client, 60.0, parts[0].kill9, revive), bound=200.0)
        wait_until(lambda: not face.discrete(METER_LOST), 20.0, "no meter is lost any more")
        agree(run, face, bacnet)
    run.equal("a SIGTERM ends the simulated meter with 0", parts[-1].stop(), 0)
    run.equal("a SIGTERM ends the demo with 0", demo.process.stop(), 0)


start(main)
