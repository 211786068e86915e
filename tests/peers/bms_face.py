"""The BMS face of a zone, as a pymodbus master sees it: addresses of the published register map, and decoding.

Written from the register map alone; it shares nothing with the gateway's own codecs.
"""

from __future__ import annotations

import math
import struct

from pymodbus.client import ModbusTcpClient

from harness import Address, Failed

# Holding registers that the BMS writes.
PERCENT, POWER, SETPOINT, MODE, ENABLE, SEASON, LIMIT, HEARTBEAT, TIMEOUT, FAULT_RESET, ROOM, OUTDOOR = range(12)
MODE_OFF, MODE_PERCENT, MODE_POWER, MODE_TEMPERATURE, MODE_CALL = range(1, 6)

# Input registers that the BMS reads.
STATE, FAULT_CODE, GATEWAY_HEARTBEAT, REQUEST_SOURCE, QUALITY, MAP_VERSION, SITE_ALARMS = range(7)
HEAT_AVAILABLE, HEAT_MINIMUM, HEAT_DELIVERED, ELECTRICAL_POWER, POWER_COMMAND = 10, 12, 14, 16, 18
SUPPLY, RETURN, FLOW, UNDELIVERED, DUMP = 20, 22, 24, 26, 28
HEAT_WH, ELECTRICAL_WH, HEAT_KWH, ELECTRICAL_KWH = 30, 34, 38, 40
TWIN = 60
MIRROR = 1000
FLOATS = (10, 12, 14, 16, 18, 20, 22, 24, 26, 28)
NO_U64 = 0xFFFF_FFFF_FFFF_FFFF

# Discrete inputs: alarm n at n.
BMS_LOST, CONTROLLER_LOST, METER_LOST = 0, 1, 2
STALE = 1 << 15


def f32(words: list[int]) -> float:
    return struct.unpack(">f", struct.pack(">HH", *words[:2]))[0]


def u64(words: list[int]) -> int:
    return struct.unpack(">Q", struct.pack(">HHHH", *words[:4]))[0]


def u32(words: list[int]) -> int:
    return (words[0] << 16) | words[1]


def s16(word: int) -> int:
    return word - 0x10000 if word & 0x8000 else word


class Face:
    """A master with one connection. Reads raise `Failed` on an exception; `try_*` return the exception code."""

    def __init__(self, address: Address, unit: int = 1, timeout: float = 3.0):
        self.unit = unit
        self.client = ModbusTcpClient(address[0], port=address[1], timeout=timeout, retries=0)
        if not self.client.connect():
            raise ConnectionError(f"no Modbus server at {address[0]}:{address[1]}")

    def close(self) -> None:
        self.client.close()

    def __enter__(self) -> Face:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _words(self, answer, what: str) -> list[int]:
        if answer.isError():
            raise Failed(f"{what}: {answer}")
        return answer.registers

    def inputs(self, address: int, count: int = 1) -> list[int]:
        return self._words(self.client.read_input_registers(address, count=count, device_id=self.unit), f"IR {address}")

    def holding(self, address: int, count: int = 1) -> list[int]:
        return self._words(
            self.client.read_holding_registers(address, count=count, device_id=self.unit), f"HR {address}"
        )

    def discrete(self, address: int) -> bool:
        answer = self.client.read_discrete_inputs(address, count=1, device_id=self.unit)
        if answer.isError():
            raise Failed(f"DI {address}: {answer}")
        return bool(answer.bits[0])

    def write(self, address: int, *values: int) -> int | None:
        """FC 6 for one value, FC 16 for more. `None`, or the exception code."""
        if len(values) == 1:
            answer = self.client.write_register(address, values[0], device_id=self.unit)
        else:
            answer = self.client.write_registers(address, list(values), device_id=self.unit)
        return getattr(answer, "exception_code", 0) if answer.isError() else None

    def float(self, address: int) -> float | None:
        value = f32(self.inputs(address, 2))
        return value if math.isfinite(value) else None

    def total(self, address: int) -> int | None:
        """A 64-bit total in Wh; `None` while it is not available."""
        value = u64(self.inputs(address, 4))
        return None if value == NO_U64 else value

    def ask(self, percent: float) -> None:
        """Enable the zone and ask for a share of its nominal heat."""
        for address, value in ((PERCENT, round(percent * 10)), (MODE, MODE_PERCENT), (ENABLE, 1)):
            refused = self.write(address, value)
            if refused is not None:
                raise Failed(f"HR {address} = {value} was refused with exception {refused}")
