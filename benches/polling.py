#!/usr/bin/env python3
"""What polling costs: 10,000 registers of 10 devices each second, published over MQTT.

    target/peers-venv/bin/python benches/polling.py target/release/heatgate [--seconds 30]

Ten slaves of 1,000 registers each (their own process), mosquitto, and `heatgate run` with a mapping of 10,000 points. In
the first run every register keeps its value, in the second a tenth of them changes each second, in the third all do.
CPU is user and system time of the gateway over the seconds, in percent of one core; memory is VmRSS at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import struct
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "peers"))

from harness import Run, free_port, http_get, shown, wait_until  # noqa: E402
from mqtt_tools import Mosquitto  # noqa: E402
from run_site import machine  # noqa: E402

DEVICES, REGISTERS = 10, 1_000

SITE = """
use = ["digital-boiler.toml"]
address_base = 0
word_order = "ABCD"

[[heater]]
name = "rack-a"
rated_power = "30 kW"
idle = "25 %"
efficiency = 0.95

[[zone]]
name = "hall"
index = 0
heaters = ["rack-a"]
"""

CONFIG = """
state_dir = "state"
mapping = "site.toml"

[site]
id = "bench"

[mqtt]
url = "mqtt://{broker}"

[modbus]
listen = "{modbus}"

[bacnet]
enabled = false

[http]
listen = "{http}"
"""


def slaves(ports: list[int], changing: float, counted) -> None:
    """Answer FC 3; the first share of the registers shows the second."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readexactly(12)
                first, count = struct.unpack(">HH", head[8:12])
                now = int(time.monotonic()) % 10_000
                limit = int(REGISTERS * changing)
                words = (now if n < limit else n for n in range(first, first + count))
                body = struct.pack(f">{count}H", *words)
                writer.write(head[:4] + struct.pack(">HBBB", 3 + len(body), head[6], 3, len(body)) + body)
                counted.value += count
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def run() -> None:
        servers = [await asyncio.start_server(serve, "127.0.0.1", port) for port in ports]
        await asyncio.gather(*(server.serve_forever() for server in servers))

    asyncio.run(run())


def cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(run: Run, changing: float, seconds: float) -> None:
    ports = [free_port() for _ in range(DEVICES)]
    counted = multiprocessing.Value("q", 0)
    peer = multiprocessing.Process(target=slaves, args=(ports, changing, counted), daemon=True)
    peer.start()
    broker = Mosquitto(run)
    modbus, http = ("127.0.0.1", free_port()), ("127.0.0.1", free_port())
    files = run.directory(f"site-{changing}")
    parts = [SITE]
    for device, port in enumerate(ports):
        parts.append(
            f'\n[[device]]\nname = "d{device}"\nlink = "modbus-tcp://127.0.0.1:{port}"\nunit_id = 1\npoll = "1s"\n'
        )
        for register in range(REGISTERS):
            parts.append(
                f'\n[[point]]\nname = "d{device}/p{register}"\nunit = ""\n'
                f'source = {{ device = "d{device}", holding = {register}, type = "u16" }}\n'
            )
    (files / "site.toml").write_text("".join(parts))
    config = files / "gateway.toml"
    config.write_text(CONFIG.format(broker=shown(broker.address), modbus=shown(modbus), http=shown(http)))
    gateway = run.heatgate(f"gateway-{changing}", "run", "-c", str(config), cwd=files)
    wait_until(lambda: http_get(http, "/readyz")[0] == 200, 60.0, "the gateway is ready")
    wait_until(lambda: counted.value > 5 * DEVICES * REGISTERS, 60.0, "it polls")
    registers, before, began = counted.value, cpu(gateway.pid), time.monotonic()
    time.sleep(seconds)
    took = time.monotonic() - began
    print(
        f"{100 * changing:>9.0f} % {(counted.value - registers) / took:>14,.0f} "
        f"{100 * (cpu(gateway.pid) - before) / took:>11.1f} % {gateway.memory_kb() / 1000:>8.1f} MB"
    )
    gateway.stop()
    peer.terminate()
    peer.join()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary", type=Path)
    parser.add_argument("--seconds", type=float, default=30.0)
    args = parser.parse_args()
    print(machine())
    print(f"{'changing':>11} {'registers/s':>14} {'CPU':>13} {'VmRSS':>11}")
    with tempfile.TemporaryDirectory(prefix="heatgate-polling-") as scratch:
        run = Run("polling", args.binary.resolve(), Path(scratch))
        try:
            for changing in (0.0, 0.1, 1.0):
                measure(run, changing, args.seconds)
        finally:
            run.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
