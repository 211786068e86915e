"""`heatgate run` on the demonstration's files, every part a process of its own: mosquitto, two heaters, a meter."""

from __future__ import annotations

import os
import shutil
import socket
import time

from harness import ROOT, Address, Failed, Process, Run, accepts, free_port, shown, wait_until
from mqtt_tools import Mosquitto
from raw_modbus import Raw, read_pdu

HEATERS = ("rack-a", "rack-b")

# Heat needs a minute through the loop. The simulated parts run twice as fast as the gateway, which halves the wait and
# is still within what the gateway believes of a meter while at most half of the nominal heat is asked for.
PARTS_SPEED = "2"


class RunSite:
    def __init__(self, run: Run, parts: bool = True):
        self.run = run
        self.modbus: Address = ("127.0.0.1", free_port())
        self.http: Address = ("127.0.0.1", free_port())
        self.bacnet: Address = ("127.0.0.1", free_port(socket.SOCK_DGRAM))
        self.meter: Address = ("127.0.0.1", free_port())
        self.files = run.directory("site")
        for folder in ("config", "mappings"):
            shutil.copytree(ROOT / folder, self.files / folder, dirs_exist_ok=True)
        self.config = self.files / "config" / "demo.toml"
        mapping = self.files / "mappings" / "demo.toml"
        text = mapping.read_text()
        moved = text.replace("modbus-tcp://127.0.0.1:1503", f"modbus-tcp://{shown(self.meter)}")
        if moved == text:
            raise Failed("mappings/demo.toml names no meter at 127.0.0.1:1503")
        mapping.write_text(moved)
        self.state = run.directory("state")
        self.broker = Mosquitto(run) if parts else None
        self.env = {
            "HEATGATE__MODBUS__LISTEN": shown(self.modbus),
            "HEATGATE__BACNET__LISTEN": shown(self.bacnet),
            "HEATGATE__HTTP__LISTEN": shown(self.http),
            "HEATGATE__STATE_DIR": str(self.state),
            "HEATGATE__MQTT__URL": f"mqtt://{shown(self.broker.address) if self.broker else '127.0.0.1:9'}",
        }
        self.parts: list[Process] = []
        if self.broker:
            shared = ["--broker", shown(self.broker.address), "--speed", PARTS_SPEED]
            for heater in HEATERS:
                self.parts.append(run.heatgate(f"sim-{heater}", "sim", "heater", heater, *shared))
            self.parts.append(run.heatgate("sim-meter", "sim", "meter", "--listen", shown(self.meter), *shared))
            wait_until(lambda: accepts(self.meter), 20.0, "the simulated meter listens")
        self.boots = 0

    def spawn(self) -> Process:
        self.boots += 1
        return self.run.heatgate("gateway", "run", "-c", str(self.config), env=self.env, cwd=self.files)

    def spawn_and_time(self, bound: float = 20.0) -> tuple[Process, float]:
        """A gateway, and the seconds from before its process exists to its first good Modbus answer."""
        began = time.monotonic()
        gateway = self.spawn()
        while True:
            try:
                with Raw(self.modbus, timeout=1.0) as raw:
                    answer = raw.ask(read_pdu(4, 0, 10))
                    if answer is not None and answer[:2] == bytes([4, 20]):
                        return gateway, time.monotonic() - began
            except OSError:
                pass
            if not gateway.running():
                raise Failed(f"the gateway ended with {gateway.child.poll()}\n{gateway.tail()}")
            if time.monotonic() - began > bound:
                raise Failed(f"the gateway did not serve within {bound:g} s\n{gateway.tail()}")
            time.sleep(0.001)


def machine() -> str:
    """The machine in a few words, for a table of figures."""
    model = "unknown processor"
    with open("/proc/cpuinfo") as info:
        for line in info:
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return f"{os.cpu_count()} x {model}, Linux {os.uname().release}"
