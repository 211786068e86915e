"""20,000 mutated frames at the BACnet socket: it answers good ones all along, grows no memory, changes no value.

The frames were recorded from bacpypes3; the mutations are seeded. A mutant that bacpypes3 itself reads as a write is drawn
again, so whatever changes is a fault.
"""

from __future__ import annotations

import random
import socket
import struct
import time

from bacpypes3.apdu import APDU, WritePropertyMultipleRequest, WritePropertyRequest
from bacpypes3.npdu import NPDU
from bacpypes3.pdu import PDU

from bacnet_tools import Client, talk
from bms_face import Face
from demo_site import Demo
from harness import Address, Failed, Run, python_version, start

FRAMES = 20_000
WARM_UP = 4_000
GROWTH_KB = 2_048
SEED = 20_262
# Between two good questions; small enough for the socket's buffer, whatever the machine is busy with.
BURST = 25

# What bacpypes3 sent to the demo's device, frame by frame.
RECORDED = """
810a000e010010080ab7991ab799
810a001101040264000c0c0200b799194d
810a001101040264010c0c0200b799194c
810a001301040264020c0c0200b799194c2903
810a001301040264030c0c008000011957290a
810a001301040264040e0c008000011e09081f
810a001e01040264050e0c0000000c1e0955096f1f0c00c000011e09081f
810a001a01040264060f0c0080000119553e44497424003f490a
810a001a01040264070f0c0000000c19553e443f8000003f490a
810a001a01040264080f0c0080000119553e44422600003f490a
810a001601040264090f0c0080000119553e003f490a
810a0015010402640a0509071c008000012901393c
810a00090100200001
810a0011010402640b0509071c00800001
810a0015010402640c0509081c008000012900393c
810a0011010402640d0509081c00800001
810a002d01040e640f00020e0c0200b7991e09551f0c0e0000011e09551f0c0000000a1e09551f0c0000000b1e
810a001e01040a640f01020e09551f0c0000000c1e09551f0c0000000d1e09551f
810a000a0100400f0010
810a001101040262000c0c0200b799194c
810a000a010040000110
"""
# Written by hand, for what bacpypes3 did not say: Who-Has, a write of many, foreign devices, broadcast tables, time, and
# services that the device does not know.
BY_HAND = """
810b000c0120ffff00ff1008
810a000e0100100719 0200b799
810a001f010402050e100c008000011e09552e44422600002f390a1f
8105000601 2c
81040010 7f000001bac0 01001008
8100000a 00000000
81020004
81060004
810a00110100100 6a47e0b160 7b40c1e0000
810a000a01040205 0f 11
810a001201040205101109003c1900
810a0009 01 04 02 05 11
810a001001200fa00108ffff 1008
"""
# The services that came later, as APDUs: trend logs, alarms, lists, subscriptions to a property, device management, time.
LATER = """
0275301a 0c05000001 1983 3e 2101 310a 3f
0275311a 0c05000001 1983 6e 2101 31f6 6f
0275321a 0c05000001 1983 7e a47d0b1801 b410000000 310a 7f
0275331a 0c0200b799 1998
0275340e 0c05000001 1e 0908 1f 0c07000001 1e 0908 1f 0c03c00001 1e 0908 1f
0275351c 0909 1c00800001 2900 393c 4e 0955 4f 5c3f800000
0275361c 0909 1c00800001 2901 393c 4e 0957 1908 4f
0275371c 0909 1c00800001 4e 0955 4f
02753800 0901 1c00c00001 2903 3e 1905 3f 4b006f70 5e 2e a47e061801 b40c000000 2f 5f
02753903
02753a04 0900
02753b1d
02753c1d 0c00c00001
02753d08 0c03c00001 1966 3e 8201fe b400000000 b4173b3b63 0c0200b79a 2101 11 8205e0 3f
02753e09 0c03c00001 1966 3e 8201fe b400000000 b4173b3b63 0c0200b79a 2101 11 8205e0 3f
02753f11 0901 1902 2d050066757a7a
02754014 0901 1d050066757a7a
02754112 0900 1901 2e 2105 2f
0275420c 0c05000001 1983
1006 a47d0b1801 b410000000
1009 a47d0b1801 b410000000
1004 0900 1901 2e 2105 2f
0e75430010 0e 0c00800001 1e 0955
0a75430110 0e 096f 1f
"""
GOOD = bytes.fromhex("810a0011010402057d0c0c0200b799194d")


def seeds() -> list[bytes]:
    frames = []
    for line in (RECORDED + BY_HAND).splitlines():
        digits = line.replace(" ", "")
        if digits:
            data = bytearray(bytes.fromhex(digits))
            data[2:4] = struct.pack(">H", len(data))
            frames.append(bytes(data))
    for line in LATER.splitlines():
        if line:
            apdu = bytes.fromhex(line.replace(" ", ""))
            frames.append(struct.pack(">BBHBB", 0x81, 0x0A, len(apdu) + 6, 1, 4) + apdu)
    return frames


def mutate(dice: random.Random, data: bytes) -> bytes:
    out = bytearray(data)
    # Most of the time the frame's own length is right again, so that what is inside is looked at.
    honest = dice.random() < 0.8
    for _ in range(dice.choice((1, 1, 1, 2, 3, 8))):
        kind = dice.randrange(7)
        at = dice.randrange(len(out)) if out else 0
        if kind == 0 and out:
            out[at] ^= 1 << dice.randrange(8)
        elif kind == 1 and out:
            out[at] = dice.choice((0x00, 0x01, 0x0E, 0x0F, 0x1E, 0x3E, 0x7F, 0x80, 0xFE, 0xFF, dice.randrange(256)))
        elif kind == 2 and len(out) > 4:
            del out[max(4, at) :]
        elif kind == 3:
            out[at:at] = dice.randbytes(dice.randrange(1, 20))
        elif kind == 4:
            del out[at : at + dice.randrange(1, 6)]
        elif kind == 5 and len(out) > 8:
            # A piece of itself again: nested and repeated parameters.
            out[at:at] = out[dice.randrange(len(out)) :][: dice.randrange(1, 30)]
        elif kind == 6:
            out += dice.randbytes(dice.randrange(1, 1400))
    if honest and len(out) >= 4:
        out[0] = 0x81
        out[2:4] = struct.pack(">H", min(len(out), 0xFFFF))
    return bytes(out[:1476])


def could_write(data: bytes) -> bool:
    """bacpypes3 reads it as a write: it may rightly change a value."""
    for skip in (4, 10):
        try:
            apdu = APDU.decode(NPDU.decode(PDU(data[skip:])))
        except Exception:
            continue
        for service in (WritePropertyRequest, WritePropertyMultipleRequest):
            if getattr(apdu, "apduService", None) == service.service_choice:
                try:
                    service.decode(apdu)
                    return True
                except Exception:
                    pass
    return False


class Socket:
    """Sends mutants; asks a good question now and then, and takes in whatever comes meanwhile."""

    def __init__(self, device: Address):
        self.device = device
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.settimeout(0.5)
        self.asked = self.heard = 0

    def send(self, data: bytes) -> None:
        self.socket.sendto(data, self.device)

    def answers(self) -> bytes:
        """The answer to a good question, which has a number of its own each time."""
        self.asked += 1
        number = self.asked % 200 + 20
        question = bytearray(GOOD)
        question[8] = number
        deadline = time.monotonic() + 10.0
        while time.monotonic() < deadline:
            self.send(bytes(question))
            try:
                while True:
                    data, _ = self.socket.recvfrom(2048)
                    self.heard += 1
                    # A ComplexACK (3) to this number and service, unsegmented, without a route.
                    if data[4:6] == b"\x01\x00" and data[6:9] == bytes([0x30, number, 12]):
                        return data
            except TimeoutError:
                continue
        raise Failed("the device does not answer a good question within 10 s")


async def held(client: Client) -> list[str]:
    """The commandable values and who commands them."""
    values = []
    for kind, instance in [("analog-value", one) for one in range(1, 8)] + [
        ("binary-value", 1),
        ("binary-value", 2),
        ("binary-value", 20),
        ("binary-value", 21),
        ("multi-state-value", 1),
        ("multi-state-value", 2),
        ("positive-integer-value", 1),
    ]:
        value = await client.read(kind, instance)
        slots = await client.read(kind, instance, "priority-array")
        taken = [number for number, slot in enumerate(slots, 1) if getattr(slot, "_choice", None) != "null"]
        values.append(f"{kind} {instance} = {value} by {taken}")
    values.append(str(await client.read("device", 47001, "object-name")))
    return values


def main(run: Run) -> None:
    run.peer(
        "bacpypes3",
        python_version("bacpypes3"),
        f"recorded the frames of which {FRAMES} mutants are made, and reads every command afterwards",
    )
    run.peer("pymodbus", python_version("pymodbus"), "reads the same values over Modbus before and after")
    # At the wall's speed and without a BMS nobody else writes.
    demo = Demo(run, without="bms", speed=1)
    bacnet = demo.address("bacnet")
    with Face(demo.modbus) as face:
        face.ask(50)
        registers = face.holding(0, 12)
    before = talk(bacnet, held)
    run.check("the commands can be read", len(before) == 15 and "50.0 by [15]" in before[0], before[0])
    good = seeds()
    dice = random.Random(SEED)
    sender = Socket(bacnet)
    expected = sender.answers()[9:]
    drawn_again = 0
    began = time.monotonic()
    memory = demo.process.memory_kb()
    for number in range(FRAMES + WARM_UP):
        if number == WARM_UP:
            memory = demo.process.memory_kb()
        while True:
            data = mutate(dice, dice.choice(good))
            if data and not could_write(data):
                break
            drawn_again += 1
        sender.send(data)
        if number % BURST == BURST - 1 and sender.answers()[9:] != expected:
            run.check(f"after {number + 1} frames a good question has the same answer", False)
            break
        if number % 4_000 == 3_999:
            with Face(demo.modbus) as face:
                run.equal(f"after {number + 1} frames it serves and no value changed", face.holding(0, 12), registers)
    growth = demo.process.memory_kb() - memory
    run.note(
        f"{FRAMES + WARM_UP} frames in {time.monotonic() - began:.1f} s, {sender.heard} heard, {drawn_again} drawn again"
    )
    run.check("the mutants are answered too, where they can be", sender.heard > 2 * sender.asked, sender.heard)
    run.check(
        "memory is flat", growth < GROWTH_KB, f"{growth:+} kB over {FRAMES} frames, {demo.process.memory_kb()} kB now"
    )
    run.equal("no value changed, and nobody commands more", talk(bacnet, held), before)
    run.check("the gateway still runs", demo.process.running())
    run.equal("a SIGTERM ends the demo with 0", demo.process.stop(), 0)


start(main)
