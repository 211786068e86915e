"""bacpypes3 against a running BACnet device: `python bacnet_bacpypes3.py [ADDRESS:PORT] [DEVICE]`.

By default device 47001 on 127.0.0.1:47808, which is where `heatgate demo` has it. Reads every property of every object,
the whole object list in segments of 206 octets, many objects with one request that is itself in segments; commands and
releases analog-value 1; subscribes to its changes. One line per finding; exit 1 when there is any.
"""

from __future__ import annotations

import asyncio
import socket
import sys

from bacpypes3.apdu import AbortPDU, ErrorRejectAbortNack
from bacpypes3.basetypes import PropertyIdentifier
from bacpypes3.ipv4.app import NormalApplication
from bacpypes3.local.device import DeviceObject
from bacpypes3.pdu import Address, IPv4Address
from bacpypes3.primitivedata import Null, ObjectIdentifier, Real

# No answer takes longer, seconds: three tries of a client are shorter.
BOUND = 10.0
ALWAYS = ("object-identifier", "object-name", "object-type", "property-list")
AV = ObjectIdentifier("analog-value,1")


class Checks:
    """Counts, and says what is wrong."""

    def __init__(self) -> None:
        self.made = 0
        self.failed = 0

    def that(self, what: str, holds: bool, seen: object = "") -> None:
        self.made += 1
        if not holds:
            self.failed += 1
            print(f"FAIL {what}: {seen!r}")


async def bounded(call):
    """Its result, or the error, reject or abort that the device answered with."""
    try:
        return await asyncio.wait_for(call, BOUND)
    except ErrorRejectAbortNack as refusal:
        return refusal


def refused(answer: object) -> bool:
    return isinstance(answer, (ErrorRejectAbortNack, AbortPDU))


def application(number: int, max_apdu: int) -> NormalApplication:
    # A port of its own: on its own number bacpypes3 takes what is sent to any loopback address.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    device = DeviceObject(
        objectIdentifier=("device", number),
        objectName=f"peer {number}",
        maxApduLengthAccepted=max_apdu,
        segmentationSupported="segmentedBoth",
        maxSegmentsAccepted=64,
        vendorIdentifier=999,
    )
    # A /32: it hears only what is sent to it.
    return NormalApplication(device, IPv4Address(f"127.0.0.1/32:{port}"))


async def everything(checks: Checks, app: NormalApplication, peer: Address, device: ObjectIdentifier) -> list:
    """Every property of every object; returns the objects."""
    objects = await bounded(app.read_property(peer, device, "object-list"))
    checks.that("the object list is read whole", not refused(objects) and len(objects) > 2, objects)
    if refused(objects):
        return []
    count = await bounded(app.read_property(peer, device, "object-list", 0))
    checks.that("the object list has as many elements as it says", count == len(objects), (count, len(objects)))
    last = await bounded(app.read_property(peer, device, "object-list", len(objects)))
    checks.that("its last element can be read alone", last == objects[-1], last)
    beyond = await bounded(app.read_property(peer, device, "object-list", len(objects) + 1))
    checks.that("there is none behind it", refused(beyond) and "invalid-array-index" in str(beyond), beyond)
    names = []
    for one in objects:
        listed = await bounded(app.read_property(peer, one, "property-list"))
        checks.that(f"{one} has a property list", not refused(listed), listed)
        for prop in [*ALWAYS, *([] if refused(listed) else listed)]:
            value = await bounded(app.read_property(peer, one, PropertyIdentifier(prop)))
            if str(prop) == "log-buffer":
                denied = refused(value) and "read-access-denied" in str(value)
                checks.that(f"{one} {prop} is for ReadRange alone", denied, value)
            else:
                checks.that(f"{one} {prop} can be read", not refused(value), value)
            if prop == "object-name":
                names.append(value)
        results = await bounded(app.read_property_multiple(peer, [one, ["all"]]))
        whole = not refused(results) and not any(refused(value) for *_, value in results)
        checks.that(f"{one} can be read whole", whole and len(results) == len(listed) + 3, results)
    checks.that("every name is there once", len(set(names)) == len(names), names)
    return list(objects)


async def in_segments(checks: Checks, app: NormalApplication, peer: Address, objects: list) -> None:
    """More than 1,024 octets of request: bacpypes3 sends it in segments."""
    wanted = [one for one in objects if one[0] not in ("device", "network-port")] or objects
    asked = []
    for n in range(200):
        asked += [wanted[n % len(wanted)], ["present-value"]]
    results = await bounded(app.read_property_multiple(peer, asked))
    checks.that("a request in segments is answered", not refused(results) and len(results) == 200, results)


async def commands(checks: Checks, app: NormalApplication, peer: Address) -> None:
    """analog-value 1 at priority 10, and back."""
    read = lambda prop, index=None: bounded(app.read_property(peer, AV, prop, index))  # noqa: E731
    write = lambda value, priority=None: bounded(  # noqa: E731
        app.write_property(peer, AV, "present-value", value, None, priority)
    )
    done = await write(Real(41.5), 10)
    checks.that("analog-value 1 is commanded", done is None, done)
    checks.that("it shows the command", await read("present-value") == 41.5, await read("present-value"))
    checks.that("at priority 10", await read("current-command-priority") is not None)
    slot = await read("priority-array", 10)
    checks.that("in slot 10", not refused(slot) and getattr(slot, "real", None) == 41.5, slot)
    for what, value, priority, code in (
        ("too much", Real(1e6), 10, "value-out-of-range"),
        ("not a number", Real(float("nan")), 10, "value-out-of-range"),
        ("the reserved priority", Real(5.0), 6, "write-access-denied"),
    ):
        answer = await write(value, priority)
        checks.that(f"{what} is refused as {code}", refused(answer) and code in str(answer).lower(), answer)
    checks.that("and changes nothing", await read("present-value") == 41.5)
    done = await write(Null(()), 10)
    checks.that("it is released", done is None, done)
    slot = await read("priority-array", 10)
    checks.that("slot 10 is empty", not refused(slot) and getattr(slot, "null", None) is not None, slot)


async def changes(checks: Checks, app: NormalApplication, peer: Address, confirmed: bool) -> None:
    """What a subscriber is told of analog-value 1."""
    kind = "confirmed" if confirmed else "unconfirmed"

    async def dialogue() -> list:
        told = []
        async with app.change_of_value(peer, AV, 7, confirmed, 60) as subscription:
            for value in (20.0, 60.0):
                await app.write_property(peer, AV, "present-value", Real(value), None, 10)
                while not told or told[-1] != value:
                    prop, seen = await subscription.get_value()
                    if prop == PropertyIdentifier("present-value"):
                        told.append(seen)
        return told

    try:
        told = await asyncio.wait_for(dialogue(), BOUND)
        checks.that(f"{kind} notifications tell first what is and then what changed", len(told) >= 3, told)
    except (TimeoutError, ErrorRejectAbortNack) as error:
        checks.that(f"{kind} notifications come", False, error)
    finally:
        await bounded(app.write_property(peer, AV, "present-value", Null(()), None, 10))


async def main() -> int:
    address = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:47808"
    number = int(sys.argv[2]) if len(sys.argv) > 2 else 47001
    peer, device = Address(address), ObjectIdentifier(f"device,{number}")
    checks = Checks()
    app = application(998, 1024)
    try:
        found = await asyncio.wait_for(app.who_is(number, number, peer), BOUND)
        checks.that("the device says who it is", [i.iAmDeviceIdentifier for i in found] == [device], found)
        objects = await everything(checks, app, peer, device)
        if objects:
            await in_segments(checks, app, peer, objects)
        await commands(checks, app, peer)
        await changes(checks, app, peer, False)
        await changes(checks, app, peer, True)
    finally:
        app.close()
    small = application(997, 206)
    try:
        whole = await bounded(small.read_property(peer, device, "object-list"))
        checks.that("the object list is read at 206 octets", not refused(whole) and list(whole) == objects, whole)
    finally:
        small.close()
    print(f"{checks.made - checks.failed} passed, {checks.failed} failed")
    return 1 if checks.failed or not checks.made else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
