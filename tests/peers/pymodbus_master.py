"""pymodbus as the BMS's master: every function, blocks, all or none; then frames that no library sends."""

from __future__ import annotations

import random
import struct

from bms_face import (
    ENABLE,
    FAULT_RESET,
    FLOATS,
    HEAT_DELIVERED,
    HEAT_KWH,
    HEAT_WH,
    LIMIT,
    MAP_VERSION,
    MIRROR,
    MODE,
    MODE_PERCENT,
    NO_U64,
    PERCENT,
    POWER,
    ROOM,
    SETPOINT,
    STATE,
    TIMEOUT,
    TWIN,
    Face,
    f32,
    s16,
    u32,
    u64,
)
from demo_site import Demo
from harness import Address, Run, python_version, start, wait_until
from raw_modbus import Raw, frame, read_pdu


def reads(run: Run, face: Face) -> None:
    client = face.client
    holding, inputs = face.holding(0, 100), face.inputs(0, 100)
    run.equal("FC 3 reads HR 0..99 in one block", len(holding), 100)
    run.equal("FC 4 reads IR 0..99 in one block", len(inputs), 100)
    run.check("unused addresses of the zone read 0", not any(holding[12:20]) and not any(inputs[7:10] + inputs[90:100]))
    run.equal("the map's version (IR 5)", inputs[MAP_VERSION], 1)
    run.check("the state (IR 0) is one of the ten", 1 <= inputs[STATE] <= 10, inputs[STATE])
    for address in FLOATS:
        value, twin = f32(inputs[address:]), s16(inputs[address + TWIN]) / 10.0
        run.check(
            f"IR {address} and its twin IR {address + TWIN} agree",
            abs(value - twin) <= 0.051,
            f"{value:.3f}, {twin:.1f}",
        )
    wh, kwh = u64(inputs[HEAT_WH:]), u32(inputs[HEAT_KWH:])
    run.check("the totals in Wh and kWh agree", wh != NO_U64 and wh // 1000 == kwh, f"{wh} Wh, {kwh} kWh")
    # Values move between two reads; one read of both tables does not exist, so what stands still is compared.
    mirror = face.holding(MIRROR, 100)
    run.equal("FC 3 reads the mirror HR 1000..1099 in one block", len(mirror), 100)
    still = (STATE, MAP_VERSION, 6, 50, 99)
    run.check("the mirror shows the input registers", all(mirror[a] == face.inputs(a)[0] for a in still))
    run.check(
        "a value that moves is a number in the mirror",
        f32(mirror[HEAT_DELIVERED:]) >= 0.0,
        f32(mirror[HEAT_DELIVERED:]),
    )

    coils = client.read_coils(0, count=2, device_id=1)
    run.check("FC 1 reads coils 0..1", not coils.isError(), coils.bits[:2] if not coils.isError() else coils)
    bits = client.read_discrete_inputs(0, count=11, device_id=1)
    run.check("FC 2 reads DI 0..10", not bits.isError(), bits.bits[:11] if not bits.isError() else bits)
    for what, answer in (
        ("FC 3 of 10 registers from HR 5000", client.read_holding_registers(5000, count=10, device_id=1)),
        ("FC 4 across the end of the zone (IR 95..105)", client.read_input_registers(95, count=11, device_id=1)),
        ("FC 1 of coil 5000", client.read_coils(5000, count=1, device_id=1)),
        ("FC 2 of DI 5000", client.read_discrete_inputs(5000, count=1, device_id=1)),
    ):
        run.equal(f"exception 02: {what}", getattr(answer, "exception_code", answer), 2)
    answer = client.read_holding_registers(0, count=1, device_id=17)
    run.equal("another unit is exception 0B", getattr(answer, "exception_code", answer), 0x0B)


def writes(run: Run, face: Face) -> None:
    client = face.client
    run.equal("FC 6 is accepted", face.write(PERCENT, 125), None)
    run.equal("a read after FC 6 sees it", face.holding(PERCENT)[0], 125)
    run.equal("FC 16 is accepted", face.write(PERCENT, 300, 120, 475, MODE_PERCENT, 1), None)
    run.equal("a read after FC 16 sees it", face.holding(PERCENT, 5), [300, 120, 475, MODE_PERCENT, 1])
    bits = client.read_coils(0, count=1, device_id=1)
    run.equal("coil 0 shows enable (HR 4)", bits.bits[0] if not bits.isError() else bits, True)

    for value in (False, True):
        answer = client.write_coil(0, value, device_id=1)
        run.check(f"FC 5 writes coil 0 = {value}", not answer.isError(), "" if not answer.isError() else answer)
        run.equal("enable (HR 4) follows", face.holding(ENABLE)[0], int(value))
    answer = client.write_coils(0, [False], device_id=1)
    run.check("FC 15 writes coil 0", not answer.isError(), "" if not answer.isError() else answer)
    run.equal("enable (HR 4) follows FC 15", face.holding(ENABLE)[0], 0)
    answer = client.write_coils(0, [True, False], device_id=1)
    run.check("FC 15 writes coils 0..1", not answer.isError(), "" if not answer.isError() else answer)
    run.equal("enable (HR 4) follows FC 15 of two", face.holding(ENABLE)[0], 1)

    before = face.holding(0, 12)
    for what, code, values in (
        ("the last of five is bad", 3, (0, (400, 100, 450, 2, 7))),
        ("the first of five is bad", 3, (0, (1001, 100, 450, 2, 1))),
        ("it runs out of what is writable", 2, (10, (200, 50, 1))),
    ):
        run.equal(f"FC 16, all or none: {what}", face.write(values[0], *values[1]), code)
        run.equal("and nothing changed", face.holding(0, 12), before)
    run.equal("a set-point below its range (19.9 C) is exception 03", face.write(SETPOINT, 199), 3)
    run.equal("a power above Qn is exception 03", face.write(POWER, 65535), 3)
    run.equal("fault reset is accepted", face.write(FAULT_RESET, 1), None)
    wait_until(lambda: face.holding(FAULT_RESET)[0] == 0, 5.0, "fault reset clears itself")
    run.check("fault reset clears itself", True)
    run.equal("an absent room temperature (0x8000) is accepted", face.write(ROOM, 0x8000), None)
    run.equal("and reads back", face.holding(ROOM)[0], 0x8000)
    run.equal(
        "no electrical limit (0xFFFF) reads back", (face.write(LIMIT, 0xFFFF), face.holding(LIMIT)[0]), (None, 0xFFFF)
    )

    run.equal("HR 8 = 300", (face.write(TIMEOUT, 300), face.holding(TIMEOUT)[0]), (None, 300))
    answer = client.mask_write_register(address=TIMEOUT, and_mask=0xFF00, or_mask=0x0055, device_id=1)
    run.check("FC 22 is accepted", not answer.isError(), "" if not answer.isError() else answer)
    run.equal("FC 22 did (current AND and) OR (or AND NOT and)", face.holding(TIMEOUT)[0], (300 & 0xFF00) | 0x55)
    answer = client.mask_write_register(address=TIMEOUT, and_mask=0x0000, or_mask=0x0001, device_id=1)
    run.equal("FC 22 to a value out of range is exception 03", getattr(answer, "exception_code", answer), 3)
    answer = client.readwrite_registers(
        read_address=0, read_count=5, write_address=PERCENT, values=[333, 111], device_id=1
    )
    got = answer.registers if not answer.isError() else answer
    run.equal("FC 23 reads what it wrote", got, [333, 111, 475, MODE_PERCENT, 1])
    answer = client.readwrite_registers(read_address=0, read_count=1, write_address=MODE, values=[9], device_id=1)
    run.equal("FC 23 with a bad value is exception 03", getattr(answer, "exception_code", answer), 3)
    run.equal("and wrote nothing", face.holding(0, 5), [333, 111, 475, MODE_PERCENT, 1])


def identification(run: Run, face: Face) -> None:
    answer = face.client.read_device_information(read_code=1, object_id=0, device_id=1)
    objects = {} if answer.isError() else answer.information
    run.equal("FC 43/14 names the vendor", objects.get(0), b"heatgate")
    run.check("FC 43/14 names product and version", objects.get(1) and objects.get(2), objects or answer)


def by_hand(run: Run, modbus: Address) -> None:
    with Raw(modbus) as raw:
        for function in (0x07, 0x08, 0x0B, 0x11, 0x14, 0x18, 0x41, 0x64, 0x7F):
            run.equal(
                f"function {function:#04x} is exception 01",
                raw.ask(bytes([function, 0, 0])),
                bytes([function | 0x80, 1]),
            )
        run.equal(
            "a coil value that is neither on nor off is exception 03",
            raw.ask(bytes.fromhex("0500001234")),
            bytes([0x85, 3]),
        )
        run.equal("FC 3 of 0 registers is exception 03", raw.ask(read_pdu(3, 0, 0)), bytes([0x83, 3]))
        run.equal("FC 3 of 126 registers is exception 03", raw.ask(read_pdu(3, 0, 126)), bytes([0x83, 3]))
        run.equal(
            "FC 16 whose byte count lies is exception 03",
            raw.ask(bytes.fromhex("10000000020200010002")),
            bytes([0x90, 3]),
        )
        run.equal(
            "FC 15 with a short byte count is exception 03", raw.ask(bytes.fromhex("0f0000000a01ff")), bytes([0x8F, 3])
        )
        run.equal("a truncated FC 6 is exception 03", raw.ask(bytes.fromhex("060000")), bytes([0x86, 3]))
        for unit in (0, 255):
            run.equal(
                f"unit {unit} addresses the gateway itself",
                (raw.ask(read_pdu(4, 5, 1), unit=unit) or b"")[:2],
                b"\x04\x02",
            )

    with Raw(modbus) as raw:
        count = 200
        raw.send(b"".join(frame(number, read_pdu(3 + number % 2, number % 50, 2)) for number in range(count)))
        answers = [raw.receive() for _ in range(count)]
        run.equal(
            f"{count} pipelined requests are answered in order", [a and a[0] for a in answers], list(range(count))
        )
        run.check("each with its own function", all(a and a[2][0] == 3 + a[0] % 2 for a in answers))
    with Raw(modbus) as raw:
        # A write between two reads of one burst: the second read sees it.
        write = struct.pack(">BHH", 6, PERCENT, 444)
        raw.send(
            frame(1, write)
            + frame(2, read_pdu(3, PERCENT, 1))
            + frame(3, struct.pack(">BHH", 6, PERCENT, 455))
            + frame(4, read_pdu(3, PERCENT, 1))
        )
        answers = [raw.receive() for _ in range(4)]
        run.equal(
            "reads after writes in one burst see them",
            [a and a[2][2:] for a in (answers[1], answers[3])],
            [b"\x01\xbc", b"\x01\xc7"],
        )
    with Raw(modbus) as raw:
        whole = frame(7, read_pdu(4, 0, 10))
        for byte in whole:
            raw.send(bytes([byte]))
        answer = raw.receive()
        run.check(
            "a frame that comes byte by byte is answered",
            answer is not None and answer[0] == 7 and len(answer[2]) == 22,
        )

    for what, data in (
        ("another protocol identifier", frame(1, read_pdu(3, 0, 1), protocol=1)),
        ("a length of 65535", frame(1, read_pdu(3, 0, 1), length=65535)),
        ("a length of 0", frame(1, read_pdu(3, 0, 1), length=0)),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
    ):
        with Raw(modbus) as raw:
            raw.send(data)
            run.check(f"{what} closes its own connection", raw.closed_by_server())

    # Half frames stay open while others are served.
    halves = [Raw(modbus) for _ in range(16)]
    try:
        for number, half in enumerate(halves):
            half.send(frame(number, read_pdu(3, 0, 1))[: 1 + number % 11])
        with Face(modbus) as face:
            run.equal("16 half frames delay no other master", len(face.inputs(0, 100)), 100)
    finally:
        for half in halves:
            half.socket.close()
    dice = random.Random(47001)
    for _ in range(200):
        with Raw(modbus) as raw:
            try:
                raw.send(dice.randbytes(dice.randrange(1, 600)))
            except OSError:
                pass  # It was closed while it sent: that is an answer.
    with Face(modbus) as face:
        run.equal("after 200 connections of noise the server serves", len(face.inputs(0, 100)), 100)
        run.equal("and nothing was written by it", face.holding(0, 5), [455, 111, 475, MODE_PERCENT, 1])

    faces = [Face(modbus) for _ in range(20)]
    run.check("20 masters at a time are served", all(len(face.inputs(0, 10)) == 10 for face in faces))
    for face in faces:
        face.close()


def main(run: Run) -> None:
    run.peer(
        "pymodbus",
        python_version("pymodbus"),
        "is the BMS's master: FC 1-6, 15, 16, 22, 23, blocks, refusals; 300 raw frames beside it",
    )
    demo = Demo(run, without="bms")
    with Face(demo.modbus) as face:
        # A total is bad until its meter has answered, and power is until the heaters have told theirs.
        wait_until(
            lambda: face.total(HEAT_WH) is not None and all(face.float(address) is not None for address in FLOATS),
            30.0,
            "meter and heaters have answered",
        )
        reads(run, face)
        writes(run, face)
        identification(run, face)
    by_hand(run, demo.modbus)
    run.equal("a SIGTERM ends the demo with 0", demo.process.stop(), 0)


start(main)
