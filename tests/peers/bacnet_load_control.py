"""bacpypes3 sheds load: the caps fall and return, compliance is shown, cancelled and bad requests change nothing."""

from __future__ import annotations

import asyncio
import datetime
import json
import socket
import sqlite3
import time
from collections.abc import Awaitable, Callable
from contextlib import closing

from bacpypes3.basetypes import BinaryPV, DateTime, ShedLevel, ShedState
from bacpypes3.constructeddata import ArrayOf
from bacpypes3.primitivedata import Date, Null, Real, Time, Unsigned

from bacnet_tools import Client, talk
from demo_site import Demo
from frames import Frames
from harness import Failed, Run, free_port, http_get, package_version, python_version, start, wait_until
from run_site import RunSite

# Of zone hall: 60 kW rated; a limit is used to 97 %.
RATED = 60.0
USED = 0.97
ANY = DateTime(date=Date((255, 255, 255, 255)), time=Time((255, 255, 255, 255)))


def refusal(answer) -> str:
    code = getattr(answer, "errorCode", None)
    return f"{answer.errorClass}, {code}" if code is not None else repr(answer)


def short(level: ShedLevel) -> tuple[str, float]:
    for choice in ("percent", "level", "amount"):
        value = getattr(level, choice)
        if value is not None:
            return choice, round(float(value), 3)
    return "none", 0.0


class Load:
    """The load control of zone hall, and what the heaters do."""

    def __init__(self, client: Client):
        self.client = client

    async def read(self, prop: str = "present-value", index: int | None = None):
        return await self.client.read("load-control", 1, prop, index)

    async def write(self, prop: str, value):
        return await self.client.write("load-control", 1, value, prop=prop)

    async def state(self) -> str:
        return str(await self.read())

    async def command(self) -> float:
        """Sum of the caps, kW."""
        return float(await self.client.read("analog-input", 14))

    async def drawn(self) -> float:
        return float(await self.client.read("analog-input", 13))

    async def now(self) -> datetime.datetime:
        """The device's own clock."""
        device = (await self.client.read("device", 4194303, "object-identifier"))[1]
        day = await self.client.read("device", device, "local-date")
        hour, minute, second, hundredth = await self.client.read("device", device, "local-time")
        return datetime.datetime(day[0] + 1900, day[1], day[2], hour, minute, second, hundredth * 10_000)

    async def ask(self, level: ShedLevel, minutes: int, after: float = 0.0) -> None:
        """A request that begins so many seconds of the device's time from now."""
        at = await self.now() + datetime.timedelta(seconds=after)
        begin = DateTime(
            date=Date((at.year - 1900, at.month, at.day, at.isoweekday())), time=Time((at.hour, at.minute, at.second, 0))
        )
        for prop, value in (
            ("requested-shed-level", level),
            ("shed-duration", Unsigned(minutes)),
            ("duty-window", Unsigned(5)),
            ("start-time", begin),
        ):
            refused = await self.write(prop, value)
            if refused is not None:
                raise Failed(f"{prop}: {refusal(refused)}")

    async def until(self, condition: Callable[[], Awaitable[bool]], bound: float, what: str) -> float:
        began = time.monotonic()
        while not await condition():
            if time.monotonic() - began > bound:
                state, command, drawn = await self.state(), await self.command(), await self.drawn()
                raise Failed(f"{what}: not within {bound:g} s (state {state}, caps {command:.1f}, drawn {drawn:.1f} kW)")
            await asyncio.sleep(0.05)
        return time.monotonic() - began


async def shed(run: Run, client: Client) -> None:
    load = Load(client)
    run.equal("without a request", await load.state(), "shed-inactive")
    run.equal("Full_Duty_Baseline is the rated power", float(await load.read("full-duty-baseline")), RATED)
    levels = [int(level) for level in await load.read("shed-levels")]
    run.equal("Shed_Levels", levels, [1, 2, 3, 4])
    run.equal("one description each", len(await load.read("shed-level-descriptions")), 4)
    run.equal("Requested_Shed_Level begins as level 0", short(await load.read("requested-shed-level")), ("level", 0.0))

    for kind, value in (("binary-value", BinaryPV("active")), ("analog-value", Real(80.0))):
        run.equal(f"ask for heat, {kind} 1", await client.write(kind, 1, value, 16), None)
    await load.until(lambda: above(load, 40.0), 60.0, "the heaters are allowed more than 40 kW")
    high = await load.command()
    run.note(f"caps before: {high:.1f} kW")

    # Half of the rated power, twenty minutes, two minutes from now.
    await load.ask(ShedLevel(percent=Unsigned(50)), 20, after=120.0)
    run.equal("ahead of its time it is pending", await load.state(), "shed-request-pending")
    run.check("and the caps stay", await load.command() > 35.0, f"{await load.command():.1f} kW")
    run.equal("Expected_Shed_Level", short(await load.read("expected-shed-level")), ("percent", 50.0))
    limit = RATED * 0.5 * USED
    await load.until(lambda: below(load, limit), 20.0, "the caps fall to the limit")
    run.check("the caps fall to the limit", True, f"{await load.command():.1f} of {limit:.1f} kW")
    await load.until(lambda: complies(load), 20.0, "it is complied with")
    drawn = await load.drawn()
    run.check("compliance is measured", drawn <= RATED * 0.5 + 0.01 * RATED, f"{drawn:.1f} kW drawn")
    _, actual = short(await load.read("actual-shed-level"))
    run.check("Actual_Shed_Level is measured", 0.0 < actual < 100.0, f"{actual:g} %")
    await load.until(lambda: inactive(load), 60.0, "it ends by itself")
    run.equal("the level is back at its default", short(await load.read("requested-shed-level")), ("percent", 100.0))
    run.equal("Shed_Duration is back", int(await load.read("shed-duration")), 0)
    await load.until(lambda: above(load, 40.0), 60.0, "the caps return")
    run.check("the caps return", True, f"{await load.command():.1f} kW")

    # By level and at once; asked anew while it is under way; cancelled.
    await load.ask(ShedLevel(level=Unsigned(3)), 600)
    await load.until(lambda: below(load, RATED * 0.25 * USED), 20.0, "level 3 is a quarter")
    run.equal("asked anew", await load.write("requested-shed-level", ShedLevel(amount=Real(20.0))), None)
    await load.until(lambda: between(load, 30.0, 40.0 * USED), 60.0, "20 kW less than rated")
    run.equal("cancelled", await load.write("requested-shed-level", ShedLevel(amount=Real(0.0))), None)
    run.equal("at once", await load.state(), "shed-inactive")
    await load.until(lambda: above(load, 40.0), 60.0, "the caps return after a cancellation")

    await load.ask(ShedLevel(level=Unsigned(2)), 600)
    run.equal("disabled", await load.write("enable", False), None)
    run.equal("a disabled object is inactive", await load.state(), "shed-inactive")
    run.equal("enabled", await load.write("enable", True), None)
    run.equal("and has forgotten what was asked", await load.state(), "shed-inactive")

    monday = DateTime(date=Date((255, 255, 255, 1)), time=Time((8, 0, 0, 0)))
    for name, prop, value, expected in (
        ("101 %", "requested-shed-level", ShedLevel(percent=Unsigned(101)), "property, value-out-of-range"),
        ("-1 kW", "requested-shed-level", ShedLevel(amount=Real(-1.0)), "property, value-out-of-range"),
        ("NaN kW", "requested-shed-level", ShedLevel(amount=Real(float("nan"))), "property, value-out-of-range"),
        ("mondays", "start-time", monday, "property, value-out-of-range"),
        ("eight days", "shed-duration", Unsigned(11520), "property, value-out-of-range"),
        ("Present_Value", "present-value", ShedState("shed-compliant"), "property, write-access-denied"),
        ("the baseline", "full-duty-baseline", Real(1.0), "property, write-access-denied"),
        ("falling levels", "shed-levels", ArrayOf(Unsigned)([4, 3, 2, 1]), "property, value-out-of-range"),
    ):
        run.equal(f"write {name}", refusal(await load.write(prop, value)), expected)
    run.equal("nothing of that asks for anything", await load.state(), "shed-inactive")
    for kind in ("binary-value", "analog-value"):
        run.equal(f"release {kind} 1", await client.write(kind, 1, Null(()), 16), None)


async def above(load: Load, kw: float) -> bool:
    return await load.command() > kw


async def below(load: Load, kw: float) -> bool:
    return await load.command() <= kw + 0.05


async def between(load: Load, low: float, high: float) -> bool:
    return low < await load.command() <= high + 0.05


async def complies(load: Load) -> bool:
    return await load.state() == "shed-compliant"


async def inactive(load: Load) -> bool:
    return await load.state() == "shed-inactive"


async def begin(run: Run, client: Client) -> None:
    load = Load(client)
    await load.ask(ShedLevel(level=Unsigned(3)), 60)
    run.check("a shed under way", await load.state() in ("shed-compliant", "shed-non-compliant"), await load.state())


async def again(run: Run, client: Client) -> None:
    load = Load(client)
    run.check("after a kill it goes on", await load.state() in ("shed-compliant", "shed-non-compliant"), await load.state())
    run.equal("with what was asked", short(await load.read("requested-shed-level")), ("level", 3.0))
    run.equal("and can be cancelled", await load.write("requested-shed-level", ShedLevel(level=Unsigned(0))), None)


def limit(site: RunSite) -> dict:
    """The limit of zone hall as the gateway shows it."""
    _, body = http_get(site.http, "/api/v1/points")
    points = json.loads(body)
    points = points if isinstance(points, list) else points["points"]
    return next(point for point in points if point["key"] == "hall/load_control_limit")


def durable(site: RunSite) -> bool:
    """The request and its limit stand in the state file."""
    with closing(sqlite3.connect(f"file:{site.state / 'heatgate.db'}?mode=ro", uri=True)) as state:
        slots = state.execute("SELECT count(*) FROM slot WHERE key = 'hall/load_control_limit'").fetchone()[0]
        kept = state.execute("SELECT count(*) FROM keepsake WHERE key LIKE '%load-control/1'").fetchone()[0]
    return slots == 1 and kept == 1


def main(run: Run) -> None:
    run.peer("bacpypes3", python_version("bacpypes3"), "asks for sheds in every form, follows, cancels, and asks amiss")
    run.peer("tshark", package_version("tshark"), "dissects every frame of it")
    port = free_port(socket.SOCK_DGRAM)
    frames = Frames(run, port)
    demo = Demo(run, without="bms", speed=60, outside={"bacnet": ("127.0.0.1", port)})
    talk(demo.address("bacnet"), lambda client: shed(run, client), bound=180.0)
    run.equal("a SIGTERM ends the demo with 0", demo.process.stop(), 0)
    frames.report(run, 15)

    site = RunSite(run, parts=False)
    gateway, _ = site.spawn_and_time()
    talk(site.bacnet, lambda client: begin(run, client))
    wait_until(lambda: limit(site).get("value") == 15.0, 10.0, "the limit is in force")
    # What was written must be durable before the kill.
    wait_until(lambda: durable(site), 10.0, "the state is on the disk", every=0.1)
    gateway.kill9()
    gateway, _ = site.spawn_and_time()
    wait_until(lambda: limit(site).get("quality") == "good", 10.0, "the limit is confirmed after the kill")
    run.equal("the limit stands after a kill", limit(site)["value"], 15.0)
    talk(site.bacnet, lambda client: again(run, client))
    wait_until(lambda: limit(site).get("quality") == "bad", 10.0, "no limit is left")
    run.equal("a SIGTERM ends the gateway with 0", gateway.stop(), 0)


start(main)
