"""20,000 mutated frames at the Modbus port: it answers or closes, serves afterwards, grows no memory, changes no value.

The frames are seeded. A mutant that happens to be a well-formed write is drawn again, so whatever changes is a fault.
"""

from __future__ import annotations

import random
import socket
import struct
import time

from bms_face import Face
from demo_site import Demo
from harness import Run, python_version, start
from raw_modbus import Raw, frame, read_pdu

FRAMES = 20_000
WARM_UP = 2_000
GROWTH_KB = 2_048
SEED = 20_261

SEEDS = [
    read_pdu(1, 0, 2),
    read_pdu(2, 0, 11),
    read_pdu(3, 0, 100),
    read_pdu(4, 0, 100),
    read_pdu(3, 1000, 50),
    struct.pack(">BHH", 5, 0, 0xFF00),
    struct.pack(">BHH", 6, 0, 500),
    struct.pack(">BHHBB", 15, 0, 2, 1, 3),
    struct.pack(">BHHB5H", 16, 0, 5, 10, 400, 100, 450, 2, 1),
    struct.pack(">BHHH", 22, 8, 0xFF00, 0x55),
    struct.pack(">BHHHHB2H", 23, 0, 5, 0, 2, 4, 333, 111),
    bytes([43, 14, 1, 0]),
    bytes([8, 0, 0, 1, 2]),
]


def mutate(dice: random.Random, data: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(dice.choice((1, 1, 1, 2, 3, 8))):
        kind = dice.randrange(7)
        at = dice.randrange(len(out)) if out else 0
        if kind == 0 and out:
            out[at] ^= 1 << dice.randrange(8)
        elif kind == 1 and out:
            out[at] = dice.choice((0x00, 0x01, 0x7F, 0x80, 0xFE, 0xFF, dice.randrange(256)))
        elif kind == 2:
            del out[at:]
        elif kind == 3:
            out[at:at] = dice.randbytes(dice.randrange(1, 20))
        elif kind == 4:
            del out[at : at + dice.randrange(1, 6)]
        elif kind == 5 and len(out) >= 6:
            out[4:6] = struct.pack(">H", dice.choice((0, 1, 2, 253, 254, 255, 260, 0xFFFF, max(0, len(out) - 6))))
        elif kind == 6:
            out += dice.randbytes(dice.randrange(1, 300))
    return bytes(out)


def first_frame(data: bytes) -> tuple[bytes, bytes] | None:
    """PDU of the first whole frame, and the rest; `None` when there is none or it is a lie."""
    if len(data) < 8 or data[2:4] != b"\0\0":
        return None
    length = int.from_bytes(data[4:6], "big")
    if not 2 <= length <= 254 or len(data) < 6 + length:
        return None
    return data[7 : 6 + length], data[6 + length :]


def could_write(data: bytes) -> bool:
    """A write function stands in it with a length that fits: it may rightly change a value."""
    while (found := first_frame(data)) is not None:
        pdu, data = found
        if not pdu:
            continue
        if pdu[0] in (5, 6) and len(pdu) == 5:
            return True
        if pdu[0] in (15, 16) and len(pdu) >= 7 and len(pdu) == 6 + pdu[5]:
            return True
        if pdu[0] == 22 and len(pdu) == 7:
            return True
        if pdu[0] == 23 and len(pdu) >= 12 and len(pdu) == 10 + pdu[9]:
            return True
    return False


def main(run: Run) -> None:
    run.peer(
        "pymodbus", python_version("pymodbus"), f"reads the face before, between and after {FRAMES} mutated frames"
    )
    # At the wall's speed and without a BMS nobody else writes.
    demo = Demo(run, without="bms", speed=1)
    modbus = demo.modbus
    with Face(modbus) as face:
        face.ask(50)
        before = face.holding(0, 12)
    dice = random.Random(SEED)
    answered = closed = pending = drawn_again = stuck = 0
    began = time.monotonic()
    raw = Raw(modbus, timeout=3.0)
    memory = demo.process.memory_kb()
    for number in range(FRAMES + WARM_UP):
        if number == WARM_UP:
            memory = demo.process.memory_kb()
        while True:
            data = mutate(dice, frame(number & 0xFFFF, dice.choice(SEEDS)))
            if data and not could_write(data):
                break
            drawn_again += 1
        try:
            raw.send(data)
            found = first_frame(data)
            if found is not None:
                # A whole frame first: it is answered, or the connection is closed.
                if raw.receive() is None:
                    closed += 1
                    raw = Raw(modbus, timeout=3.0)
                elif found[1]:
                    answered += 1
                    raw.socket.close()
                    raw = Raw(modbus, timeout=3.0)
                else:
                    answered += 1
            else:
                # Half a frame or a lie: once this side ends, the other one does.
                pending += 1
                raw.socket.shutdown(socket.SHUT_WR)
                if not raw.closed_by_server():
                    stuck += 1
                raw.socket.close()
                raw = Raw(modbus, timeout=3.0)
        except TimeoutError:
            stuck += 1
            raw.socket.close()
            raw = Raw(modbus, timeout=3.0)
        except OSError:
            closed += 1
            raw.socket.close()
            raw = Raw(modbus, timeout=3.0)
        if number % 4_000 == 3_999:
            with Face(modbus) as face:
                run.equal(f"after {number + 1} frames it serves and no value changed", face.holding(0, 12), before)
    raw.socket.close()
    growth = demo.process.memory_kb() - memory
    run.note(
        f"{FRAMES + WARM_UP} frames in {time.monotonic() - began:.1f} s: {answered} answered, {pending + closed} closed, {drawn_again} drawn again"
    )
    run.equal("every whole frame was answered or closed, every other connection ended", stuck, 0)
    run.check("the seeds reached both ends", answered > FRAMES // 10 and pending > FRAMES // 10)
    run.check(
        "memory is flat", growth < GROWTH_KB, f"{growth:+} kB over {FRAMES} frames, {demo.process.memory_kb()} kB now"
    )
    with Face(modbus) as face:
        run.equal("no value changed", face.holding(0, 12), before)
        run.equal("it serves", len(face.inputs(0, 100)), 100)
    run.check("the gateway still runs", demo.process.running())
    run.equal("a SIGTERM ends the demo with 0", demo.process.stop(), 0)


start(main)
