"""libmodbus, mbpoll and pymodbus as masters on every wire: TCP, RTU over a pair of ptys, RTU over TCP, TLS with roles.

The serial line is a socat pair, so that it can be unplugged. Noise, another slave's traffic and bad frames go over it
between requests, and answers are counted before and after.
"""

from __future__ import annotations

import os
import resource
import select
import socket
import ssl
import struct
import termios
import time
import tty
from pathlib import Path

from pymodbus import FramerType
from pymodbus.client import ModbusSerialClient, ModbusTcpClient, ModbusTlsClient

from harness import ROOT, Failed, Process, Run, accepts, command, free_port, http_get, need, package_version, python_version
from harness import shown, start, wait_until
from mbpoll_tools import mbpoll_version
from raw_modbus import Raw, frame, read_pdu
from run_site import RunSite

# What libmodbus_master.c prints, in order; the zone's map says the values.
EXPECTED = {
    "fc6": "ok",
    "fc3": "400",
    "fc16": "ok",
    "fc3-both": "410 20",
    "fc22": "ok",
    "fc3-masked": "341",
    "fc23": "333 20",
    "fc5": "ok",
    "fc1": "1",
    "fc15": "ok",
    "fc1-off": "0",
    "fc2": "ok",
    "fc4": "1",
    "fc3-block": "ok",
    "fc16-refused": "exception 3",
    "fc6-range": "exception 3",
    "fc3-unchanged": "333 20",
    "fc3-nowhere": "exception 2",
    "fc1-nowhere": "exception 2",
    "fc17": "exception 1",
}

ROLE = "1.3.6.1.4.1.50316.802.1"
SEATS = 500


def crc(data: bytes) -> bytes:
    value = 0xFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ 0xA001 if value & 1 else value >> 1
    return struct.pack("<H", value)


def rtu(unit: int, pdu: bytes) -> bytes:
    body = bytes([unit]) + pdu
    return body + crc(body)


class Line:
    """Two ptys, joined: the gateway has one end, masters the other."""

    def __init__(self, run: Run):
        self.run = run
        self.gateway = run.scratch / "tty-gateway"
        self.master = run.scratch / "tty-master"
        self.child: Process | None = None

    def plug(self) -> None:
        ends = [f"pty,raw,echo=0,link={end}" for end in (self.gateway, self.master)]
        self.child = self.run.spawn("socat", [need("socat"), *ends])
        wait_until(lambda: self.gateway.exists() and self.master.exists(), 20.0, "socat makes two ptys")

    def unplug(self) -> None:
        assert self.child is not None
        self.child.stop()
        for end in (self.gateway, self.master):
            end.unlink(missing_ok=True)


class RawLine:
    """A master that sends any bytes."""

    def __init__(self, path: Path):
        self.fd = os.open(path, os.O_RDWR | os.O_NOCTTY)
        tty.setraw(self.fd)

    def close(self) -> None:
        os.close(self.fd)

    def read(self, bound: float, enough: int = 1 << 30) -> bytes:
        """What comes, until there is enough or nothing came for so long."""
        got = b""
        while len(got) < enough and select.select([self.fd], [], [], bound)[0]:
            got += os.read(self.fd, 4096)
        return got

    def ask(self, data: bytes, length: int, bound: float = 5.0) -> bytes:
        termios.tcflush(self.fd, termios.TCIFLUSH)
        os.write(self.fd, data)
        return self.read(bound, length)


def certificates(run: Run) -> Path:
    """An authority, the gateway's certificate, and masters' with roles; made by openssl."""
    at = run.directory("tls")
    openssl = need("openssl")

    def make(*argv: str) -> None:
        code, _, err = command([openssl, *argv], cwd=at)
        if code != 0:
            raise Failed(f"openssl {' '.join(argv)}: {err}")

    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    for authority in ("ca", "other-ca"):
        make("req", "-x509", *curve, "-subj", f"/CN={authority}", "-days", "2", "-keyout", f"{authority}.key",
             "-out", f"{authority}.pem")
    for name, role, authority in (
        ("gateway", None, "ca"),
        ("operator", "Operator", "ca"),
        ("viewer", "Viewer", "ca"),
        ("stranger", "Janitor", "ca"),
        ("plain", None, "ca"),
        ("foreign", "Operator", "other-ca"),
    ):
        extensions = "subjectAltName=IP:127.0.0.1\n" + (f"{ROLE}=ASN1:UTF8String:{role}\n" if role else "")
        (at / f"{name}.ext").write_text(extensions)
        make("req", *curve, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        make("x509", "-req", "-in", f"{name}.csr", "-CA", f"{authority}.pem", "-CAkey", f"{authority}.key",
             "-CAcreateserial", "-days", "2", "-extfile", f"{name}.ext", "-out", f"{name}.pem")
    return at


def libmodbus(run: Run, name: str, program: Path, wire: list[str]) -> None:
    code, out, err = command([str(program), *wire], bound=60.0)
    got = dict(line.partition(" ")[::2] for line in out.splitlines())
    run.equal(f"libmodbus over {name} ends well", (code, err), (0, ""))
    run.equal(f"libmodbus over {name}: every function and exception", got, EXPECTED)


def poll(run: Run, name: str, wire: list[str]) -> None:
    base = [need("mbpoll"), "-0", "-1", "-B", "-a", "1", "-o", "5", *wire[:-1]]
    code, _, err = command([*base, "-t", "4", "-r", "0", wire[-1], "444"])
    run.equal(f"mbpoll over {name} writes", (code, err.strip()), (0, ""))
    code, out, err = command([*base, "-t", "4", "-r", "0", "-c", "2", wire[-1]])
    run.check(f"mbpoll over {name} reads it back", code == 0 and "[0]: \t444" in out and "[1]:" in out, out[-60:])
    code, _, err = command([*base, "-t", "4", "-r", "0", wire[-1], "1001"])
    run.check(f"mbpoll over {name}: a value that is refused", "Illegal data value" in err, err.strip())


def code_of(answer: object) -> object:
    return getattr(answer, "exception_code", 0)


def pymodbus(run: Run, name: str, client: ModbusTcpClient | ModbusSerialClient) -> None:
    run.check(f"pymodbus over {name} connects", client.connect())
    ask = {"device_id": 1}
    run.equal(f"{name}: FC 16", code_of(client.write_registers(0, [250, 10], **ask)), 0)
    run.equal(f"{name}: FC 3", client.read_holding_registers(0, count=2, **ask).registers, [250, 10])
    run.equal(f"{name}: FC 6", code_of(client.write_register(0, 260, **ask)), 0)
    run.equal(f"{name}: FC 22", code_of(client.mask_write_register(address=0, and_mask=0xFF00, or_mask=0x11, **ask)), 0)
    answer = client.readwrite_registers(read_address=0, read_count=2, write_address=1, values=[12], **ask)
    run.equal(f"{name}: FC 23 reads its own write", answer.registers, [0x0111, 12])
    run.equal(f"{name}: FC 5", code_of(client.write_coil(0, True, **ask)), 0)
    run.equal(f"{name}: FC 1", client.read_coils(0, count=1, **ask).bits[0], True)
    run.equal(f"{name}: FC 15", code_of(client.write_coils(0, [False], **ask)), 0)
    run.equal(f"{name}: FC 2", len(client.read_discrete_inputs(0, count=11, **ask).bits), 16)
    run.equal(f"{name}: FC 4", client.read_input_registers(5, count=1, **ask).registers, [1])
    run.equal(f"{name}: exception 02", code_of(client.read_holding_registers(5000, count=1, **ask)), 2)
    run.equal(f"{name}: exception 03", code_of(client.write_register(0, 1001, **ask)), 3)
    run.equal(f"{name}: exception 01", code_of(client.report_device_id(**ask)), 1)
    who = client.read_device_information(read_code=2, object_id=0, **ask).information
    run.equal(f"{name}: FC 43/14 vendor, product, site", (who[0], who[1], who[6]),
              (b"ACME heat", b"HG-1", b"Demonstration site"))


def shared_line(run: Run, line: Line) -> None:
    """Foreign traffic, noise and bad frames on the line; answers before and after."""
    raw = RawLine(line.master)
    request = rtu(1, struct.pack(">BHH", 3, 0, 1))

    def answers(count: int) -> int:
        return sum(raw.ask(request, 7)[:3] == bytes([1, 3, 2]) for _ in range(count))

    run.equal("RTU answers before", answers(20), 20)
    loop = rtu(1, bytes([8, 0, 0, 0xA5, 0x37]))
    run.equal("FC 08/00 over RTU is its own answer", raw.ask(loop, 8), loop)
    before = raw.ask(request, 7)[3:5]
    os.write(raw.fd, rtu(0, struct.pack(">BHH", 6, 0, 321)))
    run.equal("a broadcast gets no answer", raw.read(0.3), b"")
    run.equal("and is carried out", (before != raw.ask(request, 7)[3:5], raw.ask(request, 7)[3:5]),
              (True, struct.pack(">H", 321)))
    hidden = rtu(1, struct.pack(">BHH", 6, 0, 999))
    foreign = [
        rtu(9, struct.pack(">BHH", 3, 0, 4)),
        rtu(9, bytes([3, len(hidden)]) + hidden),
        rtu(9, struct.pack(">BHH", 6, 0, 777)) * 2,
        rtu(9, bytes([0x83, 2])),
        rtu(9, struct.pack(">BHHB", 16, 0, 1, 2) + b"\x01\x02"),
        rtu(9, struct.pack(">BHH", 16, 0, 1)),
        rtu(1, bytes([3, 2, 0, 9])),
    ]
    for frame in foreign:
        os.write(raw.fd, frame)
        run.equal(f"silence to {frame[:4].hex()}...", raw.read(0.25), b"")
    run.equal("another slave's writes are not ours", raw.ask(request, 7)[3:5], struct.pack(">H", 321))
    bad = [
        b"\x00",
        b"\xff" * 20,
        os.urandom(300),
        request[:-1] + bytes([request[-1] ^ 1]),
        bytes([1, 5, 0, 0, 0xFF]),
        bytes([1, 16, 0, 0, 0, 2, 4, 0, 1]),
        bytes([1, 16, 0, 0, 0, 2, 200]) + bytes(30),
    ]
    answered = 0
    for noise in bad:
        os.write(raw.fd, noise)
        raw.read(0.3)
        answered += answers(2)
    run.equal("RTU answers after noise", answered, 2 * len(bad))
    raw.close()
    line.unplug()
    time.sleep(0.5)
    line.plug()

    def back() -> bool:
        again = RawLine(line.master)
        try:
            return again.ask(request, 7, 0.5)[:3] == bytes([1, 3, 2])
        finally:
            again.close()

    run.check("after the adapter was unplugged it is answered again", wait_until(back, 30.0, "an answer"))
    raw = RawLine(line.master)
    run.equal("RTU answers after that", answers(20), 20)
    raw.close()


def over_tls(run: Run, port: int, at: Path) -> None:
    def client(name: str | None) -> ModbusTlsClient:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # pymodbus names no host; the certificate is verified all the same.
        context.check_hostname = False
        context.load_verify_locations(at / "ca.pem")
        if name:
            context.load_cert_chain(at / f"{name}.pem", at / f"{name}.key")
        return ModbusTlsClient("127.0.0.1", port=port, sslctx=context, timeout=5, retries=0)

    for name, read, write in (("operator", 0, 0), ("viewer", 0, 1), ("stranger", 1, 1), ("plain", 1, 1)):
        tls = client(name)
        run.check(f"TLS as {name} connects", tls.connect())
        run.equal(f"TLS as {name}: FC 3", code_of(tls.read_holding_registers(0, count=1, device_id=1)), read)
        run.equal(f"TLS as {name}: FC 6", code_of(tls.write_register(0, 222, device_id=1)), write)
        tls.close()
    for name in (None, "foreign"):
        tls = client(name)
        # With TLS 1.3 the client hears of a refused certificate at its first read.
        try:
            refused = not tls.connect() or tls.read_holding_registers(0, count=1, device_id=1).isError()
        except Exception as error:
            refused = type(error).__name__
        run.check(f"TLS with {name or 'no'} certificate is refused", refused, refused)
        tls.close()


def answered(connection: Raw, transaction: int = 9) -> bool:
    connection.send(frame(transaction, read_pdu(3, 0, 2)))
    answer = connection.receive()
    return answer is not None and answer[0] == transaction and answer[2][:2] == bytes([3, 4])


def from_address(source: str, to: tuple[str, int]) -> Raw:
    raw = Raw.__new__(Raw)
    raw.socket = socket.create_connection(to, timeout=10.0, source_address=(source, 0))
    raw._input = b""
    return raw


def bad_manners(run: Run, to: tuple[str, int]) -> None:
    """Frames that lie, many requests at once, a sender of one byte now and then, halves of frames."""
    for what, lie in (
        ("protocol identifier 1", frame(1, read_pdu(3, 0, 1), protocol=1)),
        ("length 0", frame(1, read_pdu(3, 0, 1), length=0)),
        ("length 1", frame(1, read_pdu(3, 0, 1), length=1)),
        ("length 255", frame(1, read_pdu(3, 0, 1), length=255)),
        ("length 65535", frame(1, read_pdu(3, 0, 1), length=65535)),
    ):
        with Raw(to) as raw:
            raw.send(frame(5, read_pdu(3, 0, 1)) + lie + frame(6, read_pdu(3, 0, 1)))
            first = raw.receive()
            run.check(f"MBAP with {what}: what came before is answered, then it is closed",
                      first is not None and first[0] == 5 and raw.closed_by_server())
    with Raw(to) as raw:
        raw.send(frame(1, read_pdu(3, 0, 1), unit=77))
        run.equal("another unit is exception 0B", raw.receive(), (1, 77, bytes([0x83, 0x0B])))
        asked = [(n, 1 + n % 2) for n in range(400)]
        raw.send(b"".join(frame(n, read_pdu(3, 0, count)) for n, count in asked))
        answers = [raw.receive() for _ in asked]
        run.equal("400 requests at once are answered in order",
                  [(answer[0], answer[2][1] // 2) for answer in answers if answer], asked)
    whole = frame(3, read_pdu(3, 0, 2))
    with Raw(to) as slow, Raw(to) as half, ModbusTcpClient(to[0], port=to[1], timeout=5, retries=0) as quick:
        half.send(whole[:7])
        waits = []
        for byte in whole:
            slow.send(bytes([byte]))
            began = time.monotonic()
            run_ok = not quick.read_holding_registers(0, count=2, device_id=1).isError()
            waits.append((time.monotonic() - began) if run_ok else 99.0)
            time.sleep(0.3)
        run.check("one byte at a time is answered in the end", slow.receive() is not None)
        run.check("and holds up nobody, nor does half a frame", max(waits) < 2.0, f"{max(waits):.3f} s")


def crowd(run: Run, to: tuple[str, int], http: tuple[str, int], gateway: Process) -> None:
    """All seats are taken, and all answered; what the next one gets. Then the gateway runs out of file descriptors."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    before = len(os.listdir(f"/proc/{gateway.pid}/fd"))
    seats: list[Raw] = []
    try:
        while len(seats) < SEATS:
            seats.append(Raw(to, timeout=20.0))
        for number, seat in enumerate(seats):
            seat.send(frame(number, read_pdu(3, 0, 2)))
        answers = [seat.receive() for seat in seats]
        run.equal(f"{SEATS} masters at once are answered", [answer and answer[0] for answer in answers], list(range(SEATS)))
        with Raw(to, timeout=20.0) as late:
            run.check(f"number {SEATS + 1} of the same client is refused", late.closed_by_server())
        with from_address("127.0.0.2", to) as other:
            run.check("another client gets a seat of the one that has most", answered(other))
            run.check("whose oldest connection gives way", seats[0].closed_by_server())
            run.check("and the others stay", all(answered(seat) for seat in seats[1:]))
    finally:
        for seat in seats:
            seat.socket.close()
    wait_until(lambda: len(os.listdir(f"/proc/{gateway.pid}/fd")) < before + SEATS // 10, 30.0, "the crowd is gone")
    with Raw(to, timeout=20.0) as old:
        answered(old)
        resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE, (len(os.listdir(f"/proc/{gateway.pid}/fd")) + 4, 4096))
        seats = [Raw(to, timeout=20.0) for _ in range(12)]
        run.check("without file descriptors open connections are answered", all(answered(old) for _ in range(20)))
        for seat in seats:
            seat.socket.close()
        resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE, (1024, 4096))
    with Raw(to, timeout=20.0) as new:
        run.check("and new ones are taken as soon as there are some", answered(new))
    metrics = http_get(http, "/metrics")[1]
    counted = [line for line in metrics.splitlines() if 'modbus-server"' in line and '"accept"' in line]
    run.check("it was counted", bool(counted) and float(counted[0].rpartition(" ")[2]) > 0, counted)


def main(run: Run) -> None:
    run.peer("libmodbus", package_version("libmodbus5"), "every function and exception over TCP and a pty pair")
    run.peer("mbpoll", mbpoll_version(), "writes, reads and a refusal over TCP and a pty pair")
    run.peer("pymodbus", python_version("pymodbus"), "TCP, RTU, RTU over TCP; TLS with roles and without certificate")
    master = run.scratch / "libmodbus_master"
    code, _, err = command([need("cc"), "-O1", "-Wall", "-o", str(master),
                            str(ROOT / "tests" / "peers" / "libmodbus_master.c"), "-lmodbus"])
    run.equal("the libmodbus master compiles", (code, err), (0, ""))
    line = Line(run)
    at = certificates(run)
    site = RunSite(run, parts=False)
    over_tcp, secure = free_port(), free_port()
    text = site.config.read_text().replace("unit_id = 1\n", f'unit_id = 1\nmax_connections = {SEATS}\nvendor_name = "ACME heat"\nproduct_code = "HG-1"\n')
    text += f"""
[[modbus.listener]]
kind = "rtu"
port = "{line.gateway}"
baud = 115200
parity = "none"

[[modbus.listener]]
kind = "rtu-over-tcp"
listen = "127.0.0.1:{over_tcp}"

[[modbus.listener]]
kind = "tls"
listen = "127.0.0.1:{secure}"
certificate = "{at}/gateway.pem"
key = "{at}/gateway.key"
authorities = "{at}/ca.pem"
roles = {{ read = ["Viewer"], write = ["Operator"] }}
units = [{{ unit = 1 }}, {{ unit = 2, zone = "hall" }}]
"""
    site.config.write_text(text)
    code, out, err = command([str(run.binary), "check", "-c", str(site.config)], cwd=site.files)
    run.equal("`check` finds nothing wrong with the listeners", code, 0)
    # Before there is a port: the gateway starts all the same.
    gateway = site.spawn()
    wait_until(lambda: accepts(site.modbus), 60.0, "the gateway listens")
    line.plug()
    waiting = RawLine(line.master)
    request = rtu(1, struct.pack(">BHH", 3, 0, 1))
    wait_until(lambda: waiting.ask(request, 7, 0.5)[:3] == bytes([1, 3, 2]), 30.0, "the port that came late is opened")
    waiting.close()
    tcp = ["tcp", site.modbus[0], str(site.modbus[1]), "1"]
    libmodbus(run, "TCP", master, tcp)
    libmodbus(run, "RTU", master, ["rtu", str(line.master), "115200", "N", "1"])
    poll(run, "TCP", ["-m", "tcp", "-p", str(site.modbus[1]), site.modbus[0]])
    poll(run, "RTU", ["-m", "rtu", "-b", "115200", "-P", "none", str(line.master)])
    for name, client in (
        ("TCP", ModbusTcpClient(*site.modbus[:1], port=site.modbus[1], timeout=5, retries=0)),
        ("RTU", ModbusSerialClient(str(line.master), baudrate=115200, parity="N", timeout=5, retries=0)),
        ("RTU over TCP", ModbusTcpClient("127.0.0.1", port=over_tcp, framer=FramerType.RTU, timeout=5, retries=0)),
    ):
        pymodbus(run, name, client)
        client.close()
    bad_manners(run, site.modbus)
    crowd(run, site.modbus, site.http, gateway)
    shared_line(run, line)
    over_tls(run, secure, at)
    run.check("the gateway still runs", gateway.running())
    run.note(f"TCP at {shown(site.modbus)}, TLS at {secure}, RTU over TCP at {over_tcp}")


if __name__ == "__main__":
    start(main)
