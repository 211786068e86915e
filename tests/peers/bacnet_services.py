"""bacpypes3 walks the services of a `heatgate run` with 2,000 objects more: lists in segments, errors by class and code,
malformed requests, priorities, objects out of service, changes of value and of single properties, device management, the
clock, restarts, and 10,000 subscriptions of one peer.
"""

from __future__ import annotations

import asyncio
import datetime
import json
import socket
import struct
import time

from bacpypes3.apdu import (
    AbortPDU,
    DeviceCommunicationControlRequest,
    ErrorRejectAbortNack,
    ReinitializeDeviceRequest,
    SimpleAckPDU,
    SubscribeCOVPropertyRequest,
    SubscribeCOVRequest,
    TimeSynchronizationRequest,
    UTCTimeSynchronizationRequest,
)
from bacpypes3.basetypes import DateTime, DeviceAddress, Recipient
from bacpypes3.constructeddata import ListOf
from bacpypes3.ipv4.app import NormalApplication
from bacpypes3.local.device import DeviceObject
from bacpypes3.pdu import Address as BacnetAddress
from bacpypes3.pdu import IPv4Address
from bacpypes3.primitivedata import (
    Boolean,
    CharacterString,
    Date,
    Enumerated,
    Integer,
    Null,
    ObjectIdentifier,
    Real,
    Time,
    Unsigned,
)

from frames import Frames
from harness import Address, Failed, Run, command, free_port, package_version, python_version, start
from raw_modbus import Raw, read_pdu
from run_site import RunSite

EXTRA = 2000
FIRST = 10_000
DEVICE = ObjectIdentifier("device,47001")
AV1 = ObjectIdentifier("analog-value,1")
PASSWORD = "filister"
# No answer takes longer, seconds; the machine may be busy.
BOUND = 20.0


class Listener(NormalApplication):
    """Keeps the notifications that it is sent: when, and what."""

    def __init__(self, number: int, max_apdu: int, segments: int = 64):
        device = DeviceObject(
            objectIdentifier=("device", number),
            objectName=f"peer {number}",
            maxApduLengthAccepted=max_apdu,
            segmentationSupported="segmentedBoth",
            maxSegmentsAccepted=segments,
            vendorIdentifier=999,
        )
        # A /32: it hears only what is sent to it.
        self.udp = free_port(socket.SOCK_DGRAM)
        super().__init__(device, IPv4Address(f"127.0.0.1/32:{self.udp}"))
        self.told: list[tuple[float, dict]] = []
        self.news = asyncio.Event()

    def _keep(self, apdu) -> None:
        values = {str(value.propertyIdentifier): value.value for value in apdu.listOfValues}
        seen = {"object": str(apdu.monitoredObjectIdentifier), "process": apdu.subscriberProcessIdentifier}
        seen |= {"remaining": apdu.timeRemaining, "values": values}
        self.told.append((time.monotonic(), seen))
        self.news.set()

    async def do_UnconfirmedCOVNotificationRequest(self, apdu) -> None:
        self._keep(apdu)

    async def do_ConfirmedCOVNotificationRequest(self, apdu) -> None:
        self._keep(apdu)
        await self.response(SimpleAckPDU(context=apdu))

    async def next(self, process: int, what: str) -> dict:
        """The next notification of a subscription; those of others are passed over."""

        async def wait() -> dict:
            while True:
                for place, (_, seen) in enumerate(self.told):
                    if seen["process"] == process:
                        del self.told[: place + 1]
                        return seen
                self.news.clear()
                await self.news.wait()

        try:
            return await asyncio.wait_for(wait(), BOUND)
        except TimeoutError:
            raise Failed(f"{what}: not told within {BOUND:g} s") from None


class Peer:
    """What one client says to the gateway; errors, rejects and aborts come back as text."""

    def __init__(self, app: Listener, address: Address):
        self.app = app
        self.at = BacnetAddress(f"{address[0]}:{address[1]}")

    async def _bounded(self, call):
        try:
            return await asyncio.wait_for(call, BOUND)
        except ErrorRejectAbortNack as refusal:
            return str(refusal)
        except TimeoutError:
            raise Failed(f"no answer within {BOUND:g} s") from None

    async def read(self, what: str, prop: str, index: int | None = None):
        answer = await self._bounded(self.app.read_property(self.at, ObjectIdentifier(what), prop, index))
        return str(answer) if isinstance(answer, AbortPDU) else answer

    async def many(self, wanted: list):
        return await self._bounded(self.app.read_property_multiple(self.at, wanted))

    async def write(self, what: str, value, priority: int | None = None, prop: str = "present-value", index=None):
        call = self.app.write_property(self.at, ObjectIdentifier(what), prop, value, index, priority)
        return await self._bounded(call)

    async def ask(self, request):
        request.pduDestination = self.at
        answer = await self._bounded(self.app.request(request))
        return None if isinstance(answer, SimpleAckPDU) else str(answer)

    async def subscribe(self, process: int, what: str, confirmed: bool | None, lifetime: int | None):
        request = SubscribeCOVRequest(subscriberProcessIdentifier=process, monitoredObjectIdentifier=what)
        if confirmed is not None:
            request.issueConfirmedNotifications = confirmed
            request.lifetime = lifetime
        return await self.ask(request)

    async def watch(self, process: int, what: str, prop: str, confirmed: bool, step: float | None = None, index=None):
        # Its class with the context tag; bacpypes3 does not make one of the class without.
        tagged = SubscribeCOVPropertyRequest._elements["monitoredPropertyIdentifier"]
        request = SubscribeCOVPropertyRequest(
            subscriberProcessIdentifier=process,
            monitoredObjectIdentifier=what,
            issueConfirmedNotifications=confirmed,
            lifetime=300,
            monitoredPropertyIdentifier=tagged(prop if index is None else f"{prop}[{index}]"),
        )
        if step is not None:
            request.covIncrement = step
        return await self.ask(request)

    async def control(self, state: str, password: str | None, minutes: int | None = None):
        request = DeviceCommunicationControlRequest(enableDisable=state)
        if minutes is not None:
            request.timeDuration = minutes
        if password is not None:
            request.password = password
        return await self.ask(request)

    async def restart(self, state: str, password: str | None):
        request = ReinitializeDeviceRequest(reinitializedStateOfDevice=state)
        if password is not None:
            request.password = password
        return await self.ask(request)


class Octets:
    """A client that says what bacpypes3 would not: APDUs as octets."""

    def __init__(self, address: Address):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.address = address

    def ask(self, apdu: bytes, bound: float = BOUND) -> bytes | None:
        frame = bytes([0x81, 0x0A]) + (len(apdu) + 6).to_bytes(2, "big") + bytes([1, 4]) + apdu
        self.socket.sendto(frame, self.address)
        self.socket.settimeout(bound)
        try:
            return self.socket.recv(2048)[6:]
        except TimeoutError:
            return None

    def close(self) -> None:
        self.socket.close()


def read_percent(invoke: int) -> bytes:
    """ReadProperty, analog-value 1, Present_Value."""
    return bytes([0x00, 0x05, invoke, 12, 0x0C, 0x00, 0x80, 0, 1, 0x19, 85])


def write_percent(invoke: int, priority: int) -> bytes:
    """WriteProperty of 5.0 to analog-value 1."""
    head = bytes([0x00, 0x05, invoke, 15, 0x0C, 0x00, 0x80, 0, 1, 0x19, 85, 0x3E, 0x44])
    return head + bytes([0x40, 0xA0, 0, 0, 0x3F, 0x39 + 0x10, priority])


async def lists(run: Run, peer: Peer, address: Address) -> list:
    objects = await peer.read("device,47001", "object-list")
    if isinstance(objects, str):
        raise Failed(f"the object list cannot be read: {objects}")
    objects = list(objects)
    extra = [one for one in objects if one[1] >= FIRST and one[0] != DEVICE[0]]
    run.equal("the object list is read whole, 2,000 points in it", len(extra), EXTRA)
    run.equal("and names nothing twice", len(set(objects)), len(objects))
    run.equal("its length", await peer.read("device,47001", "object-list", 0), len(objects))
    for index in (1, 2, len(objects) // 2, len(objects)):
        run.equal(f"its element {index}", await peer.read("device,47001", "object-list", index), objects[index - 1])
    beyond = await peer.read("device,47001", "object-list", len(objects) + 1)
    run.equal("the one behind the last", beyond, "property: invalid-array-index")
    whole = await peer.many([DEVICE, ["object-list", "database-revision"]])
    run.check("ReadPropertyMultiple reads it whole, too", not isinstance(whole, str) and list(whole[0][3]) == objects)
    names = []
    for first in range(0, len(objects), 500):
        wanted = [part for one in objects[first : first + 500] for part in (one, ["object-name"])]
        results = await peer.many(wanted)
        if isinstance(results, str):
            raise Failed(f"names cannot be read: {results}")
        names += [value for *_, value in results]
    run.equal("every object has a name of its own", len({str(name) for name in names}), len(objects))
    for octets, segments, result in ((1024, 64, None), (206, 64, None), (128, 64, "buffer-overflow"), (480, 16, "buffer-overflow")):
        app = Listener(990, octets, segments)
        try:
            answer = await Peer(app, address).read("device,47001", "object-list")
        finally:
            app.close()
        if result is None:
            run.check(f"read with {octets} octets and {segments} segments", not isinstance(answer, str) and list(answer) == objects)
        else:
            run.equal(f"read with {octets} octets and {segments} segments", str(answer), result)
    return objects


async def errors(run: Run, peer: Peer, octets: Octets) -> None:
    nan, endless = Real(float("nan")), Real(float("inf"))
    for what, value, priority, prop, index, expected in (
        ("analog-value,1", Real(100.1), 10, "present-value", None, "property: value-out-of-range"),
        ("analog-value,1", Real(-0.1), 10, "present-value", None, "property: value-out-of-range"),
        ("analog-value,1", nan, 10, "present-value", None, "property: value-out-of-range"),
        ("analog-value,1", endless, 10, "present-value", None, "property: value-out-of-range"),
        ("analog-value,1", Real(5.0), 6, "present-value", None, "property: write-access-denied"),
        ("analog-value,1", Real(5.0), 10, "present-value", 1, "property: property-is-not-an-array"),
        ("analog-value,999", Real(5.0), 10, "present-value", None, "object: unknown-object"),
        ("analog-value,1", CharacterString("x"), None, "object-name", None, "property: write-access-denied"),
        ("analog-value,1", Enumerated(95), None, "units", None, "property: write-access-denied"),
        ("analog-input,12", Real(5.0), None, "present-value", None, "property: write-access-denied"),
        ("accumulator,1", Unsigned(5), None, "present-value", None, "property: write-access-denied"),
        ("accumulator,1", Unsigned(5), None, "value-set", None, "property: unknown-property"),
        ("multi-state-value,1", Unsigned(0), 10, "present-value", None, "property: value-out-of-range"),
        ("multi-state-value,1", Unsigned(6), 10, "present-value", None, "property: value-out-of-range"),
        ("binary-value,1", Enumerated(2), 10, "present-value", None, "property: value-out-of-range"),
        ("analog-value,1", Real(-1.0), None, "cov-increment", None, "property: value-out-of-range"),
        ("analog-value,1", nan, None, "cov-increment", None, "property: value-out-of-range"),
        ("device,47001", Integer(1441), None, "utc-offset", None, "property: value-out-of-range"),
    ):
        name = f"{what} {prop}{'' if index is None else f'[{index}]'} = {value} at {priority}"
        run.equal(name, await peer.write(what, value, priority, prop, index), expected)
    # bacpypes3 would make a REAL of each of these, or not send it.
    for invoke, (what, prop, value, code) in enumerate(
        (
            ("an Unsigned", 85, b"\x21\x05", 9),
            ("a Double", 85, b"\x55\x08\x40\x14" + bytes(6), 9),
            ("a text", 85, b"\x72\x00\x35", 9),
            ("two REALs", 85, (b"\x44\x40\xa0" + bytes(2)) * 2, 9),
            ("nothing", 85, b"", 9),
            ("an Unsigned as increment", 22, b"\x21\x05", 9),
            ("Null as increment", 22, b"\x00", 9),
            ("a REAL as Log_Buffer", 131, b"\x44\x40\xa0" + bytes(2), 32),
        ),
        60,
    ):
        head = bytes([0x00, 0x05, invoke, 15, 0x0C, 0x00, 0x80, 0, 1, 0x19, prop, 0x3E])
        answer = octets.ask(head + value + b"\x3f")
        run.equal(f"{what} to property {prop}", answer, bytes([0x50, invoke, 15, 0x91, 2, 0x91, code]))
    run.equal("nothing of it changed", await peer.read("analog-value,1", "present-value"), 0.0)
    for invoke, priority in ((1, 0), (2, 17), (3, 255)):
        answer = octets.ask(write_percent(invoke, priority))
        # services, parameter-out-of-range
        run.equal(f"priority {priority}", answer, bytes([0x50, invoke, 15, 0x91, 5, 0x91, 80]))
    for what, prop, index, expected in (
        ("analog-value,1", "priority-array", 17, "property: invalid-array-index"),
        ("analog-value,1", "units", 1, "property: property-is-not-an-array"),
        ("analog-value,1", "log-buffer", None, "property: unknown-property"),
        ("schedule,1", "present-value", None, "object: unknown-object"),
        ("accumulator,1", "present-value", None, "property: value-not-initialized"),
    ):
        run.equal(f"reading {what} {prop} {index or ''}", str(await peer.read(what, prop, index)), expected)
    for invoke, service in enumerate((6, 7, 10, 11, 18, 19, 21, 27, 99)):
        answer = octets.ask(bytes([0x00, 0x05, 20 + invoke, service]))
        run.equal(f"service {service} is not recognized", answer, bytes([0x60, 20 + invoke, 9]))


def malformed(run: Run, octets: Octets) -> None:
    """Requests that are none: the Reject with its reason (clause 18.9), and a device that goes on."""
    av1, value = b"\x0c\x00\x80\x00\x01", b"\x19\x55"
    real = b"\x44\x40\xa0\x00\x00"
    for invoke, (what, service, params, reason) in enumerate(
        (
            ("ReadProperty of nothing", 12, b"", 5),
            ("of an object without a property", 12, av1, 5),
            ("with its parameters in another order", 12, value + av1, 5),
            ("of three octets of an identifier", 12, b"\x0b\x00\x80\x00" + value, 4),
            ("of a property number of 4 GiB", 12, av1 + b"\x1d\xff\xff\xff\xff\xff" + bytes(5), 1),
            ("with one parameter more", 12, av1 + value + b"\x39\x01", 7),
            ("ReadPropertyMultiple of nothing", 14, b"", 5),
            ("of a list that does not end", 14, av1 + b"\x1e\x09\x55", 5),
            ("WriteProperty without a value", 15, av1 + value, 5),
            ("of a value that does not end", 15, av1 + value + b"\x3e" + real, 5),
            ("with a wrong end", 15, av1 + value + b"\x3e" + real + b"\x2f", 4),
            ("with a priority of nine octets", 15, av1 + value + b"\x3e" + real + b"\x3f\x4d\x09" + bytes(9), 4),
            ("of 60 constructions in one another", 15, av1 + value + b"\x3e" * 60 + b"\x3f" * 60, 4),
            ("SubscribeCOV of an object alone", 5, b"\x1c\x00\x80\x00\x01", 5),
            ("ReadRange of nothing", 26, b"", 5),
        ),
        120,
    ):
        answer = octets.ask(bytes([0x00, 0x05, invoke, service]) + params)
        run.equal(f"{what} is rejected", answer, bytes([0x60, invoke, reason]))
    # What stands where a value should: its tag says more than there is.
    for invoke, value_octets in enumerate((b"\x75\xfe\xff\xff", b"\x45\xff\x7f\xff\xff\xff", b"\xff" * 8), 150):
        answer = octets.ask(bytes([0x00, 0x05, invoke, 15]) + av1 + value + b"\x3e" + value_octets + b"\x3f")
        refused = answer is not None and answer[:2] in (bytes([0x60, invoke]), bytes([0x50, invoke]))
        run.check(f"a value of {value_octets.hex()} is refused", refused, answer)


async def out_of_service(run: Run, peer: Peer, site: RunSite) -> None:
    heat, state = "analog-input,12", "multi-state-value,10"
    real_state = int(await peer.read(state, "present-value"))

    async def shows(what: str) -> tuple:
        flags = [int(bit) for bit in await peer.read(what, "status-flags")]
        return await peer.read(what, "present-value"), flags, int(await peer.read(what, "reliability"))

    denied = "property: write-access-denied"
    run.equal("in service Present_Value is not written", await peer.write(heat, Real(33.5)), denied)
    run.equal("nor is Reliability", await peer.write(heat, Enumerated(0), None, "reliability"), denied)
    for what in (heat, state):
        run.equal(f"{what} out of service", await peer.write(what, Boolean(True), None, "out-of-service"), None)
    run.equal("Present_Value is written", await peer.write(heat, Real(33.5)), None)
    run.equal("Reliability, too", await peer.write(heat, Enumerated(0), None, "reliability"), None)
    run.equal("that is what it shows", await shows(heat), (33.5, [0, 0, 0, 1], 0))
    run.equal("a fault is simulated", await peer.write(heat, Enumerated(1), None, "reliability"), None)
    run.equal("and shown", await shows(heat), (33.5, [0, 1, 0, 1], 1))
    safety = 9
    run.equal("a state is simulated", await peer.write(state, Unsigned(safety)), None)
    run.equal("and shown", int(await peer.read(state, "present-value")), safety)
    with Raw(site.modbus) as modbus:
        run.equal("Modbus shows what is", modbus.ask(read_pdu(4, 0, 1)), bytes([4, 2, 0, real_state]))
    for value, expected in (
        (Real(float("nan")), "property: value-out-of-range"),
        (Real(float("inf")), "property: value-out-of-range"),
    ):
        run.equal(f"{value} is not simulated", await peer.write(heat, value), expected)
    run.equal("nor is state 11", await peer.write(state, Unsigned(11)), "property: value-out-of-range")
    for what in ("analog-value,1", "analog-value,4", "binary-value,20", "accumulator,1", "large-analog-value,1", "binary-input,7"):
        answer = await peer.write(what, Boolean(True), None, "out-of-service")
        run.equal(f"{what} stays in service", (answer, bool(await peer.read(what, "out-of-service"))), (denied, False))
    for what in (heat, state):
        run.equal(f"{what} in service", await peer.write(what, Boolean(False), None, "out-of-service"), None)
    run.equal("it shows what is", int(await peer.read(state, "present-value")), real_state)
    run.equal("and is not written any more", await peer.write(heat, Real(1.0)), denied)


def flood(run: Run, address: Address) -> None:
    """10,000 subscriptions of one peer, 32 on their way at a time: its share and what is free, then resources /
    no-space-to-add-list-element; another peer is served."""
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.bind(("127.0.0.1", 0))
    one.settimeout(BOUND)
    answers: dict[bytes, int] = {}
    for first in range(0, 10_000, 32):
        wanted = range(first, min(first + 32, 10_000))
        for process in wanted:
            params = b"\x0a" + process.to_bytes(2, "big") + b"\x1c\x00\x80\x00\x01\x29\x00\x3a\x01\x2c"
            apdu = bytes([0x00, 0x05, process % 256, 5]) + params
            one.sendto(bytes([0x81, 0x0A]) + (len(apdu) + 6).to_bytes(2, "big") + bytes([1, 4]) + apdu, address)
        waiting = {process % 256 for process in wanted}
        while waiting:
            try:
                apdu = one.recv(2048)[6:]
            except TimeoutError:
                raise Failed(f"{len(waiting)} subscriptions were not answered") from None
            # Notifications come in between.
            if apdu[0] >> 4 in (2, 5) and apdu[1] in waiting:
                waiting.discard(apdu[1])
                answer = apdu[:1] + apdu[2:]
                answers[answer] = answers.get(answer, 0) + 1
    no_space = bytes([0x50, 5, 0x91, 3, 0x91, 19])
    run.equal("10,000 subscriptions of one peer", answers, {bytes([0x20, 5]): 1_536, no_space: 10_000 - 1_536})
    two = Octets(address)
    apdu = bytes([0x00, 0x05, 1, 5, 0x09, 1, 0x1C, 0x00, 0x80, 0, 1, 0x29, 0, 0x39, 60])
    run.equal("another peer subscribes", two.ask(apdu), bytes([0x20, 1, 5]))
    two.close()
    one.close()


async def priorities(run: Run, peer: Peer) -> None:
    async def shown() -> tuple:
        value = await peer.read("analog-value,1", "present-value")
        current = await peer.read("analog-value,1", "current-command-priority")
        return value, getattr(current, "unsigned", None)

    for value, priority, expected in (
        (Real(20.0), None, (20.0, 16)),
        (Real(30.0), 12, (30.0, 12)),
        (Real(40.0), 8, (40.0, 8)),
        (Real(50.0), 14, (40.0, 8)),
        (Null(()), 8, (30.0, 12)),
        (Null(()), 12, (50.0, 14)),
        (Null(()), 14, (20.0, 16)),
        (Null(()), 16, (0.0, None)),
    ):
        run.equal(f"analog-value 1 = {value} at {priority}", await peer.write("analog-value,1", value, priority), None)
        run.equal("  shows", await shown(), expected)
    slots = await peer.read("analog-value,1", "priority-array")
    run.equal("every slot is empty again", len([slot for slot in slots if slot.null is None]), 0)


async def changes(run: Run, peer: Peer) -> None:
    app = peer.app
    for confirmed in (False, True):
        kind, process = ("confirmed", 21) if confirmed else ("unconfirmed", 20)
        run.equal(f"{kind} subscription", await peer.subscribe(process, "analog-value,1", confirmed, 60), None)
        first = await app.next(process, "the first value")
        run.equal("  its first notification", set(first["values"]), {"present-value", "status-flags"})
        run.equal("  and its time remaining", first["remaining"], 60)
        began = time.monotonic()
        await peer.write("analog-value,1", Real(33.0 + process), 10)
        second = await app.next(process, "the change")
        took = time.monotonic() - began
        run.equal("  what it tells", float(second["values"]["present-value"].cast_out(Real)), 33.0 + process)
        run.check("  within two seconds of the write", took < 2.0, f"{took * 1000:.0f} ms")
    run.equal("a renewal", await peer.subscribe(20, "analog-value,1", False, 120), None)
    run.equal("  in place", (await app.next(20, "the renewal"))["remaining"], 120)
    listed = await peer.read("device,47001", "active-cov-subscriptions")
    run.equal("Active_COV_Subscriptions", len(listed), 2)

    run.equal("COV_Increment is written", await peer.write("analog-value,1", Real(10.0), None, "cov-increment"), None)
    await peer.write("analog-value,1", Real(10.0), 10)
    run.equal("  a step above it is told", float((await app.next(20, "10"))["values"]["present-value"].cast_out(Real)), 10.0)
    await peer.write("analog-value,1", Real(15.0), 10)
    await peer.write("analog-value,1", Real(20.0), 10)
    told = float((await app.next(20, "20"))["values"]["present-value"].cast_out(Real))
    run.equal("  one below it is not", told, 20.0)
    for process in (20, 21):
        run.equal("a cancellation", await peer.subscribe(process, "analog-value,1", None, None), None)
    run.equal("  and one more of the same", await peer.subscribe(20, "analog-value,1", None, None), None)
    run.equal("no subscription is left", len(await peer.read("device,47001", "active-cov-subscriptions")), 0)
    for what, expected in (
        ("accumulator,1", "object: optional-functionality-not-supported"),
        ("device,47001", "object: optional-functionality-not-supported"),
        ("analog-value,999", "object: unknown-object"),
    ):
        run.equal(f"SubscribeCOV of {what}", await peer.subscribe(1, what, False, 60), expected)


async def properties(run: Run, peer: Peer, octets: Octets) -> None:
    app = peer.app
    app.told.clear()
    for process, prop, confirmed, step, index in (
        (30, "present-value", False, 4.0, None),
        (31, "current-command-priority", True, None, None),
        (32, "priority-array", False, None, 9),
        (33, "reliability", True, None, None),
    ):
        run.equal(f"SubscribeCOVProperty of {prop}", await peer.watch(process, "analog-value,1", prop, confirmed, step, index), None)
        first = await app.next(process, prop)
        run.equal("  what it tells", set(first["values"]), {prop, "status-flags"})
    await peer.write("analog-value,1", Real(23.0), 10)
    await peer.write("analog-value,1", Real(27.0), 9)
    told = await app.next(30, "27")
    run.equal("the subscriber's own increment of 4 rules", float(told["values"]["present-value"].cast_out(Real)), 27.0)
    ruling = (await app.next(31, "priority 9"))["values"]["current-command-priority"]
    run.equal("the ruling priority is told", int(ruling.cast_out(Unsigned)), 9)
    run.equal("slot 9 is told", float((await app.next(32, "slot 9"))["values"]["priority-array"].cast_out(Real)), 27.0)
    for priority in (9, 10):
        await peer.write("analog-value,1", Null(()), priority)
    # bacpypes3 cannot read an error of this service: in octets.
    nan, below = struct.pack(">f", float("nan")), struct.pack(">f", -1.0)
    for invoke, (what, instance, prop, index, step, expected) in enumerate(
        (
            ("an unknown object", 999, 85, b"", b"", (1, 31)),
            ("an unknown property", 1, 131, b"", b"", (2, 32)),
            ("Description", 1, 28, b"", b"", (2, 44)),
            ("an element of no array", 1, 85, b"\x19\x01", b"", (2, 50)),
            ("slot 17", 1, 87, b"\x19\x11", b"", (2, 42)),
            ("an increment that is no number", 1, 85, b"", b"\x5c" + nan, (5, 80)),
            ("an increment below 0", 1, 85, b"", b"\x5c" + below, (5, 80)),
        ),
        100,
    ):
        head = bytes([0x00, 0x05, invoke, 28, 0x09, 40, 0x1C, 0x00, 0x80]) + instance.to_bytes(2, "big")
        apdu = head + bytes([0x29, 0, 0x39, 60, 0x4E, 0x09, prop]) + index + b"\x4f" + step
        error = bytes([0x50, invoke, 28, 0x91, expected[0], 0x91, expected[1]])
        run.equal(f"SubscribeCOVProperty of {what}", octets.ask(apdu), error)


async def management(run: Run, peer: Peer, octets: Octets) -> None:
    failure = "security: password-failure"
    for password in (None, "wrong", PASSWORD + "x"):
        run.equal(f"communication control with {password}", await peer.control("disable", password), failure)
        run.equal(f"a restart with {password}", await peer.restart("warmstart", password), failure)
    run.equal("initiation is stopped", await peer.control("disableInitiation", PASSWORD, 1), None)
    peer.app.told.clear()
    run.equal("  a write is answered", await peer.write("analog-value,1", Real(60.0), 10), None)
    run.equal("  so is a read", await peer.read("analog-value,1", "present-value"), 60.0)
    run.equal("communication is stopped", await peer.control("disable", PASSWORD), None)
    run.equal("  a read is not answered", octets.ask(read_percent(40), 1.0), None)
    run.equal("  nor is Who-Is", octets.ask(bytes([0x10, 8]), 0.5), None)
    run.equal("communication is back", await peer.control("enable", PASSWORD), None)
    answer = octets.ask(read_percent(41))
    run.equal("  a read is answered", answer and answer[:3], bytes([0x30, 41, 12]))
    told = await peer.app.next(30, "what was missed")
    run.equal("  and a subscriber hears what it missed", float(told["values"]["present-value"].cast_out(Real)), 60.0)
    for state in ("startBackup", "endBackup", "startRestore", "endRestore", "abortRestore"):
        answer = await peer.restart(state, PASSWORD)
        run.equal(state, answer, "services: optional-functionality-not-supported")

    stamp = datetime.datetime(2030, 5, 6, 7, 8, 9)
    fields = {"date": Date(stamp.date()), "time": Time(stamp.time())}

    async def local() -> datetime.datetime:
        date, clock = await peer.read("device,47001", "local-date"), await peer.read("device,47001", "local-time")
        return datetime.datetime(date[0] + 1900, date[1], date[2], clock[0], clock[1], clock[2])

    async def synchronize(request, at: datetime.datetime, what: str) -> None:
        request.pduDestination = peer.at
        await peer.app.request(request)
        shown = await local()
        run.check(what, datetime.timedelta() <= shown - at < datetime.timedelta(seconds=30), shown)

    moved = TimeSynchronizationRequest(time=DateTime(**fields))
    await synchronize(moved, stamp, "TimeSynchronization sets the local time")
    run.equal("UTC_Offset is written", await peer.write("device,47001", Integer(-120), None, "utc-offset"), None)
    moved = UTCTimeSynchronizationRequest(time=DateTime(**fields))
    two = datetime.timedelta(hours=2)
    await synchronize(moved, stamp + two, "UTCTimeSynchronization sets it with the offset")

    reason = await peer.read("device,47001", "last-restart-reason")
    run.equal("Last_Restart_Reason of a first start", str(reason), "unknown")
    port = peer.app.udp
    recipient = Recipient(address=DeviceAddress(networkNumber=0, macAddress=bytes([127, 0, 0, 1]) + port.to_bytes(2, "big")))
    answer = await peer.write("device,47001", ListOf(Recipient)([recipient]), None, "restart-notification-recipients")
    run.equal("Restart_Notification_Recipients is written", answer, None)
    run.equal("a warm start", await peer.restart("warmstart", PASSWORD), None)
    told = await peer.app.next(0, "the restart")
    run.equal("  is told", sorted(told["values"]), ["last-restart-reason", "system-status", "time-of-device-restart"])
    run.equal("  of the device", told["object"], "device,47001")
    run.equal("  as such", str(await peer.read("device,47001", "last-restart-reason")), "warmstart")
    run.equal("  ends the subscriptions", len(await peer.read("device,47001", "active-cov-subscriptions")), 0)
    run.equal("  and no command", await peer.read("analog-value,1", "present-value"), 60.0)


def with_peer(site: RunSite, dialogue, bound: float = 120.0):
    """One dialogue of a bacpypes3 application of 1,024 octets and of raw octets."""

    async def main():
        app, octets = Listener(999, 1024), Octets(site.bacnet)
        try:
            return await asyncio.wait_for(dialogue(Peer(app, site.bacnet), octets), bound)
        finally:
            app.close()
            octets.close()

    try:
        return asyncio.run(main())
    except TimeoutError:
        raise Failed(f"the dialogue took longer than {bound:g} s") from None


def statement(run: Run, site: RunSite) -> None:
    argv = [str(site.run.binary), "handover", "-c", str(site.config), "--pics"]
    code, out, err = command(argv, env=site.env)
    run.equal("the conformance statement is printed", (code, out[:50]), (0, "# BACnet Protocol Implementation Conformance State"))
    code, out, err = command([*argv, "--json"], env=site.env)
    pics = json.loads(out) if code == 0 else {}
    names = {block["name"] for block in pics.get("bibbs", [])}
    wanted = {"DS-RP-B", "DS-RPM-B", "DS-WP-B", "DS-WPM-B", "DS-COV-B", "DS-COVP-B", "DM-DDB-B", "DM-DOB-B"}
    wanted |= {"DM-DCC-B", "DM-TS-B", "DM-UTC-B", "DM-RD-B", "GW-EO-B"}
    run.equal("with the building blocks of a gateway", sorted(wanted - names), [])

    async def told(peer: Peer, _: Octets) -> list[int]:
        bits = await peer.read("device,47001", "protocol-services-supported")
        return [place for place, bit in enumerate(bits) if bit]

    executed = sorted(service["bit"] for service in pics.get("services", []) if service["executes"])
    run.equal("Protocol_Services_Supported says the same", with_peer(site, told), executed)


def main(run: Run) -> None:
    run.peer(
        "bacpypes3",
        python_version("bacpypes3"),
        "2,000 objects in segments; errors by class and code; priorities; objects out of service; COV and "
        "SubscribeCOVProperty; communication control, time synchronization and restarts",
    )
    run.peer("tshark", package_version("tshark"), "dissects every frame that the gateway sends there")
    site = RunSite(run, parts=False)
    mapping = site.files / "mappings" / "demo.toml"
    point = '\n[[point]]\nname = "extra/p{n:04}"\ndescription = "Extra {n}"\nunit = "degC"\nrange = [0, 100]\ndefault = 20\nbms = {{ bacnet = "analog-value:{at}" }}\n'
    extra = "".join(point.format(n=n, at=FIRST + n) for n in range(EXTRA))
    mapping.write_text(mapping.read_text() + extra)
    secret = site.files / "config" / "bacnet.password"
    secret.write_text(PASSWORD + "\n")
    site.env["HEATGATE__BACNET__PASSWORD_FILE"] = secret.name

    frames = Frames(run, site.bacnet[1])
    gateway, _ = site.spawn_and_time()
    statement(run, site)

    async def walk(peer: Peer, octets: Octets) -> int:
        await lists(run, peer, site.bacnet)
        await errors(run, peer, octets)
        malformed(run, octets)
        await out_of_service(run, peer, site)
        await priorities(run, peer)
        await changes(run, peer)
        await properties(run, peer, octets)
        await management(run, peer, octets)
        revision = await peer.read("device,47001", "database-revision")
        run.equal("a cold start is acknowledged", await peer.restart("coldstart", PASSWORD), None)
        return revision

    revision = with_peer(site, walk, 150.0)
    run.equal("  and ends the gateway in order, to be started again", gateway.wait_exit(30.0), 75)
    # The malformed requests are ours.
    frames.report(run, 14, sent_by=site.bacnet[1])

    async def kept(peer: Peer, _: Octets) -> tuple:
        return (
            await peer.read("analog-value,1", "cov-increment"),
            await peer.read("device,47001", "utc-offset"),
            await peer.read("device,47001", "database-revision"),
            (await peer.read("device,47001", "local-date"))[0] + 1900,
        )

    gateway, _ = site.spawn_and_time()
    async def why(peer: Peer, _: Octets) -> str:
        return str(await peer.read("device,47001", "last-restart-reason"))

    run.equal("Last_Restart_Reason is remembered", with_peer(site, why), "coldstart")
    memory = "COV_Increment, UTC_Offset, Database_Revision and the clock are remembered"
    run.equal(memory, with_peer(site, kept), (10.0, -120, revision, 2030))
    run.equal("a SIGTERM ends it with 0", gateway.stop(), 0)
    mapping.write_text(mapping.read_text() + point.format(n=EXTRA, at=FIRST + EXTRA))
    gateway, _ = site.spawn_and_time()
    run.equal("one object more: Database_Revision moves by one", with_peer(site, kept)[2], revision + 1)
    flood(run, site.bacnet)
    run.equal("a SIGTERM ends it with 0", gateway.stop(), 0)


start(main)
