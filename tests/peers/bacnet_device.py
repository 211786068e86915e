"""A bacpypes3 device for tests: `python bacnet_device.py ADDRESS:PORT INSTANCE CONTROL_PORT [no-rpm] [no-cov] [apdu=480]`.

150 analog inputs whose values are the time at which they were set (s, modulo 100000), each set once in PERIOD; 6 binary
inputs, 10 multi-state inputs and a commandable analog value. A UDP control port answers `status` and `drop` (forget all
subscriptions without a word) with JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

from bacpypes3.ipv4.app import NormalApplication
from bacpypes3.local.analog import AnalogInputObject, AnalogValueObject
from bacpypes3.local.binary import BinaryInputObject
from bacpypes3.local.cmd import Commandable
from bacpypes3.local.device import DeviceObject
from bacpypes3.local.multistate import MultiStateInputObject
from bacpypes3.pdu import IPv4Address
from bacpypes3.service.cov import ChangeOfValueServices

PERIOD = 4.0
ANALOG, BINARY, MULTI = 150, 6, 10
TEXTS = ["off", "heating", "cooling"]


class Command(Commandable, AnalogValueObject):
    """An analog value with a priority array."""


class Full(NormalApplication, ChangeOfValueServices):
    def __init__(self, *args, **kwargs):
        ChangeOfValueServices.__init__(self)
        NormalApplication.__init__(self, *args, **kwargs)

    def subscriptions(self) -> int:
        return sum(len(detection.cov_subscriptions) for detection in self._cov_detections.values())

    def drop(self) -> None:
        for detection in list(self._cov_detections.values()):
            for subscription in list(detection.cov_subscriptions):
                self.cancel_subscription(subscription)
                subscription.cancel_subscription()
        self._cov_detections.clear()


def without(*services: str) -> type[Full]:
    """The same, as if it had never heard of these services."""

    class Less(Full):
        def __getattribute__(self, name: str):
            if name in services:
                raise AttributeError(name)
            return super().__getattribute__(name)

    return Less


def now() -> float:
    return round(time.time() % 100000, 1)


class Control(asyncio.DatagramProtocol):
    def __init__(self, app: Full, command: Command):
        self.app = app
        self.command = command

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data: bytes, peer):
        if data == b"drop":
            self.app.drop()
        slot = self.command.priorityArray[13]
        slot = None if slot is None or slot._choice == "null" else float(getattr(slot, slot._choice))
        status = {"subscriptions": self.app.subscriptions(), "slot14": slot, "value": float(self.command.presentValue)}
        self.transport.sendto(json.dumps(status).encode(), peer)


async def main() -> None:
    address, instance, control, *less = sys.argv[1:]
    apdu = next((int(word[5:]) for word in less if word.startswith("apdu=")), 1024)
    host, _, port = address.partition(":")
    device = DeviceObject(
        objectIdentifier=("device", int(instance)),
        objectName=f"device {instance}",
        vendorIdentifier=999,
        vendorName="test",
        modelName="bacpypes3",
        maxApduLengthAccepted=apdu,
        segmentationSupported="segmentedBoth",
        maxSegmentsAccepted=64,
        databaseRevision=1,
    )
    hidden = []
    if "no-rpm" in less:
        hidden.append("do_ReadPropertyMultipleRequest")
    if "no-cov" in less:
        hidden.append("do_SubscribeCOVRequest")
    app = (without(*hidden) if hidden else Full)(device, IPv4Address(f"{host}/32:{port}"))
    inputs = []
    for n in range(ANALOG):
        inputs.append(
            AnalogInputObject(
                objectIdentifier=("analog-input", n),
                objectName=f"Temperature {n}",
                description=f"Number {n}",
                presentValue=now(),
                statusFlags=[0, 0, 0, 0],
                eventState="normal",
                outOfService=False,
                units="degreesCelsius",
                covIncrement=0.05,
                reliability="noFaultDetected",
            )
        )
    states = [
        BinaryInputObject(
            objectIdentifier=("binary-input", n),
            objectName=f"Pump {n}",
            presentValue="active" if n % 2 else "inactive",
            statusFlags=[0, 0, 0, 0],
            eventState="normal",
            outOfService=False,
            polarity="normal",
            inactiveText="stands",
            activeText="runs",
        )
        for n in range(BINARY)
    ]
    states += [
        MultiStateInputObject(
            objectIdentifier=("multi-state-input", n),
            objectName=f"Mode {n}",
            presentValue=n % 3 + 1,
            numberOfStates=3,
            stateText=TEXTS,
            statusFlags=[0, 0, 0, 0],
            eventState="normal",
            outOfService=False,
        )
        for n in range(MULTI)
    ]
    command = Command(
        objectIdentifier=("analog-value", 0),
        objectName="Setpoint",
        presentValue=5.0,
        relinquishDefault=5.0,
        statusFlags=[0, 0, 0, 0],
        eventState="normal",
        outOfService=False,
        units="degreesCelsius",
        covIncrement=0.1,
    )
    for obj in [*inputs, *states, command]:
        app.add_object(obj)
    loop = asyncio.get_running_loop()
    await loop.create_datagram_endpoint(lambda: Control(app, command), local_addr=("127.0.0.1", int(control)))
    print("ready", flush=True)
    step = PERIOD / len(inputs)
    due = time.monotonic()
    place = 0
    while True:
        due += step
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        inputs[place].presentValue = now()
        place = (place + 1) % len(inputs)


if __name__ == "__main__":
    asyncio.run(main())
