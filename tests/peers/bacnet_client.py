"""heatgate as a BACnet client: 501 points of three bacpypes3 devices, through lost subscriptions, a restart and a dead peer.

One device has everything, one has no ReadPropertyMultiple, one has no COV and takes 480 octets. Values are the time at
which they were set, so that a point's value says how old it is. One device stands still for a while: how much later the
others' values come meanwhile is at most one request time-out. An output is written at priority 14, read back, written
again after the device has restarted, and relinquished when the gateway stops.
"""

from __future__ import annotations

import json
import signal
import socket
import sys
import time

from bacnet_device import ANALOG, BINARY, MULTI, PERIOD, TEXTS
from harness import ROOT, Failed, Process, Run, command, free_port, http_get, python_version, start, wait_until
from raw_modbus import Raw

POLL = 2.0
TIMEOUT = 2.0
# What a loaded machine may add to everything, s.
SLACK = 3.0
# A value is set once in PERIOD and, where it is not told, read at the next poll; told or not, it is never older.
FRESH = PERIOD + POLL + TIMEOUT + SLACK


class Device:
    def __init__(self, run: Run, name: str, instance: int, *less: str):
        self.run, self.name, self.instance, self.less = run, name, instance, less
        self.port = free_port(socket.SOCK_DGRAM)
        self.control = free_port(socket.SOCK_DGRAM)
        self.process: Process | None = None
        self.start()

    def start(self) -> None:
        script = str(ROOT / "tests/peers/bacnet_device.py")
        argv = [sys.executable, script, f"127.0.0.1:{self.port}", str(self.instance), str(self.control), *self.less]
        self.process = self.run.spawn(self.name, argv)

    def ready(self) -> None:
        assert self.process is not None
        self.process.wait_line(lambda line: line == "ready", 60.0, "starts")

    def ask(self, word: str = "status") -> dict:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
            door.settimeout(5.0)
            door.sendto(word.encode(), ("127.0.0.1", self.control))
            return json.loads(door.recv(4096))

    def points(self) -> str:
        text = [f'[[device]]\nname = "{self.name}"\nlink = "bacnet://127.0.0.1:{self.port}/{self.instance}"\n']
        text.append(f'poll = "{POLL:g}s"\ntimeout = "{TIMEOUT:g}s"\n')

        def point(name: str, kind: str, source: str) -> None:
            text.append(f'[[point]]\nname = "{self.name}/{name}"\n{kind}\n')
            text.append(f'source = {{ device = "{self.name}", bacnet = "{source}" }}\n')

        for n in range(ANALOG):
            point(f"t{n}", 'unit = "degC"', f"analog-input:{n}")
        for n in range(BINARY):
            point(f"b{n}", 'kind = "bool"', f"binary-input:{n}")
        for n in range(MULTI):
            point(f"m{n}", f'kind = "state"\ntexts = {json.dumps(TEXTS)}', f"multi-state-input:{n}")
        point("setpoint", 'unit = "degC"', "analog-value:0")
        return "".join(text)


def configure(run: Run, devices: list[Device]):
    folder = run.directory("site")
    ports = {name: free_port() for name in ("modbus", "http")}
    bacnet = free_port(socket.SOCK_DGRAM)
    targets = ", ".join(f'{{ device = "{d.name}", bacnet = "analog-value:0", refresh = "20s" }}' for d in devices[:2])
    site = f"""
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
[[point]]
name = "hall/out"
unit = "degC"
range = [0, 100]
default = 20
deadband = 0.1
bms = {{ holding = 60, type = "s16", scale = 0.1 }}
target = [{targets}]
""" + "".join(device.points() for device in devices)
    (folder / "site.toml").write_text(site)
    (folder / "gateway.toml").write_text(
        f"""
state_dir = "{run.directory('state')}"
mapping = "site.toml"
[site]
id = "client"
name = "Client"
[mqtt]
url = "mqtt://127.0.0.1:9"
[modbus]
listen = "127.0.0.1:{ports['modbus']}"
unit_id = 1
[bacnet]
enabled = true
instance = 47001
listen = "127.0.0.1:{bacnet}"
broadcast = "127.255.255.255"
[http]
listen = "127.0.0.1:{ports['http']}"
"""
    )
    return folder / "gateway.toml", ("127.0.0.1", ports["http"]), ("127.0.0.1", ports["modbus"])


def points(http) -> dict[str, dict]:
    status, body = http_get(http, "/api/v1/points")
    if status != 200:
        raise Failed(f"/api/v1/points: {status}")
    document = json.loads(body)
    rows = document["points"] if isinstance(document, dict) else document
    return {row["key"]: row for row in rows}


def ages(rows: dict[str, dict], device: Device) -> list[float]:
    """Age of each time-stamped value of a device; -1 where there is none."""
    at = time.time() % 100000
    values = [rows[f"{device.name}/t{n}"] for n in range(ANALOG)]
    # The device rounds, and may be a little ahead; the count starts anew once in a day.
    since = [(at - row["value"] + 50000) % 100000 - 50000 if row["quality"] == "good" else None for row in values]
    return [-1.0 if age is None else max(0.0, age) for age in since]


def live(rows: dict[str, dict], device: Device) -> bool:
    """Every point is good and fresh, and says what the device has."""
    fresh = all(0.0 <= age <= FRESH for age in ages(rows, device))
    binary = all(rows[f"{device.name}/b{n}"]["value"] == bool(n % 2) for n in range(BINARY))
    multi = all(rows[f"{device.name}/m{n}"]["value"] == n % 3 + 1 for n in range(MULTI))
    return fresh and binary and multi and rows[f"{device.name}/setpoint"]["quality"] == "good"


def watch(http, devices: list[Device], seconds: float) -> tuple[float, float, int]:
    """Oldest and middle age seen over a time, and how many values were not good."""
    seen: list[float] = []
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        rows = points(http)
        for device in devices:
            seen.extend(ages(rows, device))
        time.sleep(0.25)
    good = sorted(age for age in seen if age >= 0.0)
    return good[-1], good[len(good) // 2], len(seen) - len(good)


def main(run: Run) -> None:
    run.peer("bacpypes3", python_version("bacpypes3"), "three devices that heatgate reads, subscribes and writes")
    devices = [
        Device(run, "whole", 1201),
        Device(run, "single", 1202, "no-rpm"),
        Device(run, "small", 1203, "no-cov", "apdu=480"),
    ]
    for device in devices:
        device.ready()
    whole, single, small = devices
    config, http, modbus = configure(run, devices)
    gateway = run.heatgate("gateway", "run", "-c", str(config))
    wait_until(lambda: http_get(http, "/readyz")[0] == 200, 60.0, "the gateway is ready")

    total = sum(ANALOG + BINARY + MULTI + 1 for _ in devices)
    wait_until(lambda: all(live(points(http), d) for d in devices), 60.0, f"{total} points are live", 0.3)
    run.check(f"{total} points of three devices are good, fresh and right", True)
    each = ANALOG + BINARY + MULTI + 1
    # bacpypes3 refuses the multi-state inputs; those are polled.
    told = each - MULTI
    wait_until(lambda: whole.ask()["subscriptions"] == told, 60.0, "everything is subscribed", 0.3)
    wait_until(lambda: single.ask()["subscriptions"] == told, 60.0, "also without ReadPropertyMultiple", 0.3)
    run.equal("a device without COV is polled", small.ask()["subscriptions"], 0)

    # Outputs.
    for device in (whole, single):
        wait_until(lambda: device.ask()["slot14"] == 20.0, 20.0, f"{device.name} is written at priority 14", 0.2)
    with Raw(modbus, timeout=5.0) as raw:
        raw.ask(bytes([6, 0, 60]) + (550).to_bytes(2, "big"))
    for device in (whole, single):
        wait_until(lambda: device.ask()["slot14"] == 55.0, 20.0, f"{device.name} follows the point", 0.2)
    run.check("outputs are written at priority 14 and follow the point", True)
    wait_until(lambda: points(http)["whole/setpoint"]["value"] == 55.0, 20.0, "what was written is what is read", 0.2)

    steady, middle, bad = watch(http, devices, 8.0)
    run.equal("nothing is bad while all is well", bad, 0)
    run.note(f"steady: oldest value {steady:.2f} s, middle {middle:.2f} s (each is set once in {PERIOD:g} s)")
    run.check("no value is older than it may be", steady <= FRESH, f"{steady:.2f} s, at most {FRESH:g} s")

    # Lost notifications: the device forgets its subscriptions without a word.
    whole.ask("drop")
    run.equal("the device has forgotten its subscriptions", whole.ask()["subscriptions"], 0)
    oldest, _, bad = watch(http, [whole], 3.0)
    wait_until(lambda: whole.ask()["subscriptions"] == told, 60.0, "it is subscribed again", 0.3)
    after, _, more = watch(http, [whole], 3.0)
    run.equal("and no point was bad meanwhile", bad + more, 0)
    run.note(f"lost subscriptions: oldest value {max(oldest, after):.2f} s")
    limit = PERIOD + 3 * POLL + TIMEOUT + SLACK
    run.check("reads kept it fresh", max(oldest, after) <= limit, f"at most {limit:g} s")

    # A dead peer, and what it costs the others.
    assert small.process is not None
    alive, _, bad = watch(http, [whole, single], 4.0)
    small.process.signal(signal.SIGSTOP)
    dead, middle, bad = watch(http, [whole, single], 12.0)
    delay = max(0.0, dead - alive)
    run.note(f"one dead of three: oldest live value {dead:.2f} s (before: {alive:.2f} s), middle {middle:.2f} s")
    run.equal("no point of the live ones was bad", bad, 0)
    run.check("the dead one delays the live ones by at most one request time-out", delay <= TIMEOUT, f"{delay:.2f} s")
    rows = points(http)
    run.equal("the dead one's points have a cause", rows["small/t0"]["quality"], "bad")
    run.equal("and its link is down", rows["small/link"]["value"], False)
    small.process.signal(signal.SIGCONT)
    wait_until(lambda: live(points(http), small), 90.0, "it is live again", 0.3)
    run.check("the dead one comes back by itself", True)

    # A restart: subscriptions and outputs are made again.
    assert whole.process is not None and single.process is not None
    for device in (whole, single):
        device.process.kill9()
        began = time.monotonic()
        device.start()
        device.ready()
        started = time.monotonic() - began
        wait_until(lambda: device.ask()["slot14"] == 55.0, 90.0, f"{device.name} is written again", 0.2)
        wait_until(lambda: device.ask()["subscriptions"] == told, 90.0, f"{device.name} is subscribed again", 0.3)
        wait_until(lambda: live(points(http), device), 60.0, f"{device.name} is live again", 0.3)
        run.note(f"restart of {device.name}: {started:.1f} s to start, {time.monotonic() - began:.1f} s until live")
    run.check("devices that have restarted are subscribed, written and live again", True)

    status, metrics = http_get(http, "/metrics")
    run.check("links are counted", status == 200 and 'heatgate_link_up{link="whole"} 1' in metrics)

    # Shutdown.
    run.equal("the gateway ends", gateway.stop(20.0), 0)
    run.equal("and has let go of what it wrote", [d.ask()["slot14"] for d in (whole, single)], [None, None])
    run.equal("and told them not to tell it any more", [d.ask()["subscriptions"] for d in (whole, single)], [0, 0])
    run.equal("so that the devices' defaults rule", [d.ask()["value"] for d in (whole, single)], [5.0, 5.0])

    # Discovery.
    draft = run.directory("draft") / "site.toml"
    at = [f"--at=127.0.0.1:{device.port}" for device in devices]
    listen = f"--listen=127.0.0.1:{free_port(socket.SOCK_DGRAM)}"
    code, out, err = command(
        [run.binary, "discover", "bacnet", listen, *at, "--json", "--out", str(draft)], 120.0
    )
    run.equal("discover ends well", code, 0) or run.note(err)
    found = {row["instance"]: row for row in json.loads(out)["devices"]}
    run.equal("and has found the devices", sorted(found), [1201, 1202, 1203])
    for device in devices:
        row = found[device.instance]
        objects = {entry["object"]: entry for entry in row["objects"]}
        run.equal(f"{device.name}: nothing was in the way", row.get("problems", []), [])
        run.equal(f"{device.name}: vendor and model", (row["vendor"], row["model"]), ("test", "bacpypes3"))
        run.equal(f"{device.name}: whole object list", sum(not name.startswith(("device", "network")) for name in objects), each)
        entry = objects["analog-input:7"]
        run.equal(
            f"{device.name}: name, unit, description",
            (entry["name"], entry["unit"], entry["description"]),
            ("Temperature 7", "degC", "Number 7"),
        )
        run.equal(f"{device.name}: state texts", objects["multi-state-input:1"]["texts"], TEXTS)
        run.equal(f"{device.name}: texts of a yes or no", objects["binary-input:1"]["texts"], ["stands", "runs"])
    run.equal("the small one's APDU", found[1203]["max_apdu"], 480)
    gateway_file = config.read_text().replace('mapping = "site.toml"', f'mapping = "{draft}"')
    (draft.parent / "gateway.toml").write_text(gateway_file)
    code, out, err = command([run.binary, "check", "-c", str(draft.parent / "gateway.toml")], 60.0)
    run.check("check accepts the draft", code == 0, (out + err)[:300])
    for device in devices:
        device.process.stop()


if __name__ == "__main__":
    start(main)
