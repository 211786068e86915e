"""A heater's controller is killed: its share moves and comes back by itself. Then the gateway is: the lease rules.

rack-b is a process of its own beside a demo without it. Site time runs faster than the wall, and so does rack-b; its
commands count the wall's seconds, so its lease of 180 s lasts 180 s of site time.
"""

from __future__ import annotations

from datetime import datetime

from alarm_views import CONTROLLER_LOST, Views, Watcher
from bms_face import TIMEOUT, Face
from demo_site import Demo
from harness import Run, near, python_version, shown, start, wait_until
from mqtt_tools import Mosquitto, Subscriber, mosquitto_version

SPEED = 20
LEASE_S = 180.0
ASKED_W = 0.60 * 57_000 / 0.95
SHARE_W, FALLBACK_W, RATED_W = ASKED_W / 2, 7_500.0, 30_000.0
BASE = "heatgate/v1/demo"
# Deadband and repayment of what ramps withheld: 1 % of rated power each.
WITHIN = 0.04


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def retained(run: Run, broker, name: str) -> str:
    """What a client that comes now is told of rack-b."""
    late = Subscriber(run, broker, f"{BASE}/heaters/rack-b/status", name=name)
    state = late.wait(lambda *_: True, 10.0, "a retained status")["state"]
    run.check(f"MQTT: rack-b's status is retained ({state})", late.messages()[0][1])
    late.process.stop()
    return state


def main(run: Run) -> None:
    run.peer(
        "mosquitto",
        mosquitto_version(),
        "keeps rack-b's last will and status; its subscriber hears commands, acknowledgements and telemetry",
    )
    run.peer("pymodbus", python_version("pymodbus"), "asks for heat and reads the alarm of a lost controller")
    run.peer("bacpypes3", python_version("bacpypes3"), "reads the alarm of a lost controller (BI 2)")
    broker = Mosquitto(run)
    # Without a meter the efficiency stays as believed.
    demo = Demo(run, speed=SPEED, without="rack-b,broker,bms,meter", outside={"broker": broker.address})
    heard = Subscriber(run, broker.address, f"{BASE}/#")
    argv = ["sim", "heater", "rack-b", "--broker", shown(broker.address), "--speed", str(SPEED)]
    rack_b = run.heatgate("rack-b", *argv)
    views = Views(run, demo.modbus, demo.address("bacnet"), demo.http, heard)
    watch = Watcher(run, demo.modbus)

    def told(heater: str, leaf: str) -> list[dict]:
        return heard.payloads(f"{BASE}/heaters/{heater}/{leaf}")

    def cap(heater: str) -> float:
        return told(heater, "command")[-1]["p_max_w"]

    def applied(heater: str) -> float:
        return told(heater, "telemetry")[-1]["applied_w"]

    def halves() -> bool:
        return all(near(cap(one), SHARE_W, WITHIN) and near(applied(one), SHARE_W, WITHIN) for one in ("rack-a", "rack-b"))

    with Face(demo.modbus) as face:
        face.write(TIMEOUT, 3600)
        wait_until(lambda: told("rack-b", "telemetry") and told("rack-a", "telemetry"), 20.0, "both heaters are heard")
        face.ask(60)
        wait_until(lambda: told("rack-b", "command") and halves(), 30.0, "both heaters have their half")
        run.check(
            "a fast controller outside obeys without a gap",
            halves(),
            f"{applied('rack-b'):.0f} W of {cap('rack-b'):.0f} W",
        )
        run.check("no alarm of a controller", not watch.rows[-1].quality >> 1 & 1)

        mark = heard.count()
        before = len(told("rack-a", "command"))
        rack_b.kill9()
        watch.wait(lambda row: row.quality >> 1 & 1, 10.0, "the alarm of a lost controller")
        views.show(CONTROLLER_LOST, True, mark)
        run.equal("its will says offline", retained(run, broker.address, "late-offline"), "offline")
        leased = told("rack-b", "command")
        wait_until(
            lambda: near(cap("rack-a"), ASKED_W - FALLBACK_W, WITHIN),
            2 * LEASE_S / SPEED + 15,
            "rack-a takes over what rack-b leaves",
        )
        run.check("rack-a takes over", cap("rack-a") <= RATED_W, f"{cap('rack-a'):.0f} W")
        run.check(
            "rack-b is asked for no more than its fallback", cap("rack-b") <= FALLBACK_W, f"{cap('rack-b'):.0f} W"
        )
        sum_up = watch.wait(lambda row: near(row.command_kw, ASKED_W / 1000, WITHIN), 5.0, "the sum is what was asked")
        run.check("the sum is what was asked", True, f"{sum_up.command_kw:.1f} kW")
        full = [one for one in leased if one["p_max_w"] > FALLBACK_W + 1]
        ends = seconds(full[-1]["issued_at"]) + LEASE_S
        higher = [one for one in told("rack-a", "command")[before:] if one["p_max_w"] > SHARE_W * (1 + WITHIN)]
        early = [one["issued_at"] for one in higher if seconds(one["issued_at"]) < ends]
        run.equal("and not before rack-b's lease has ended", early, [])
        wait_until(lambda: near(applied("rack-a"), cap("rack-a"), 0.01), 20.0, "rack-a applies it")
        run.check(
            "rack-a never got more than it can", all(one["p_max_w"] <= RATED_W for one in told("rack-a", "command"))
        )

        mark = heard.count()
        rack_b = run.heatgate("rack-b-again", *argv)
        watch.wait(lambda row: not row.quality >> 1 & 1, 20.0, "the alarm ends by itself")
        views.show(CONTROLLER_LOST, False, mark)
        run.equal("its status says online", retained(run, broker.address, "late-online"), "online")
        wait_until(halves, 30.0, "rack-b has its half again")
        run.check(
            "its share comes back by itself", halves(), f"{applied('rack-a'):.0f} W and {applied('rack-b'):.0f} W"
        )

        # From here on only rack-b's own clock is left.
        watch.end()
        demo.process.kill9()
    mark = len(told("rack-b", "telemetry"))
    last = told("rack-b", "command")[-1]
    heard.wait(
        lambda topic, payload: topic == f"{BASE}/heaters/rack-b/telemetry" and payload["applied_w"] <= FALLBACK_W,
        LEASE_S / SPEED + 10,
        "rack-b falls back by itself",
        heard.count(),
    )
    rows = told("rack-b", "telemetry")
    taken = next(row for row in rows if row.get("seq") == last["seq"])
    fell = next(row for row in rows[mark:] if row["applied_w"] <= FALLBACK_W)
    run.check(
        "without a gateway it holds its cap while its lease runs",
        rows[mark]["applied_w"] > FALLBACK_W,
        f"{rows[mark]['applied_w']:.0f} W",
    )
    after = seconds(fell["at"]) - seconds(taken["at"])
    # Telemetry comes each 5 s, so both ends are known to that.
    run.check(
        "and falls back when it ends",
        LEASE_S - 7 <= after <= LEASE_S + 10,
        f"{after:.1f} s of site time after its last command",
    )
    run.equal("to the fallback that it was told", fell["applied_w"], last["fallback_w"])
    more = len(told("rack-b", "telemetry")) + 20
    wait_until(lambda: len(told("rack-b", "telemetry")) >= more, 20.0, "more telemetry")
    rows = told("rack-b", "telemetry")
    run.check(
        "and stays there",
        all(row["applied_w"] <= FALLBACK_W for row in rows[rows.index(fell) :]),
        f"{rows[-1]['power_w']:.0f} W drawn",
    )
    late = Subscriber(run, broker.address, f"{BASE}/gateway/status", name="late-gateway")
    run.equal(
        "the gateway's will says offline", late.wait(lambda *_: True, 10.0, "a retained status")["state"], "offline"
    )
    run.equal("a SIGTERM ends the simulated heater with 0", rack_b.stop(), 0)


start(main)
