"""heatgate as a Modbus client on every wire: pymodbus slaves on a pty pair, behind a serial server, behind TLS, over TCP.

One line carries four units, of which one is dead. Values must be live within a cycle; what is written must be read back, and
written again after the slave has restarted; the serial adapter is unplugged and comes back by itself; the dead unit must
cost the others no more than one time-out.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path

from pymodbus import FramerType
from pymodbus.client import ModbusTcpClient
from pymodbus.server import ModbusSerialServer, ModbusTcpServer, ModbusTlsServer
from pymodbus.simulator import DataType, SimData, SimDevice

from harness import Failed, Process, Run, command, free_port, http_get, need, python_version, start, wait_until

UNITS = (1, 2, 3)
# What each wire's first unit is told to put out.
TOLD = {"rtu": 103, "server": 106, "secure": 106, "plain": 107}
DEAD = 9
POLL = 0.5
TIMEOUT = 1.0
# The machine may be busy; a cycle that is lost stays lost for ever.
PATIENCE = 60.0
# A unit that is alive is read at least this often while its neighbour is dead: its poll, one time-out, and room for a busy
# machine; two time-outs would be more.
LONGEST = POLL + TIMEOUT + 0.9
# In registers 2 to 7 of every unit, with spaces behind it.
SERIAL = b"SN 4711-B"


class Slaves:
    """Units with ten registers each: a float of its own, a counter of reads, an output at 8."""

    def __init__(self, units: tuple[int, ...], make: Callable[[list[SimDevice]], object]):
        self.units = units
        self.make = make
        self.value = {unit: 10.5 * unit for unit in units}
        self.output = dict.fromkeys(units, 0)
        self.reads: dict[int, list[float]] = {unit: [] for unit in units}
        self.writes = dict.fromkeys(units, 0)
        self._loop = self._server = self._thread = None

    def _device(self, unit: int) -> SimDevice:
        async def access(_function, _start, address, _count, current, values):
            if values is not None:
                if address == 8:
                    self.output[unit] = int(values[0])
                    self.writes[unit] += 1
                return None
            if address == 0:
                self.reads[unit].append(time.monotonic())
            text = struct.unpack(">6H", SERIAL.ljust(12))
            current[:] = [*struct.unpack(">2H", struct.pack(">f", self.value[unit])), *text, self.output[unit], 0]
            return None

        data = SimData(address=0, count=10, values=0, datatype=DataType.REGISTERS)
        return SimDevice(id=unit, simdata=[data], action=access)

    def serve(self) -> None:
        ready, failure = threading.Event(), []

        async def main() -> None:
            try:
                self._server = self.make([self._device(unit) for unit in self.units])
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
        ready.wait(20.0)
        if failure:
            raise failure[0]

    def die(self) -> None:
        """The listener or the port is closed, and what was written is forgotten."""
        if self._loop is None:
            return
        asyncio.run_coroutine_threadsafe(self._server.shutdown(), self._loop).result(20.0)
        self._thread.join(20.0)
        self._loop = self._server = self._thread = None
        self.output = dict.fromkeys(self.units, 0)


def mute(sending: bool, data: bytes) -> bytes:
    """The dead unit is on the line and says nothing."""
    return b"" if sending and data[:1] == bytes([DEAD]) else data


class Line:
    """Two ptys, joined: the gateway has one end, the slaves the other."""

    def __init__(self, run: Run):
        self.run = run
        self.gateway, self.slaves = run.scratch / "tty-gateway", run.scratch / "tty-slaves"
        self.child: Process | None = None

    def plug(self) -> None:
        ends = [f"pty,raw,echo=0,link={end}" for end in (self.gateway, self.slaves)]
        self.child = self.run.spawn("socat", [need("socat"), *ends])
        wait_until(lambda: self.gateway.exists() and self.slaves.exists(), 20.0, "socat makes two ptys")

    def unplug(self) -> None:
        assert self.child is not None
        self.child.stop()
        for end in (self.gateway, self.slaves):
            end.unlink(missing_ok=True)


def certificates(at: Path) -> None:
    """An authority, the gateway's certificate and the device's."""

    def make(*argv: str) -> None:
        code, _, err = command([need("openssl"), *argv], cwd=at)
        if code != 0:
            raise Failed(f"openssl {' '.join(argv)}: {err}")

    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    make("req", "-x509", *curve, "-subj", "/CN=ca", "-days", "2", "-keyout", "ca.key", "-out", "ca.pem")
    for name in ("gateway", "device"):
        (at / f"{name}.ext").write_text("subjectAltName=IP:127.0.0.1\n")
        make("req", *curve, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        make("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
             "-extfile", f"{name}.ext", "-out", f"{name}.pem")


def site(run: Run, wires: dict[str, tuple[str, tuple[int, ...]]], http: int, modbus: int, tls: Path) -> Path:
    folder = run.directory("site")
    parts = []
    for wire, (link, units) in wires.items():
        for unit in units:
            name = f"{wire}-{unit}"
            parts.append(f"""
[[device]]
name = "{name}"
link = "{link}"
unit_id = {unit}
poll = "500ms"
timeout = "1s"
[[point]]
name = "{name}/value"
unit = "none"
source = {{ device = "{name}", holding = 0, type = "f32" }}
""")
        # There the state is written: eco, 107.
        target = "" if wire == "plain" else f'target = {{ device = "{wire}-{units[0]}", holding = 8, type = "u16", refresh = "5m" }}'
        parts.append(f"""
[[point]]
name = "{wire}/out"
kind = "unsigned"
range = [0, 1000]
default = {100 + len(wire)}
{target}
""")
    (folder / "site.toml").write_text("""use = ["digital-boiler.toml"]
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
""" + "".join(parts) + MORE)
    (folder / "gateway.toml").write_text(f"""
state_dir = "{run.directory('state')}"
mapping = "site.toml"
[site]
id = "devices"
[mqtt]
url = "mqtt://127.0.0.1:9"
[modbus]
listen = "127.0.0.1:{modbus}"
[modbus.client]
certificate = "{tls}/gateway.pem"
key = "{tls}/gateway.key"
authorities = "{tls}/ca.pem"
[bacnet]
enabled = false
[http]
listen = "127.0.0.1:{http}"
""")
    return folder / "gateway.toml"


# A text both ways, a state that has other numbers in the device, offline policies, and a value that expires.
MORE = """
[[point]]
name = "plain-7/serial"
kind = "text"
source = { device = "plain-7", holding = 2, type = "text", registers = 6 }
bms = { input = 5000, type = "text", registers = 8, offline = "exception" }
[[point]]
name = "plain-7/swapped"
kind = "text"
source = { device = "plain-7", holding = 2, type = "text", registers = 6, order = "BADC" }
[[point]]
name = "plain-7/narrow"
unit = "none"
range = [0, 1]
source = { device = "plain-7", holding = 0, type = "f32" }
bms = { input = 5010, type = "f32", offline = "exception", quality = 5012 }
[[point]]
name = "rtu-9/strict"
unit = "none"
source = { device = "rtu-9", holding = 0, type = "f32" }
bms = [
    { input = 5020, type = "f32", offline = "exception", quality = 5022, age = 5023 },
    { input = 5024, type = "f32", offline = "nan" },
]
[[point]]
name = "plain/mode"
kind = "state"
texts = ["off", "eco", "full"]
default = 2
bms = { holding = 5100, type = "u16" }
target = { device = "plain-7", holding = 8, type = "u16", refresh = "5m", states = [[107, 2], [7, 1], [65535, 3]] }
[[point]]
name = "lease/setpoint"
unit = "none"
default = 1
expires = { after = "3s" }
bms = { holding = 5110, type = "u16", quality = 5111, age = 5112 }
"""


def faces(run: Run, modbus: int) -> None:
    """What a master reads of devices' texts, faults and leases."""
    with ModbusTcpClient("127.0.0.1", port=modbus, timeout=5, retries=0) as bms:
        text = bms.read_input_registers(5000, count=8).registers
        run.equal("a text of a device is served as registers",
                  bms.convert_from_registers(text, bms.DATATYPE.STRING), SERIAL.decode())
        run.equal("a device that answers rubbish: exception 04", bms.read_input_registers(5010, count=2).exception_code, 4)
        run.equal("its quality is out of range", bms.read_input_registers(5012, count=1).registers, [22])
        run.equal("a device that does not answer: exception 0B", bms.read_input_registers(5020, count=2).exception_code, 11)
        run.equal("its quality and age", bms.read_input_registers(5022, count=2).registers, [17, 65535])
        run.equal("NaN in the next block", bms.read_input_registers(5024, count=2).registers, [0x7FC0, 0])

        def lease() -> list[int]:
            return bms.read_holding_registers(5110, count=3).registers

        bms.write_register(5110, 42)
        run.equal("a value just written is good", lease()[:2], [42, 0])
        wait_until(lambda: lease()[1] == 2, 20.0, "the lease runs out")
        run.check("a value that is not written again turns stale and stays", lease()[0] == 42 and lease()[2] >= 3, lease())
        seen = set()
        began = time.monotonic()
        while time.monotonic() - began < 5.0:
            bms.write_register(5110, 42)
            seen.add(tuple(lease()[:2]))
            time.sleep(0.5)
        run.equal("the same value written again and again stays good", seen, {(42, 0)})


def points(http: int) -> dict[str, dict]:
    status, body = http_get(("127.0.0.1", http), "/api/v1/points")
    if status != 200:
        raise Failed(f"/api/v1/points: {status}")
    document = json.loads(body)
    rows = document["points"] if isinstance(document, dict) else document
    return {row["key"]: row for row in rows}


def main(run: Run) -> None:
    run.peer("pymodbus", python_version("pymodbus"), "slaves on a pty pair, RTU over TCP, TLS and TCP, polled and written")
    line, tls = Line(run), run.directory("tls")
    certificates(tls)
    over_tcp, secure, plain, http, modbus = (free_port() for _ in range(5))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls / "device.pem", tls / "device.key")
    context.load_verify_locations(tls / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    line.plug()

    peers = {
        "rtu": Slaves((*UNITS, DEAD), lambda devices: ModbusSerialServer(
            devices, framer=FramerType.RTU, port=str(line.slaves), baudrate=115200, trace_packet=mute)),
        "server": Slaves((4, 5), lambda devices: ModbusTcpServer(
            devices, framer=FramerType.RTU, address=("127.0.0.1", over_tcp))),
        # Modbus/TCP Security has the MBAP header inside TLS.
        "secure": Slaves((6,), lambda devices: ModbusTlsServer(
            devices, framer=FramerType.SOCKET, address=("127.0.0.1", secure), sslctx=context)),
        "plain": Slaves((7,), lambda devices: ModbusTcpServer(devices, address=("127.0.0.1", plain))),
    }
    for peer in peers.values():
        peer.serve()
        run.at_end(peer.die)
    wires = {
        "rtu": (f"modbus-rtu://{line.gateway}?baud=115200&parity=none", (*UNITS, DEAD)),
        "server": (f"modbus-rtu-tcp://127.0.0.1:{over_tcp}", (4, 5)),
        "secure": (f"modbus-tls://127.0.0.1:{secure}", (6,)),
        "plain": (f"modbus-tcp://127.0.0.1:{plain}", (7,)),
    }
    config = site(run, wires, http, modbus, tls)
    code, out, err = command([str(run.binary), "check", "-c", str(config)])
    run.equal("`check` finds nothing wrong", code, 0)
    code, out, err = command([str(run.binary), "plan", "-c", str(config)])
    run.check("`plan` says that every line keeps up", code == 0 and "read FC 3 holding 0 to 1 (2)" in out, out[-300:] + err)
    gateway = run.heatgate("gateway", "run", "-c", str(config))

    def alive(peer: Slaves) -> list[int]:
        return [unit for unit in peer.units if unit != DEAD]

    def rows() -> dict[str, dict]:
        try:
            return points(http)
        except OSError:
            return {}

    def holds(wire: str, unit: int) -> bool:
        row = rows().get(f"{wire}-{unit}/value", {})
        return row.get("quality") == "good" and abs(row["value"] - peers[wire].value[unit]) < 1e-3

    def all_hold(what: str, wires: tuple[str, ...] = tuple(peers)) -> None:
        for wire in wires:
            for unit in alive(peers[wire]):
                wait_until(lambda: holds(wire, unit), PATIENCE, f"{what}: {wire} unit {unit}")
        run.check(f"{what}: every unit's own value, on {', '.join(wires)}", True)

    all_hold("at the start")
    for wire, peer in peers.items():
        for unit in peer.units:
            peer.value[unit] = 1000.25 + unit
    all_hold("after a change")
    run.equal("a text of a device", rows()["plain-7/serial"]["value"], SERIAL.decode())
    swapped = bytes(b for pair in zip(SERIAL.ljust(12)[1::2], SERIAL.ljust(12)[::2]) for b in pair)
    run.equal("and with its bytes in the other order", rows()["plain-7/swapped"]["value"], swapped.decode().strip())
    faces(run, modbus)
    dead = rows()[f"rtu-{DEAD}/value"]
    run.check("the dead unit has no good value, and a cause", dead["quality"] != "good", dead.get("quality"))

    for wire, peer in peers.items():
        wait_until(lambda: peer.output[peer.units[0]] == TOLD[wire], PATIENCE, f"{wire}: the output is written")
    run.check("every wire's output is written", True)
    # Written once: it is read back, and not written again although nothing changed.
    time.sleep(2.0)
    run.equal("and once", {wire: peer.writes[peer.units[0]] for wire, peer in peers.items()}, dict.fromkeys(peers, 1))

    # The dead unit beside the live ones, through several of its probes.
    began = time.monotonic()
    wait_until(lambda: time.monotonic() - began > 8.0, 20.0, "eight seconds")
    gaps = []
    for unit in UNITS:
        times = [at for at in peers["rtu"].reads[unit] if at >= began]
        gaps.append(max(b - a for a, b in zip(times, times[1:])))
    run.check("a dead neighbour costs no more than one time-out", max(gaps) <= LONGEST,
              f"longest pause between two reads {max(gaps):.2f} s")

    # A slave restarts: what it was told is gone, and told again.
    for wire in ("server", "secure", "plain"):
        peer = peers[wire]
        peer.die()
        for unit in peer.units:
            wait_until(lambda: rows()[f"{wire}-{unit}/value"]["quality"] != "good", PATIENCE, f"{wire}: lost")
        peer.serve()
        wait_until(lambda: peer.output[peer.units[0]] == TOLD[wire], PATIENCE, f"{wire}: written again")
    run.check("after a restart each slave is told again", True)
    all_hold("after the restarts", ("server", "secure", "plain"))

    # The adapter is pulled out, and another takes its name.
    peers["rtu"].die()
    line.unplug()
    for unit in UNITS:
        wait_until(lambda: rows()[f"rtu-{unit}/value"]["quality"] != "good", PATIENCE, f"unit {unit} is lost")
    run.check("without the adapter no value of its line is good", True)
    line.plug()
    peers["rtu"].serve()
    for unit in UNITS:
        peers["rtu"].value[unit] = 77.5 + unit
    all_hold("with the adapter back", ("rtu",))
    wait_until(lambda: peers["rtu"].output[1] == 103, PATIENCE, "the output is written again")
    run.check("and its output is written again", True)
    all_hold("at the end")
    run.check("the gateway still runs", gateway.running())


if __name__ == "__main__":
    start(main)
