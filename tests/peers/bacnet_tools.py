"""bacpypes3 as a BACnet client on loopback, with a port of its own."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import TypeVar

from bacpypes3.apdu import AbortPDU, ErrorRejectAbortNack
from bacpypes3.ipv4.app import NormalApplication
from bacpypes3.local.device import DeviceObject
from bacpypes3.pdu import Address as BacnetAddress
from bacpypes3.pdu import IPv4Address
from bacpypes3.primitivedata import ObjectIdentifier

from harness import Address, Failed, free_port

T = TypeVar("T")


class Client:
    """Use it inside `talk`: every call is bounded."""

    def __init__(self, app: NormalApplication, peer: Address, bound: float):
        self.app = app
        self.peer = BacnetAddress(f"{peer[0]}:{peer[1]}")
        self.bound = bound

    async def read(self, kind: str, instance: int, prop: str = "present-value", index: int | None = None):
        """The value, or the BACnet error, reject or abort as an object."""
        try:
            return await asyncio.wait_for(
                self.app.read_property(self.peer, ObjectIdentifier(f"{kind},{instance}"), prop, index), self.bound
            )
        except ErrorRejectAbortNack as error:
            return error

    async def write(self, kind: str, instance: int, value, priority: int | None = None, prop: str = "present-value"):
        """`None`, or the BACnet error, reject or abort as an object."""
        try:
            return await asyncio.wait_for(
                self.app.write_property(self.peer, ObjectIdentifier(f"{kind},{instance}"), prop, value, None, priority),
                self.bound,
            )
        except ErrorRejectAbortNack as error:
            return error


def talk(peer: Address, dialogue: Callable[[Client], Awaitable[T]], bound: float = 60.0, each: float = 10.0) -> T:
    """Run one dialogue with the device at `peer`, from a client device on a port of its own."""

    async def main() -> T:
        port = free_port(socket.SOCK_DGRAM)
        device = DeviceObject(
            objectIdentifier=("device", 999),
            objectName="peer",
            maxApduLengthAccepted=1024,
            segmentationSupported="segmentedBoth",
            vendorIdentifier=999,
        )
        # A /32: its own address is no broadcast of anybody, and it hears only what is sent to it.
        app = NormalApplication(device, IPv4Address(f"127.0.0.1/32:{port}"))
        try:
            return await asyncio.wait_for(dialogue(Client(app, peer, each)), bound)
        finally:
            app.close()

    try:
        return asyncio.run(main())
    except TimeoutError:
        raise Failed(f"no BACnet answer from {peer[0]}:{peer[1]} within {each:g} s") from None


__all__ = ["AbortPDU", "Client", "ErrorRejectAbortNack", "talk"]
