"""bacpypes3 as the recipient of alarms of `heatgate run`: told confirmed and unconfirmed, by device and by address; it
acknowledges, asks for events and alarms; the gateway is killed and everything is still there. A dead recipient stands in
the list all the while. tshark dissects every frame."""

from __future__ import annotations

import asyncio
import socket

from bacpypes3.apdu import (
    AcknowledgeAlarmRequest,
    AddListElementRequest,
    ErrorRejectAbortNack,
    GetAlarmSummaryRequest,
    GetEventInformationRequest,
    RemoveListElementRequest,
    SimpleAckPDU,
)
from bacpypes3.basetypes import DateTime, Destination, DeviceAddress, EventState, TimeStamp
from bacpypes3.constructeddata import Any, ListOf
from bacpypes3.ipv4.app import NormalApplication
from bacpypes3.local.device import DeviceObject
from bacpypes3.pdu import Address as BacnetAddress
from bacpypes3.pdu import IPv4Address
from bacpypes3.primitivedata import Date, ObjectIdentifier, Time

from capture import Capture, count
from harness import Failed, Run, command, free_port, package_version, python_version, start
from run_site import RunSite

GATEWAY = ObjectIdentifier("device,47001")
CLASS = ObjectIdentifier("notification-class,1")
STOP_ALARM = ObjectIdentifier("binary-input,7")
STOP_INPUT = ObjectIdentifier("binary-value,20")
BY_DEVICE, BY_ADDRESS, DEAD = 901, 902, 903
# No dialogue takes longer, seconds; the machine may be busy.
BOUND = 20.0


class Recipient(NormalApplication):
    """A device that hears notifications; it is found at its address and confirms what asks for that."""

    def __init__(self, number: int):
        self.port = free_port(socket.SOCK_DGRAM)
        device = DeviceObject(
            objectIdentifier=("device", number), objectName=f"recipient {number}", vendorIdentifier=999
        )
        super().__init__(device, IPv4Address(f"127.0.0.1/32:{self.port}"))
        self.heard: list = []
        self.news = asyncio.Event()

    def hear(self, confirmed: bool, apdu) -> None:
        self.heard.append((confirmed, apdu))
        self.news.set()

    async def do_ConfirmedEventNotificationRequest(self, apdu) -> None:
        self.hear(True, apdu)
        await self.response(SimpleAckPDU(context=apdu))

    async def do_UnconfirmedEventNotificationRequest(self, apdu) -> None:
        self.hear(False, apdu)

    async def next(self, wanted, what: str):
        """The first that was not taken yet and fits; those of other alarms are passed over."""

        async def look():
            while True:
                for place, (confirmed, apdu) in enumerate(self.heard):
                    if wanted(apdu):
                        del self.heard[place]
                        return confirmed, apdu
                self.news.clear()
                await self.news.wait()

        try:
            return await asyncio.wait_for(look(), BOUND)
        except asyncio.TimeoutError as late:
            raise Failed(f"{what}: not heard within {BOUND:g} s") from late


def about(to_state: str, notify: str):
    def fits(apdu) -> bool:
        return (
            apdu.eventObjectIdentifier == STOP_ALARM
            and str(apdu.toState) == to_state
            and str(apdu.notifyType) == notify
        )

    return fits


def destination(recipient: dict, process: int, confirmed: bool) -> Destination:
    return Destination(
        validDays=[1] * 7,
        fromTime=(0, 0, 0, 0),
        toTime=(23, 59, 59, 99),
        recipient=recipient,
        processIdentifier=process,
        issueConfirmedNotifications=confirmed,
        transitions=[1, 1, 1],
    )


def at(port: int) -> dict:
    mac = bytes([127, 0, 0, 1]) + port.to_bytes(2, "big")
    return {"address": DeviceAddress(networkNumber=0, macAddress=mac)}


def bits(value) -> list[int]:
    return [int(bit) for bit in value]


class Site:
    """The gateway as one of the recipients sees it."""

    def __init__(self, run: Run, site: RunSite, app: Recipient):
        self.run, self.app = run, app
        self.peer = BacnetAddress(f"{site.bacnet[0]}:{site.bacnet[1]}")

    async def ask(self, request):
        request.pduDestination = self.peer
        try:
            return await asyncio.wait_for(self.app.request(request), BOUND)
        except ErrorRejectAbortNack as error:
            return error

    async def read(self, of: ObjectIdentifier, prop: str):
        return await asyncio.wait_for(self.app.read_property(self.peer, of, prop), BOUND)

    async def write(self, of: ObjectIdentifier, prop: str, value, priority: int | None = None):
        try:
            return await asyncio.wait_for(
                self.app.write_property(self.peer, of, prop, value, None, priority), BOUND
            )
        except ErrorRejectAbortNack as error:
            return error

    async def acknowledge(self, apdu, state: str, stamp=None):
        return await self.ask(
            AcknowledgeAlarmRequest(
                acknowledgingProcessIdentifier=1,
                eventObjectIdentifier=apdu.eventObjectIdentifier,
                eventStateAcknowledged=EventState(state),
                timeStamp=stamp or apdu.timeStamp,
                acknowledgmentSource="operator",
                timeOfAcknowledgment=TimeStamp(dateTime=DateTime(date=Date((125, 1, 1, 3)), time=Time((1, 2, 3, 4)))),
            )
        )

    async def events(self) -> dict:
        found: dict = {}
        last = None
        while True:
            ack = await self.ask(GetEventInformationRequest(lastReceivedObjectIdentifier=last))
            for summary in ack.listOfEventSummaries:
                found[str(summary.objectIdentifier)] = summary
                last = summary.objectIdentifier
            if not ack.moreEvents:
                return found

    async def alarms(self) -> dict:
        ack = await self.ask(GetAlarmSummaryRequest())
        return {str(one.objectIdentifier): one for one in ack.listOfAlarmSummaries}

    async def announce(self, app: Recipient, until: asyncio.Event) -> None:
        """The Who-Is of the gateway goes to everybody at its own port, where nobody else can listen here."""
        while not until.is_set():
            app.i_am(address=self.peer)
            try:
                await asyncio.wait_for(until.wait(), 0.5)
            except asyncio.TimeoutError:
                pass


async def dialogue(run: Run, site: RunSite, gateway) -> None:
    first, second = Recipient(BY_DEVICE), Recipient(BY_ADDRESS)
    bms = Site(run, site, first)
    found = asyncio.Event()
    announcing = asyncio.create_task(bms.announce(first, found))
    try:
        listed = await bms.read(GATEWAY, "object-list")
        run.check("the notification class is in the object list", CLASS in listed, len(listed))
        run.equal("its priorities", [int(one) for one in await bms.read(CLASS, "priority")], [127, 191, 255])
        run.equal("what it wants acknowledged", bits(await bms.read(CLASS, "ack-required")), [1, 1, 0])
        run.equal("nobody is told yet", len(await bms.read(CLASS, "recipient-list")), 0)
        # A dead one first: nobody may wait for it.
        whole = [
            destination(at(free_port(socket.SOCK_DGRAM)), 5, True),
            destination({"device": ObjectIdentifier(f"device,{DEAD}")}, 6, True),
            destination({"device": ObjectIdentifier(f"device,{BY_DEVICE}")}, 7, True),
        ]
        run.equal("a list of recipients is written", await bms.write(CLASS, "recipient-list", ListOf(Destination)(whole)), None)
        more = Any(ListOf(Destination)([destination(at(second.port), 8, False)]))
        added = await bms.ask(
            AddListElementRequest(objectIdentifier=CLASS, propertyIdentifier="recipientList", listOfElements=more)
        )
        run.check("AddListElement adds one", isinstance(added, SimpleAckPDU), added)
        extra = Any(ListOf(Destination)([destination(at(9), 1, False)]))
        for request, length in ((AddListElementRequest, 5), (RemoveListElementRequest, 4)):
            done = await bms.ask(request(objectIdentifier=CLASS, propertyIdentifier="recipientList", listOfElements=extra))
            run.check(f"{request.__name__} is taken", isinstance(done, SimpleAckPDU), done)
            run.equal("recipients then", len(await bms.read(CLASS, "recipient-list")), length)
        run.equal("four recipients", len(await bms.read(CLASS, "recipient-list")), 4)

        run.equal("the emergency stop is pressed", await bms.write(STOP_INPUT, "present-value", "active", 8), None)
        confirmed, told = await first.next(about("offnormal", "alarm"), "the alarm, by device")
        unconfirmed, also = await second.next(about("offnormal", "alarm"), "the alarm, by address")
        run.equal("confirmed to the device, unconfirmed to the address", (confirmed, unconfirmed), (True, False))
        run.equal("each with its process", (int(told.processIdentifier), int(also.processIdentifier)), (7, 8))
        run.equal("from the gateway", told.initiatingDeviceIdentifier, GATEWAY)
        run.equal("class and priority", (int(told.notificationClass), int(told.priority)), (1, 127))
        run.equal("its event type", str(told.eventType), "change-of-state")
        run.equal("from normal", str(told.fromState), "normal")
        run.equal("it wants an acknowledgement", bool(told.ackRequired), True)
        run.equal("it says what", str(told.messageText), "The emergency stop is active or latched: alarm")
        values = told.eventValues.changeOfState
        run.equal("the new state", str(values.newState.binaryValue), "active")
        run.equal("in alarm and nothing else", bits(values.statusFlags), [1, 0, 0, 0])
        stamps = await bms.read(STOP_ALARM, "event-time-stamps")
        run.equal("the time stamp is the object's", str(stamps[0].dateTime), str(told.timeStamp.dateTime))
        run.equal("both are told the same time", str(also.timeStamp.dateTime), str(told.timeStamp.dateTime))
        run.equal("Event_State", str(await bms.read(STOP_ALARM, "event-state")), "offnormal")
        run.equal("Status_Flags", bits(await bms.read(STOP_ALARM, "status-flags")), [1, 0, 0, 0])
        run.equal("Acked_Transitions", bits(await bms.read(STOP_ALARM, "acked-transitions")), [0, 1, 1])
        summary = (await bms.events()).get(str(STOP_ALARM))
        run.check("GetEventInformation has it", summary is not None)
        if summary is not None:
            run.equal("unacknowledged there", bits(summary.acknowledgedTransitions), [0, 1, 1])
            run.equal("with the class's priorities", [int(one) for one in summary.eventPriorities], [127, 191, 255])
        run.check("GetAlarmSummary has it", str(STOP_ALARM) in await bms.alarms())

        refused = await bms.acknowledge(told, "fault")
        run.check("another state is refused", "invalid-event-state" in str(refused), refused)
        old = TimeStamp(dateTime=DateTime(date=Date((100, 1, 1, 6)), time=Time((0, 0, 0, 0))))
        refused = await bms.acknowledge(told, "offnormal", old)
        run.check("another time is refused", "invalid-time-stamp" in str(refused), refused)

        # Killed before the acknowledgement: the alarm, its time and the recipients must be there again.
        await asyncio.to_thread(gateway.kill9)
        gateway, _ = await asyncio.to_thread(site.spawn_and_time)
        run.equal("four recipients after a kill", len(await bms.read(CLASS, "recipient-list")), 4)
        run.equal("still unacknowledged", bits(await bms.read(STOP_ALARM, "acked-transitions")), [0, 1, 1])
        again = await bms.read(STOP_ALARM, "event-time-stamps")
        run.equal("the time stamp survived", str(again[0].dateTime), str(told.timeStamp.dateTime))
        done = await bms.acknowledge(told, "offnormal")
        run.check("the acknowledgement is taken", isinstance(done, SimpleAckPDU), done)
        confirmed, ack = await first.next(about("offnormal", "ack-notification"), "the acknowledgement, by device")
        run.equal("it is confirmed too", confirmed, True)
        run.check("without values", ack.eventValues is None and ack.fromState is None, ack.eventValues)
        await second.next(about("offnormal", "ack-notification"), "the acknowledgement, by address")
        run.equal("Acked_Transitions says so", bits(await bms.read(STOP_ALARM, "acked-transitions")), [1, 1, 1])
        await asyncio.to_thread(gateway.kill9)
        gateway, _ = await asyncio.to_thread(site.spawn_and_time)
        run.equal("the acknowledgement survived", bits(await bms.read(STOP_ALARM, "acked-transitions")), [1, 1, 1])
        run.equal("the alarm is not told again", [one for one in first.heard if about("offnormal", "alarm")(one[1])], [])

        run.equal("the stop is released", await bms.write(STOP_INPUT, "present-value", "inactive", 8), None)
        code, out, err = await asyncio.to_thread(
            command, [str(run.binary), "rearm", "hall", "--state-dir", str(site.state)]
        )
        run.equal("a person re-arms", code, 0)
        _, back = await first.next(about("normal", "alarm"), f"back to normal ({out}{err})")
        run.equal("from offnormal", str(back.fromState), "offnormal")
        run.equal("nobody needs to acknowledge that", bool(back.ackRequired), False)
        run.equal("Status_Flags are clear", bits(await bms.read(STOP_ALARM, "status-flags")), [0, 0, 0, 0])
        # bacpypes3 cannot read a GetAlarmSummary answer without any alarm: it has no octets.
        run.check("GetEventInformation has it no longer", str(STOP_ALARM) not in await bms.events())
    finally:
        found.set()
        await announcing
        first.close()
        second.close()
        await asyncio.to_thread(gateway.stop, 20.0)


def main(run: Run) -> None:
    run.peer("bacpypes3", python_version("bacpypes3"), "is told of alarms, acknowledges, and asks what is going on")
    run.peer("tshark", package_version("tshark"), "dissects every frame of it: none is malformed")
    site = RunSite(run, parts=False)
    capture = Capture(run, [site.bacnet[1]])
    gateway, _ = site.spawn_and_time()
    asyncio.run(dialogue(run, site, gateway))
    capture.end()
    port = site.bacnet[1]
    decode = [f"udp.port=={port},bvlc"]
    for name, query in (
        ("confirmed notifications", "bacapp.confirmed_service == 2"),
        ("unconfirmed notifications", "bacapp.unconfirmed_service == 3"),
        ("acknowledgements", "bacapp.confirmed_service == 0"),
    ):
        seen, _ = count(capture, decode, f"udp.port=={port} && {query}")
        run.check(f"{name} were dissected", seen > 0, seen)
    bad, rows = count(capture, decode, f"udp.port=={port} && (_ws.malformed || _ws.expert.severity == error)")
    run.check("no malformed frame", bad == 0, rows)


start(main)
