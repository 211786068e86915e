"""Broadcast domains: two subnets with a broadcast manager each, foreign devices in a third, a router to another network.

    subnet a: heatgate 47001, the manager   a bacpypes3 device    a bacpypes3 router ---- network 2: a bacpypes3 device
    subnet b: a bacpypes3 manager           a bacpypes3 device
    subnet c: heatgate 47002, foreign at b's manager              a bacpypes3 device, foreign at a's manager

Everybody finds everybody, commands and subscribes across; registrations end, and come back after their manager.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import struct
import time

from bacpypes3.app import Application
from bacpypes3.basetypes import BDTEntry, HostNPort
from bacpypes3.local.device import DeviceObject
from bacpypes3.local.networkport import NetworkPortObject
from bacpypes3.pdu import Address, IPv4Address
from bacpypes3.primitivedata import Null, ObjectIdentifier, Real

from harness import ROOT, Failed, Process, Run, command, need, package_version, python_version, start, wait_until
from namespaces import Inhabitant, Net, bridge

# A busy machine's share; nothing here takes a tenth of it on an idle one.
BOUND = 30.0
AV = ObjectIdentifier("analog-value,1")
PORT = ObjectIdentifier("network-port,1")
TTL = 6
ONE = ObjectIdentifier("device,47001")
TWO = ObjectIdentifier("device,47002")


class Peer(Application):
    """bacpypes3, and whom it heard."""

    heard: list[tuple[int, str]]

    async def do_IAmRequest(self, apdu) -> None:
        if not hasattr(self, "heard"):
            self.heard = []
        self.heard.append((apdu.iAmDeviceIdentifier[1], str(apdu.pduSource)))
        await super().do_IAmRequest(apdu)


def device(number: int) -> DeviceObject:
    return DeviceObject(
        objectIdentifier=("device", number),
        objectName=f"peer {number}",
        maxApduLengthAccepted=1024,
        segmentationSupported="segmentedBoth",
        maxSegmentsAccepted=64,
        vendorIdentifier=999,
    )


def port(address: str, number: int = 1, network: int = 0) -> NetworkPortObject:
    shown = NetworkPortObject(IPv4Address(address), objectIdentifier=("network-port", number), objectName=f"port {number}")
    shown.networkNumber = network
    return shown


class Host:
    """A bacpypes3 application in a namespace."""

    def __init__(self, run: Run, where: str, number: int, *ports):
        self.life = Inhabitant(run, where)
        self.number = number
        self.ports = ports
        self.app: Peer | None = None
        self.open()

    def open(self) -> None:
        async def made() -> Peer:
            return Peer.from_object_list([device(self.number), *[make() for make in self.ports]])

        self.app = self.life.do(made())

    def close(self) -> None:
        self.life.call(self.app.close)
        self.app = None

    def finds(self, number: int, bound: float = BOUND) -> str:
        """The address that a device answers from to a global Who-Is, asked until it does."""

        async def ask() -> str:
            found = await self.app.who_is(number, number, Address("*:*"), timeout=1.0)
            return str(found[0].pduSource) if found else ""

        return wait_until(lambda: self.life.do(ask()), bound, f"{self.number} finds {number}")

    def read(self, at: str, what: ObjectIdentifier, which: str):
        return self.life.do(self.app.read_property(Address(at), what, which))

    def write(self, at: str, value, priority: int = 10):
        return self.life.do(self.app.write_property(Address(at), AV, "present-value", value, None, priority))

    def heard(self) -> list[tuple[int, str]]:
        return list(getattr(self.app, "heard", []))

    def told(self, at: str, confirmed: bool, values: list[float], writer: "Host", seen_at: str) -> list[float]:
        """What a subscription tells while somebody else commands these values, each at its own address of the device."""
        told: list[float] = []

        async def subscribed() -> list[float]:
            async with self.app.change_of_value(Address(at), AV, 7, confirmed, 60) as subscription:
                for value in [None, *values]:
                    if value is not None:
                        writing = asyncio.get_running_loop().run_in_executor(None, writer.write, seen_at, Real(value))
                        await writing
                    while not told or (value is not None and told[-1] != value):
                        which, is_now = await subscription.get_value()
                        if str(which) == "present-value":
                            told.append(is_now)
            return told

        try:
            self.life.do(subscribed(), BOUND)
        except Exception as error:
            raise Failed(f"{self.number} is told by {at}: {error!r}, so far {told}") from error
        return told


class Bvll:
    """Frames of the broadcast managers' own services, by hand."""

    def __init__(self, run: Run, where: str, own: str):
        self.life = Inhabitant(run, where)

        def bind() -> socket.socket:
            made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            made.bind((own, 0))
            made.settimeout(3.0)
            return made

        self.sockets = [self.life.call(bind) for _ in range(2)]

    def ask(self, to: str, function: int, rest: bytes = b"", which: int = 0) -> bytes:
        """Function and content of the answer; asked again when a datagram is lost."""
        frame = struct.pack(">BBH", 0x81, function, 4 + len(rest)) + rest
        for _ in range(5):
            self.sockets[which].sendto(frame, (to, 47808))
            try:
                answer = self.sockets[which].recv(2048)
                # Who is registered is sent the network's broadcasts, too.
                while answer[1:2] == b"\4":
                    answer = self.sockets[which].recv(2048)
            except TimeoutError:
                continue
            if answer[:1] != b"\x81" or struct.unpack(">H", answer[2:4])[0] != len(answer):
                raise Failed(f"no BVLL: {answer.hex()}")
            return answer[1:2] + answer[4:]
        raise Failed(f"{to} does not answer BVLL function {function}")

    def address(self, which: int = 0) -> bytes:
        ip, number = self.sockets[which].getsockname()
        return socket.inet_aton(ip) + struct.pack(">H", number)

    def foreign(self, at: str) -> dict[bytes, tuple[int, int]]:
        """A manager's foreign devices: time-to-live and what is left."""
        answer = self.ask(at, 0x06)
        if answer[0] != 7 or len(answer) % 10 != 1:
            raise Failed(f"no table: {answer.hex()}")
        rows = [answer[place : place + 10] for place in range(1, len(answer), 10)]
        return {row[:6]: struct.unpack(">HH", row[6:]) for row in rows}


class Gateway:
    """heatgate in a namespace, with the demonstration's mapping and nobody to talk to but BACnet."""

    def __init__(self, run: Run, net: Net, where: str, name: str, number: int, **settings: str):
        self.run, self.net, self.where, self.name = run, net, where, name
        self.env = {
            "HEATGATE__BACNET__INSTANCE": str(number),
            "HEATGATE__BACNET__NAME": name,
            "HEATGATE__MODBUS__LISTEN": "127.0.0.1:0",
            "HEATGATE__HTTP__LISTEN": "127.0.0.1:8080",
            "HEATGATE__MQTT__URL": "mqtt://127.0.0.1:9",
            "HEATGATE__STATE_DIR": str(run.directory(f"{name}-state")),
            **{f"HEATGATE__BACNET__{key}": value for key, value in settings.items()},
        }
        # The demonstration's broadcast address is loopback's.
        text = (ROOT / "config" / "demo.toml").read_text()
        site = run.directory(f"{name}-site")
        (site / "gateway.toml").write_text(
            "".join(line for line in text.splitlines(True) if not line.startswith("broadcast")).replace(
                "../mappings", str(ROOT / "mappings")
            )
        )
        self.config = site / "gateway.toml"
        self.process = self.spawn()

    def spawn(self) -> Process:
        argv = self.net.argv(self.where, [str(self.run.binary), "run", "-c", str(self.config)])
        return self.run.spawn(self.name, argv, self.env, ROOT)

    def again(self) -> None:
        self.process.stop()
        self.process = self.spawn()


class Capture:
    def __init__(self, run: Run, net: Net, subnets: list[str]):
        self.file = run.scratch / "bridges.pcapng"
        interfaces = [part for name in subnets for part in ("-i", bridge(name))]
        argv = [need("tshark"), *interfaces, "-w", str(self.file), "-q", "-f", "udp"]
        self.process = run.spawn("tshark", net.argv(net.router, argv))
        wait_until(lambda: "Capturing on" in self.process.log.read_text(), BOUND, "tshark captures")

    def end(self) -> None:
        self.process.signal(signal.SIGINT)
        self.process.wait_exit(20.0)

    def count(self, query: str) -> tuple[int, str]:
        code, out, err = command([need("tshark"), "-r", str(self.file), "-Y", query], 60.0)
        if code != 0:
            raise Failed(f"tshark: {err}")
        lines = out.splitlines()
        return len(lines), "\n".join(lines[:5])


def main(run: Run) -> None:
    run.peer("bacpypes3", python_version("bacpypes3"), "broadcast manager, foreign device, router, devices on every side")
    run.peer("tshark", package_version("tshark"), "no malformed frame in any subnet")
    net = Net(run)
    for name, number in (("a", 1), ("b", 2), ("c", 3)):
        net.subnet(name, f"10.77.{number}.254/24")
    net.subnet("d", None)
    hosts = {}
    for name, place in (("a1", 1), ("a2", 2), ("a3", 3)):
        hosts[name] = net.host(name)
        net.join(hosts[name], "a", f"10.77.1.{place}/24", "10.77.1.254")
    net.join(hosts["a3"], "d", "10.77.4.3/24")
    for name, subnet, number in (("b1", "b", 2), ("b2", "b", 2), ("c1", "c", 3), ("c2", "c", 3), ("c9", "c", 3)):
        hosts[name] = net.host(name)
        net.join(hosts[name], subnet, f"10.77.{number}.{name[1]}/24", f"10.77.{number}.254")
    hosts["d1"] = net.host("d1")
    net.join(hosts["d1"], "d", "10.77.4.1/24")
    capture = Capture(run, net, ["a", "b", "c", "d"])

    one = Gateway(
        run, net, hosts["a1"], "one", 47001,
        LISTEN="10.77.1.1/24", BBMD__ENABLED="true", BBMD__PEERS="10.77.2.1:47808", BBMD__WRITABLE="true",
    )  # fmt: skip
    two = Gateway(
        run, net, hosts["c1"], "two", 47002, LISTEN="10.77.3.1/24", FOREIGN__BBMD="10.77.2.1", FOREIGN__TTL_S=str(TTL)
    )

    def manager() -> NetworkPortObject:
        shown = port("10.77.2.1/24")
        shown.bacnetIPMode = "bbmd"
        shown.bbmdAcceptFDRegistrations = True
        shown.bbmdForeignDeviceTable = []
        shown.bbmdBroadcastDistributionTable = [BDTEntry("10.77.2.1/32"), BDTEntry("10.77.1.1/32")]
        return shown

    def foreign() -> NetworkPortObject:
        shown = port("10.77.3.2/24")
        shown.bacnetIPMode = "foreign"
        shown.fdBBMDAddress = HostNPort("10.77.1.1")
        shown.fdSubscriptionLifetime = TTL
        return shown

    a2 = Host(run, hosts["a2"], 102, lambda: port("10.77.1.2/24"))
    b1 = Host(run, hosts["b1"], 201, manager)
    b2 = Host(run, hosts["b2"], 202, lambda: port("10.77.2.2/24"))
    c2 = Host(run, hosts["c2"], 302, foreign)
    Host(run, hosts["a3"], 103, lambda: port("10.77.1.3/24", 1, 1), lambda: port("10.77.4.3/24", 2, 2))
    d1 = Host(run, hosts["d1"], 401, lambda: port("10.77.4.1/24"))
    raw = Bvll(run, hosts["c9"], "10.77.3.9")

    # Tables. The first registration ends by itself; what comes between takes about as long.
    wait_until(lambda: one.process.running() and a2.finds(47001), BOUND, "heatgate answers")
    run.equal("a registration is accepted", raw.ask("10.77.1.1", 5, b"\0\1"), b"\0\0\0")
    registered = time.monotonic()
    left = raw.foreign("10.77.1.1").get(raw.address(), (0, 0))
    run.check("it has its time and the 30 s of grace left", left[0] == 1 and 25 <= left[1] <= 31, left)
    run.equal("a second one", raw.ask("10.77.1.1", 5, b"\0\x3c", 1), b"\0\0\0")
    run.equal("it is deleted", raw.ask("10.77.1.1", 8, raw.address(1)), b"\0\0\0")
    run.equal("it is gone", raw.address(1) in raw.foreign("10.77.1.1"), False)
    run.equal("who is not registered distributes nothing", raw.ask("10.77.1.1", 9, b"\1\0\x10\x08", 1), b"\0\0\x60")
    own, peer = socket.inet_aton("10.77.1.1"), socket.inet_aton("10.77.2.1")
    row = b"\xba\xc0\xff\xff\xff\xff"
    run.equal("the table of peers", raw.ask("10.77.1.1", 2), b"\3" + peer + row + own + row)
    run.equal("heatgate that is no manager has none", raw.ask("10.77.3.1", 2), b"\0\0\x20")

    # Everybody finds everybody.
    for who, number, expected in (
        (a2, 47002, "10.77.3.1"),  # by heatgate's manager, bacpypes3's manager, to the foreign device
        (b2, 47001, "10.77.1.1"),  # by bacpypes3's manager
        (b2, 102, "10.77.1.2"),  # and broadcast again by heatgate
        (b2, 47002, "10.77.3.1"),
        (c2, 47001, "10.77.1.1"),  # a foreign device at heatgate
        (c2, 47002, "10.77.3.1"),
        (c2, 102, "10.77.1.2"),
        (c2, 202, "10.77.2.2"),
        (a2, 302, "10.77.3.2"),
        (b2, 302, "10.77.3.2"),
        (d1, 47001, "1:10.77.1.1"),  # through the router
        (d1, 47002, "1:10.77.3.1"),  # the router, then both managers
        (a2, 401, "2:10.77.4.1"),
        (c2, 401, "2:10.77.4.1"),
    ):
        run.equal(f"{who.number} finds {number}", who.finds(number), expected)

    # Commands and changes across: the subscriber here, the writer there.
    for who, at, writer, seen_at in (
        (b2, "10.77.1.1", d1, "1:10.77.1.1"),
        (d1, "1:10.77.1.1", c2, "10.77.1.1"),
        (d1, "1:10.77.3.1", a2, "10.77.3.1"),
        (a2, "10.77.3.1", d1, "1:10.77.3.1"),
    ):
        for confirmed in (False, True):
            told = who.told(at, confirmed, [21.5, 63.25], writer, seen_at)
            kind = "confirmed" if confirmed else "unconfirmed"
            run.equal(f"{who.number} is told by {at} what {writer.number} commands, {kind}", told[-2:], [21.5, 63.25])
            writer.write(seen_at, Null(()))
    run.equal("through the router it is read, too", str(d1.read("1:10.77.1.1", ONE, "object-name")), "one")

    # What the port says of itself.
    run.equal("a foreign device says so", str(b2.read("10.77.3.1", PORT, "bacnet-ip-mode")), "foreign")
    bbmd = b2.read("10.77.3.1", PORT, "fd-bbmd-address")
    run.equal("and with whom", (bytes(bbmd.host.ipAddress), int(bbmd.port)), (peer, 47808))
    run.equal("and for how long", int(b2.read("10.77.3.1", PORT, "fd-subscription-lifetime")), TTL)
    run.equal("and that it works", str(b2.read("10.77.3.1", PORT, "reliability")), "no-fault-detected")
    run.equal("a manager says so", str(b2.read("10.77.1.1", PORT, "bacnet-ip-mode")), "bbmd")
    table = b2.read("10.77.1.1", PORT, "bbmd-broadcast-distribution-table")
    run.equal("and its peers", [bytes(entry.bbmdAddress.host.ipAddress) for entry in table], [peer, own])
    devices = b2.read("10.77.1.1", PORT, "bbmd-foreign-device-table")
    seen = [bytes(entry.bacnetIPAddress) for entry in devices]
    run.check("and its foreign devices", socket.inet_aton("10.77.3.2") + b"\xba\xc0" in seen, seen)

    # bacpypes3's manager goes and comes back.
    b1.close()
    lost = lambda: str(b2.read("10.77.3.1", PORT, "reliability"))  # noqa: E731
    wait_until(lambda: lost() == "renew-fd-registration-failure", TTL + BOUND, "the lost registration is a fault")
    run.check("a manager that is gone is a fault of the port", True)
    before = len(b2.heard())
    b1.open()
    wait_until(lambda: lost() == "no-fault-detected", BOUND, "registered again")
    wait_until(lambda: (47002, "10.77.3.1") in b2.heard()[before:], BOUND, "the network hears of it again")
    run.check("after its restart heatgate is registered again, and says who it is", True)
    run.equal("and found again", b2.finds(47002), "10.77.3.1")

    # heatgate's manager is written to, goes and comes back.
    more = socket.inet_aton("10.77.5.1") + row
    run.equal("its table is written", raw.ask("10.77.1.1", 1, peer + row + more), b"\0\0\0")
    run.equal("not with nonsense", raw.ask("10.77.1.1", 1, b"\xff" * 10), b"\0\0\x10")
    written = b"\3" + peer + row + more + own + row
    run.equal("and reads as written", raw.ask("10.77.1.1", 2), written)

    # The first registration has ended meanwhile, or does so now.
    key = raw.address()
    wait_until(lambda: key not in raw.foreign("10.77.1.1"), 40.0, "the registration ends")
    took = time.monotonic() - registered
    run.check("a registration that is not renewed ends, and not before its time", took >= 30.9, f"{took:.1f} s")

    one.again()
    run.equal("after a restart the written table is there", raw.ask("10.77.1.1", 2), written)
    # bacpypes3 that has once been refused a broadcast sends none until it is registered anew by hand: not before then.
    own = socket.inet_aton("10.77.3.2") + b"\xba\xc0"
    wait_until(lambda: own in raw.foreign("10.77.1.1"), BOUND, "the foreign device registers again")
    run.equal("its foreign device comes back", c2.finds(202), "10.77.2.2")
    run.equal("and is found", a2.finds(302), "10.77.3.2")

    capture.end()
    frames, _ = capture.count("bvlc")
    for what, query in (
        ("forwarded", "bvlc.function == 0x04"),
        ("distributed for a foreign device", "bvlc.function == 0x09"),
        ("routed", "bacnet.dadr_eth || bacnet.dnet == 2"),
    ):
        number, _ = capture.count(query)
        run.check(f"frames were {what}", number > 0, number)
    malformed, first = capture.count("_ws.malformed")
    run.check("no frame is malformed", malformed == 0 and frames > 200, f"{malformed} of {frames} {first}")
    # A loop would have filled the file.
    run.check("nothing goes round", frames < 20_000, frames)


if __name__ == "__main__":
    start(main)
