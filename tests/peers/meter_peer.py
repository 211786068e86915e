"""A heat meter made of pymodbus: input registers of the generic-heat-meter profile, on a port of its own.

f32 big-endian words: power kW at 0, flow m3/h at 2, supply at 4 and return at 6 in C; u32 Wh at 8.
"""

from __future__ import annotations

import asyncio
import struct
import threading
import time
from dataclasses import dataclass

from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from harness import Address, free_port

ROLLS_AT = 1 << 32


@dataclass
class Reading:
    power_kw: float = 26.4
    flow_m3h: float = 1.25
    supply_c: float = 52.5
    return_c: float = 34.25


class MeterPeer:
    """Serves in a thread of its own. Its counter runs with its power, `speed` times as fast as the wall."""

    def __init__(self, start_wh: float, speed: float, address: Address | None = None):
        self.address = address or ("127.0.0.1", free_port())
        self.reading = Reading()
        self.speed = speed
        self.reads = 0
        self._lock = threading.Lock()
        self._wh = start_wh
        self._at = time.monotonic()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: ModbusTcpServer | None = None
        self._thread: threading.Thread | None = None

    def _advance(self) -> None:
        now = time.monotonic()
        self._wh += self.reading.power_kw * 1000.0 * (now - self._at) * self.speed / 3600.0
        self._at = now

    def counted_wh(self) -> float:
        """What the counter would show if it never rolled over."""
        with self._lock:
            self._advance()
            return self._wh

    def set_counter(self, wh: float) -> None:
        """A reset, or another meter in its place."""
        with self._lock:
            self._advance()
            self._wh = wh

    def _registers(self) -> list[int]:
        with self._lock:
            self._advance()
            self.reads += 1
            row = self.reading
            raw = struct.pack(
                ">ffffI", row.power_kw, row.flow_m3h, row.supply_c, row.return_c, int(self._wh) % ROLLS_AT
            )
        return list(struct.unpack(">10H", raw))

    async def _on_access(self, _function, start, _address, _count, current, _set):
        fresh = self._registers()
        for offset in range(len(current)):
            register = start + offset
            current[offset] = fresh[register] if register < len(fresh) else 0
        return None

    def serve(self) -> None:
        ready = threading.Event()
        failure: list[BaseException] = []

        async def main() -> None:
            try:
                device = SimDevice(
                    id=0,
                    simdata=[SimData(address=0, count=10, values=0, datatype=DataType.REGISTERS)],
                    action=self._on_access,
                )
                self._server = ModbusTcpServer(device, address=self.address)
                self._loop = asyncio.get_running_loop()
                await self._server.serve_forever(background=True)
            except BaseException as error:
                failure.append(error)
                ready.set()
                return
            ready.set()
            await self._server.serving

        self._thread = threading.Thread(target=lambda: asyncio.run(main()), daemon=True)
        self._thread.start()
        ready.wait(10.0)
        if failure:
            raise failure[0]

    def die(self) -> None:
        """Close the listener and every connection."""
        if self._loop is None or self._server is None or self._thread is None:
            return
        asyncio.run_coroutine_threadsafe(self._server.shutdown(), self._loop).result(10.0)
        self._thread.join(10.0)
        self._loop = self._server = self._thread = None


def meter_values(address: Address) -> tuple[float, float, float, float, int]:
    """Read a heat meter of the same profile as a master: kW, m3/h, C, C, Wh."""
    from bms_face import Face, f32, u32

    with Face(address) as face:
        words = face.inputs(0, 10)
    return f32(words[0:]), f32(words[2:]), f32(words[4:]), f32(words[6:]), u32(words[8:])
