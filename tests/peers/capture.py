"""tshark over one short demo with mosquitto and pymodbus: not one malformed frame to or from our ports."""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
from pathlib import Path

from bms_face import MIRROR, PERCENT, Face
from demo_site import Demo
from harness import (
    Failed,
    Process,
    Run,
    command,
    free_port,
    need,
    package_version,
    python_version,
    shown,
    start,
    wait_until,
)
from mqtt_tools import Mosquitto, Subscriber, mosquitto_version

SECONDS = 20
DIALOGUES = Path(__file__).with_name("bacnet_bacpypes3.py")
# Of reads and refused writes, in each simulated minute.
ROUNDS = 10


def as_root(argv: list[str]) -> list[str]:
    return argv if os.geteuid() == 0 else ["sudo", "-n", *argv]


class Capture:
    """The packets of some ports of loopback in a file: others' traffic must not make it drop ours."""

    def __init__(self, run: Run, ports: list[int]):
        self.file = run.scratch / "lo.pcapng"
        self.file.touch()
        self.file.chmod(0o666)
        wanted = " or ".join(f"port {port}" for port in ports)
        argv = as_root([need("tshark"), "-i", "lo", "-w", str(self.file), "-B", "64", "-q", "-f", wanted])
        self.process: Process = run.spawn("tshark", argv)
        wait_until(lambda: "Capturing on" in self.process.log.read_text(), 20.0, "tshark captures")

    def end(self) -> str:
        self.process.signal(signal.SIGINT)
        self.process.wait_exit(20.0)
        return self.process.log.read_text()


def count(capture: Capture, decode: list[str], query: str) -> tuple[int, str]:
    """Frames that fit a display filter, and the first of them as text. Each connection is reassembled from its start."""
    argv = as_root([need("tshark"), "-r", str(capture.file), "-Y", query])
    for rule in decode:
        argv += ["-d", rule]
    code, out, err = command(argv, bound=180.0)
    if code != 0:
        raise Failed(f"tshark -Y {query!r}: exit {code}: {err[-300:]}")
    rows = [line for line in out.splitlines() if line.strip()]
    return len(rows), "\n".join(rows[:5])


def main(run: Run) -> None:
    tshark = package_version("tshark")
    broker = Mosquitto(run)
    # Known before the capture begins, so that it holds the whole of the demo.
    places = {name: ("127.0.0.1", free_port()) for name in ("modbus", "meter")}
    places["bacnet"] = ("127.0.0.1", free_port(socket.SOCK_DGRAM))
    places["broker"] = broker.address
    capture = Capture(run, [port for _, port in places.values()])
    demo = Demo(run, "--for", f"{SECONDS}s", without="broker", outside=places)
    run.peer("tshark", tshark, "dissects every Modbus, MQTT and BACnet frame of a short demo: none is malformed")
    run.peer("mosquitto", mosquitto_version(), "is the broker whose frames are dissected")
    run.peer("pymodbus", python_version("pymodbus"), "is one more master whose frames are dissected")
    heard = Subscriber(run, broker.address, "heatgate/v1/demo/#")
    run.peer(
        "bacpypes3",
        python_version("bacpypes3"),
        "is the BACnet client whose frames are dissected, segments and notifications too",
    )
    argv = [sys.executable, str(DIALOGUES), shown(demo.address("bacnet")), str(demo.addresses["bacnet_device"])]
    dialogues = run.spawn("bacpypes3", argv)
    with Face(demo.modbus) as face:
        for minute in range(1, SECONDS - 4):
            wait_until(lambda minute=minute: len(demo.events("minute")) >= minute, 10.0, "the demo's next minute")
            for _ in range(ROUNDS):
                face.inputs(0, 100)
                face.holding(MIRROR, 100)
                face.client.read_coils(0, count=2, device_id=1)
                face.client.read_discrete_inputs(0, count=11, device_id=1)
                face.write(PERCENT, 1001)
    run.equal("bacpypes3's dialogues hold", dialogues.wait_exit(60.0), 0)
    run.equal("the demo exits with 0", demo.process.wait_exit(60.0), 0)
    run.check("mosquitto_sub heard the site", heard.count() > 10, f"{heard.count()} messages")
    log = capture.end()
    dropped = re.search(r"(\d+) packets? dropped", log)
    run.check(
        "tshark dropped no packet", dropped is None or dropped.group(1) == "0", dropped.group(0) if dropped else ""
    )

    ports = {"modbus": demo.modbus[1], "meter": demo.meter[1], "broker": broker.address[1]}
    decode = [
        f"tcp.port=={ports['modbus']},mbtcp",
        f"tcp.port=={ports['meter']},mbtcp",
        f"tcp.port=={ports['broker']},mqtt",
    ]
    kinds = [
        ("Modbus", "mbtcp", f"tcp.port=={ports['modbus']}"),
        ("meter's Modbus", "mbtcp", f"tcp.port=={ports['meter']}"),
        ("MQTT", "mqtt", f"tcp.port=={ports['broker']}"),
    ]
    bacnet = demo.address("bacnet")[1]
    decode.append(f"udp.port=={bacnet},bvlc")
    kinds.append(("BACnet", "bacapp", f"udp.port=={bacnet}"))
    for name, protocol, at in kinds:
        seen, _ = count(capture, decode, f"{protocol} && {at}")
        run.check(f"{name} frames were dissected", seen > 50, seen)
        bad, rows = count(capture, decode, f"({at}) && (_ws.malformed || _ws.expert.severity == error)")
        run.check(f"no malformed {name} frame", bad == 0, rows if bad else f"0 of {seen}")
    for name, query in (
        ("segments", "bacapp.segmented_request == 1 && bacapp.type == 3"),
        ("notifications", "bacapp.confirmed_service == 1 || bacapp.unconfirmed_service == 2"),
    ):
        sent, _ = count(capture, decode, f"udp.srcport=={bacnet} && ({query})")
        run.check(f"the BACnet device sent {name}", sent > 0, sent)
    # The net must catch something, or its silence proves nothing: the Modbus port's bytes read as MQTT.
    wrong = [f"tcp.port=={ports['modbus']},mqtt"]
    errors = "_ws.malformed || _ws.expert.severity == error"
    seen, _ = count(capture, wrong, f"tcp.port=={ports['modbus']} && ({errors})")
    run.check("the same bytes under a wrong protocol do not pass", seen > 0, f"{seen} frames")


if __name__ == "__main__":
    start(main)
