"""mosquitto restarts (its sessions are wiped), stands still, and stays away, each past every lease: what is applied meanwhile.

The gateway, its heaters and so their messages share one clock, which runs faster than the wall: a heater's telemetry can
be held against the lease of the command that it obeyed, to the second. Nobody is needed for anything to come back.
"""

from __future__ import annotations

import json
import signal
import time
from datetime import datetime

from alarm_views import Watcher
from bms_face import GATEWAY_HEARTBEAT, PERCENT, TIMEOUT, Face
from demo_site import Demo
from harness import Run, near, python_version, start, wait_until
from mqtt_tools import Mosquitto, Subscriber, mosquitto_version

SPEED = 20
LEASE_S = 180.0
# A minute on the wall, and several leases of site time.
STALL_S = 60.0 * SPEED
# Commands need up to 5 s to the servers; telemetry comes each 5 s.
SLACK_S = 12.0
FALLBACK_W = 7_500.0
HEATERS = ("rack-a", "rack-b")
BASE = "heatgate/v1/demo"
# Deadband and repayment of what ramps withheld: 1 % of rated power each, of 24 kW and more.
WITHIN = 0.055
# The gateway's longest pause between two attempts is 10 s on the wall.
RECOVERY_S = 20.0


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def asked_w(percent: float) -> float:
    """A heater's share of the zone's power."""
    return percent / 100 * 57_000 / 0.95 / 2


class Site:
    """What went over the broker, gathered from every subscriber that there was."""

    def __init__(self, run: Run, broker: Mosquitto):
        self.run = run
        self.broker = broker
        self.past: list[Subscriber] = []
        self.listen()

    def listen(self) -> None:
        """mosquitto_sub ends with its broker's patience at times; a fresh one hears what is retained, too."""
        self.heard = Subscriber(self.run, self.broker.address, f"{BASE}/#", name=f"heard-{len(self.past)}")
        self.past.append(self.heard)

    def told(self, heater: str, leaf: str) -> list[dict]:
        rows = [row for one in self.past for row in one.payloads(f"{BASE}/heaters/{heater}/{leaf}")]
        unique = {(row.get("at") or row.get("issued_at"), row.get("seq")): row for row in rows}
        return sorted(unique.values(), key=lambda row: seconds(row.get("at") or row.get("issued_at")))

    def follows(self, percent: float, mark: dict[str, int]) -> bool:
        """Each heater applies its share, and says so in telemetry that came after `mark`."""
        for heater in HEATERS:
            rows = self.heard.payloads(f"{BASE}/heaters/{heater}/telemetry")[mark.get(heater, 0) :]
            if not rows or not near(rows[-1]["applied_w"], asked_w(percent), WITHIN):
                return False
        return True

    def retained(self) -> dict[str, dict]:
        """Topics that a client is told of at once when it comes."""
        return {topic: json.loads(payload) for topic, kept, payload in self.heard.messages() if kept}


def recovered(run: Run, site: Site, percent: float, what: str) -> None:
    """Fresh clients hear everything that is retained; commands are obeyed again."""
    began = time.monotonic()
    site.listen()
    wanted = [f"{BASE}/gateway/status", f"{BASE}/zones/hall/demand", f"{BASE}/points/hall/power_command"]
    wanted += [f"{BASE}/heaters/{heater}/status" for heater in HEATERS]

    def told() -> bool:
        seen = {topic for topic, _, _ in site.heard.messages()}
        return all(topic in seen for topic in wanted) and site.follows(percent, {})

    wait_until(told, RECOVERY_S, f"{what}: everything is said again and obeyed")
    run.check(f"{what}: it recovers by itself", True, f"{time.monotonic() - began:.1f} s after the broker")
    # What was said may have been live: a second client is told from what is kept.
    site.listen()
    wait_until(lambda: all(topic in site.retained() for topic in wanted), 5.0, f"{what}: what is retained")
    kept = site.retained()
    states = [kept[topic]["state"] for topic in wanted if topic.endswith("status")]
    run.equal(f"{what}: gateway and heaters are online, and it is retained", states, ["online"] * 3)
    run.equal(
        f"{what}: so is the gateway's demand",
        kept[f"{BASE}/zones/hall/demand"]["state"] in ("heating", "starting", "limited", "dump"),
        True,
    )
    for heater in HEATERS:
        wait_until(
            lambda heater=heater: site.heard.payloads(f"{BASE}/heaters/{heater}/ack"),
            10.0,
            f"{what}: {heater} acknowledges",
        )
        newest = site.told(heater, "command")[-1]["seq"]
        seq = site.heard.payloads(f"{BASE}/heaters/{heater}/ack")[-1]["seq"]
        run.check(f"{what}: {heater} acknowledges its newest commands", seq >= newest - 1, f"{seq} of {newest}")


def oldest(last: dict[str, dict]) -> float:
    return min(seconds(command["issued_at"]) for command in last.values())


def within_leases(run: Run, site: Site, last: dict[str, dict], until: float, what: str) -> None:
    """From its last command to an instant of site time no heater applies anything above its fallback outside of its lease."""
    for heater, command in last.items():
        since = seconds(command["issued_at"])
        ends = since + command["ttl_s"]
        rows = [row for row in site.told(heater, "telemetry") if seconds(row["at"]) >= since - 20]
        before = [row for row in rows if seconds(row["at"]) <= ends][-1]
        after = [row for row in rows if seconds(row["at"]) >= until - 30]
        beyond = [row for row in rows if ends + SLACK_S < seconds(row["at"]) < until and row["applied_w"] > FALLBACK_W]
        run.equal(
            f"{what}: {heater} applied nothing above {FALLBACK_W:.0f} W after its lease",
            [(row["at"], row["applied_w"]) for row in beyond[:3]],
            [],
        )
        # The counter tells of the time in which nobody heard it.
        first = after[0]
        gone = seconds(first["at"]) - seconds(before["at"])
        used = (first["energy_wh"] - before["energy_wh"]) * 3600.0
        leased = max(0.0, min(ends + SLACK_S, seconds(first["at"])) - seconds(before["at"]))
        # Falling takes some seconds, rising again from the end of the outage on is within the slack of the telemetry.
        most = command["p_max_w"] * leased + FALLBACK_W * (gone - leased) + 25_000 * 10
        run.check(
            f"{what}: {heater}'s energy agrees",
            used <= most and gone > LEASE_S,
            f"{used / 3.6e6:.2f} kWh of at most {most / 3.6e6:.2f} kWh in {gone:.0f} s, leased for {leased:.0f} s",
        )


def main(run: Run) -> None:
    run.peer(
        "mosquitto",
        mosquitto_version(),
        "is the broker that restarts without its sessions, stands still, and stays away",
    )
    run.peer(
        "mosquitto_sub", mosquitto_version(), "hears commands, acknowledgements and telemetry, and what is retained"
    )
    run.peer("pymodbus", python_version("pymodbus"), "asks for heat and reads the zone while there is no broker")
    broker = Mosquitto(run)
    # Without a meter the efficiency stays as believed.
    demo = Demo(run, speed=SPEED, without="broker,bms,meter", outside={"broker": broker.address})
    site = Site(run, broker)
    watch = Watcher(run, demo.modbus)
    with Face(demo.modbus) as face:
        face.write(TIMEOUT, 3600)
        face.ask(60)
        wait_until(lambda: site.follows(60, {}), 40.0, "both heaters have their half")

        def last() -> dict[str, dict]:
            """The commands that every heater got last; asked for when no more can come."""
            return {heater: site.told(heater, "command")[-1] for heater in HEATERS}

        def passes(site_seconds: float) -> None:
            beat = face.inputs(GATEWAY_HEARTBEAT)[0]
            wait_until(
                lambda: (face.inputs(GATEWAY_HEARTBEAT)[0] - beat) % 0x10000 >= site_seconds,
                site_seconds / SPEED + 10,
                f"{site_seconds:.0f} s of site time",
            )

        what = "restarted"
        since = time.monotonic()
        broker.end()
        broker.begin()
        recovered(run, site, 60, what)
        commanded = [row.command_kw for row in watch.since(since)]
        run.check(
            f"{what}: the zone was commanded throughout",
            # After the ramp of the start the law adds up to 5 % of rated power for a while.
            bool(commanded) and 36.0 * (1 - WITHIN) <= min(commanded) and max(commanded) <= 36.0 * (1 + WITHIN) + 3.0,
            f"{len(commanded)} reads, {min(commanded):.1f} to {max(commanded):.1f} kW",
        )

        what = "stood still"
        assert broker.process is not None
        broker.process.signal(signal.SIGSTOP)
        run.at_end(lambda process=broker.process: process.signal(signal.SIGCONT))
        # Less is asked meanwhile: an old command that comes late would show.
        passes(20)
        stopped = last()
        face.write(PERCENT, 400)
        passes(STALL_S)
        broker.process.signal(signal.SIGCONT)
        resumed = time.monotonic()
        recovered(run, site, 40, what)
        took = time.monotonic() - resumed
        run.check(f"{what}: the newest command rules soon", took < RECOVERY_S, f"{took:.1f} s")
        within_leases(run, site, stopped, oldest(stopped) + 20 + STALL_S, what)

        what = "stayed away"
        broker.end()
        passes(20)
        gone = last()
        passes(LEASE_S + 60)
        broker.begin()
        recovered(run, site, 40, what)
        within_leases(run, site, gone, oldest(gone) + LEASE_S + 80, what)
    watch.end()
    run.equal("a SIGTERM ends the demo with 0", demo.process.stop(), 0)


start(main)
