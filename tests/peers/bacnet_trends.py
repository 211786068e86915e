"""bacpypes3 reads trend logs: by position, number and time, whole in segments, after a purge, a stop and two restarts."""

from __future__ import annotations

import asyncio
import datetime
import time

from bacpypes3.apdu import ErrorRejectAbortNack, ReadRangeRequest
from bacpypes3.basetypes import (
    DateTime,
    LoggingType,
    LogRecord,
    Range,
    RangeByPosition,
    RangeBySequenceNumber,
    RangeByTime,
)
from bacpypes3.constructeddata import SequenceOf
from bacpypes3.primitivedata import Date, Integer, Null, ObjectIdentifier, Real, Time, Unsigned

from bacnet_tools import Client, talk
from frames import Frames
from harness import Run, Failed, package_version, python_version, start
from run_site import RunSite

ASKED, COMMAND, DELIVERED = 1, 2, 3


def instant(at: datetime.datetime) -> DateTime:
    day = Date((at.year - 1900, at.month, at.day, at.isoweekday()))
    return DateTime(date=day, time=Time((at.hour, at.minute, at.second, at.microsecond // 10_000)))


def seconds(stamp: DateTime) -> float:
    """Since 1970, from a timestamp of a record."""
    year, month, day, _ = stamp.date
    hour, minute, second, hundredth = stamp.time
    at = datetime.datetime(year + 1900, month, day, hour, minute, second, hundredth * 10_000, datetime.UTC)
    return at.timestamp()


class Log:
    """One trend log of the gateway."""

    def __init__(self, client: Client, instance: int):
        self.client = client
        self.instance = instance

    async def read(self, prop: str):
        return await self.client.read("trend-log", self.instance, prop)

    async def write(self, prop: str, value):
        return await self.client.write("trend-log", self.instance, value, prop=prop)

    async def range(self, wanted: Range | None = None, prop: str = "log-buffer"):
        """Records, flags as text and first number; or the error."""
        request = ReadRangeRequest(
            objectIdentifier=ObjectIdentifier(f"trend-log,{self.instance}"),
            propertyIdentifier=prop,
            destination=self.client.peer,
        )
        if wanted is not None:
            request.range = wanted
        try:
            answer = await asyncio.wait_for(self.client.app.request(request), self.client.bound)
        except ErrorRejectAbortNack as error:
            return error
        if isinstance(answer, ErrorRejectAbortNack):
            return answer
        records = list(answer.itemData.cast_out(SequenceOf(LogRecord))) if answer.itemCount else []
        if len(records) != answer.itemCount:
            raise Failed(f"{len(records)} records, and the answer counts {answer.itemCount}")
        first, last, more = (bool(bit) for bit in answer.resultFlags)
        flags = "".join(name for name, on in (("F", first), ("L", last), ("M", more)) if on)
        return records, flags, answer.firstSequenceNumber

    async def count(self, least: int, bound: float = 30.0) -> int:
        """Record_Count, once it is that high."""
        deadline = time.monotonic() + bound
        while True:
            count = int(await self.read("record-count"))
            if count >= least:
                return count
            if time.monotonic() > deadline:
                raise Failed(f"trend log {self.instance} holds {count} records, not {least}, after {bound:g} s")
            await asyncio.sleep(0.1)


def by_position(index: int, count: int) -> Range:
    return Range(byPosition=RangeByPosition(referenceIndex=Unsigned(index), count=Integer(count)))


def by_number(number: int, count: int) -> Range:
    return Range(
        bySequenceNumber=RangeBySequenceNumber(referenceSequenceNumber=Unsigned(number), count=Integer(count))
    )


def by_time(at: datetime.datetime, count: int) -> Range:
    return Range(byTime=RangeByTime(referenceTime=instant(at), count=Integer(count)))


def values(records) -> list:
    """What each record holds, short."""
    short = []
    for record in records:
        datum = record.logDatum
        if datum.logStatus is not None:
            short.append(tuple(int(bit) for bit in datum.logStatus))
        elif datum.realValue is not None:
            short.append(round(float(datum.realValue), 3))
        elif datum.failure is not None:
            short.append((str(datum.failure.errorClass), str(datum.failure.errorCode)))
        else:
            short.append(datum)
    return short


def refusal(answer) -> str:
    """Class and code of an error, or what came instead."""
    code = getattr(answer, "errorCode", None)
    return f"{answer.errorClass}, {code}" if code is not None else repr(answer)


async def reading(run: Run, client: Client) -> None:
    log = Log(client, ASKED)
    run.equal("Buffer_Size is the mapping's default", int(await log.read("buffer-size")), 4320)
    run.equal("Logging_Type begins polled", str(await log.read("logging-type")), "polled")
    run.equal("Log_Interval begins as a minute", int(await log.read("log-interval")), 6000)
    reference = await log.read("log-device-object-property")
    run.equal("it logs AV 1", str(reference.objectIdentifier), "analog-value,1")
    denied = await log.read("log-buffer")
    run.equal("ReadProperty of Log_Buffer", refusal(denied), "property, read-access-denied")

    run.equal("command AV 1", await client.write("analog-value", 1, Real(42.5), 10), None)
    run.equal("an interval of a second", await log.write("log-interval", Unsigned(100)), None)
    await log.count(8)
    run.equal("stop", await log.write("enable", False), None)
    count, total = int(await log.read("record-count")), int(await log.read("total-record-count"))
    run.equal("nothing was overwritten yet", count, total)
    records, flags, number = await log.range()
    run.equal("the whole list, first and last", (len(records), flags, number), (count, "FL", None))
    run.equal("it begins as enabled", values(records)[0], (0, 0, 0))
    run.equal("it ends as disabled", values(records)[-1], (1, 0, 0))
    run.equal("between them stand the values", set(values(records)[1:-1]), {42.5})
    stamps = [seconds(record.timestamp) for record in records[1:-1]]
    gaps = [round(later - earlier) for earlier, later in zip(stamps, stamps[1:])]
    run.check("a second apart", gaps.count(1) >= len(gaps) - 1 and max(gaps) <= 2, gaps)
    run.check("on the gateway's clock", abs(stamps[-1] - time.time()) < 30, f"{stamps[-1] - time.time():.1f} s")

    for name, wanted, expected in (
        ("position 1, +3", by_position(1, 3), (3, "F", None)),
        ("position of the last, -3", by_position(count, -3), (3, "L", None)),
        ("position 2, -5", by_position(2, -5), (2, "F", None)),
        ("position behind the end", by_position(count + 1, 1), (0, "", None)),
        ("number 2, +4", by_number(2, 4), (4, "", 2)),
        ("the last number, -4", by_number(total, -4), (4, "L", total - 3)),
        ("a number not yet given", by_number(total + 1, 4), (0, "", None)),
    ):
        got, flags, number = await log.range(wanted)
        run.equal(f"by {name}", (len(got), flags, number), expected)
    middle = datetime.datetime.fromtimestamp(stamps[3], datetime.UTC)
    got, flags, number = await log.range(by_time(middle, 2))
    run.equal("by time, newer than a record", (seconds(got[0].timestamp), number), (stamps[4], 6))
    got, flags, number = await log.range(by_time(middle, -2))
    run.equal("by time, older than a record", (seconds(got[-1].timestamp), number), (stamps[2], 3))
    error = await log.range(by_position(1, 1), prop="record-count")
    # bacpypes3 spells code 22 so.
    run.equal("ReadRange of what is no list", refusal(error), "services, property-is-not-alist")

    for name, prop, value, expected in (
        ("Record_Count of 7", "record-count", Unsigned(7), "property, value-out-of-range"),
        ("Buffer_Size", "buffer-size", Unsigned(7), "property, write-access-denied"),
        ("Log_Interval of 10 ms", "log-interval", Unsigned(1), "property, value-out-of-range"),
        ("a trigger of a polled log", "trigger", True, "property, not-configured-for-triggered-logging"),
        ("Logging_Type 9", "logging-type", LoggingType(9), "property, value-out-of-range"),
    ):
        run.equal(f"write {name}", refusal(await log.write(prop, value)), expected)

    run.equal("purge", await log.write("record-count", Unsigned(0)), None)
    records, flags, _ = await log.range()
    run.equal("a purge leaves its own record", (values(records), flags), ([(1, 1, 0)], "FL"))
    run.equal("numbers go on over a purge", int(await log.read("total-record-count")), total + 1)


async def ways(run: Run, client: Client) -> None:
    log = Log(client, ASKED)
    run.equal("log by change of value", await log.write("logging-type", LoggingType("cov")), None)
    run.equal("then there is no interval", int(await log.read("log-interval")), 0)
    run.equal("start", await log.write("enable", True), None)
    before = await log.count(3)
    run.equal("change AV 1", await client.write("analog-value", 1, Real(55.0), 10), None)
    after = await log.count(before + 1)
    records, _, _ = await log.range(by_position(after, -2))
    run.equal("the change was logged", values(records), [42.5, 55.0])
    run.equal("log by trigger", await log.write("logging-type", LoggingType("triggered")), None)
    run.equal("trigger", await log.write("trigger", True), None)
    run.equal("the trigger was logged", values((await log.range(by_position(await log.count(after + 1), -1)))[0]), [55.0])
    run.equal("and is over", bool(await log.read("trigger")), False)

    small = Log(client, DELIVERED)
    run.equal("Buffer_Size is the mapping's", int(await small.read("buffer-size")), 12)
    run.equal("stop when full", await small.write("stop-when-full", True), None)
    run.equal("each second", await small.write("log-interval", Unsigned(100)), None)
    await small.count(12)
    records, flags, _ = await small.range()
    run.equal("a meter that is away is a failure", values(records)[-2], ("device", "operational-problem"))
    run.equal("the last place says that it stopped", (values(records)[-1], flags), ((1, 0, 0), "FL"))
    run.equal("Enable turned false", bool(await small.read("enable")), False)
    run.equal("enable a full log", refusal(await small.write("enable", True)), "object, log-buffer-full")


async def fill(run: Run, client: Client) -> tuple[int, int]:
    """Enough for an answer in segments: number of the newest record, and how many there are."""
    log = Log(client, ASKED)
    await log.write("logging-type", LoggingType("cov"))
    had = int(await log.read("record-count"))
    for step in range(60):
        await client.write("analog-value", 1, Real(20.0 + 2 * (step % 2)), 10)
        await log.count(had + 1)
        had = int(await log.read("record-count"))
    records, flags, _ = await log.range()
    run.check("more than one APDU holds, in segments", len(records) >= 60 and flags == "FL", f"{len(records)} {flags}")
    return int(await log.read("total-record-count")), len(records)


async def after(run: Run, client: Client, name: str, number: int, least: int) -> None:
    log = Log(client, ASKED)
    run.equal(f"{name}: Logging_Type stays", str(await log.read("logging-type")), "cov")
    count = await log.count(least)
    # The interruption is a record as any other: it comes with the first image after the start.
    said, deadline = [], time.monotonic() + 30.0
    while (0, 0, 1) not in said and time.monotonic() < deadline:
        records, _, _ = await log.range(by_number(number + 1, 50))
        said = values(records)
        await asyncio.sleep(0.1)
    run.check(f"{name}: what follows the last number has the interruption", (0, 0, 1) in said, said[:4])
    whole, flags, _ = await log.range()
    run.check(f"{name}: the records are kept", len(whole) == count >= least and flags == "FL", f"{len(whole)} of {least}")
    small = Log(client, DELIVERED)
    run.equal(f"{name}: a stopped log stays stopped", (int(await small.read("record-count")), bool(await small.read("enable"))), (12, False))
    run.equal(f"{name}: release AV 1", await client.write("analog-value", 1, Null(()), 10), None)


def main(run: Run) -> None:
    run.peer("bacpypes3", python_version("bacpypes3"), "reads, purges, stops and triggers trend logs, over two restarts")
    run.peer("tshark", package_version("tshark"), "dissects every frame of it")
    site = RunSite(run, parts=False)
    mapping = site.files / "mappings" / "digital-boiler.toml"
    text = mapping.read_text()
    point = 'point = "{zone}/heat_delivered"\n'
    mapping.write_text(text.replace(point, f"{point}records = 12\n"))
    frames = Frames(run, site.bacnet[1])
    gateway, _ = site.spawn_and_time()
    talk(site.bacnet, lambda client: reading(run, client))
    talk(site.bacnet, lambda client: ways(run, client))
    number, count = talk(site.bacnet, lambda client: fill(run, client))
    run.equal("a SIGTERM ends the gateway with 0", gateway.stop(), 0)
    gateway, _ = site.spawn_and_time()
    talk(site.bacnet, lambda client: after(run, client, "stopped", number, count + 1))
    number, count = talk(site.bacnet, lambda client: fill(run, client))
    gateway.kill9()
    gateway, _ = site.spawn_and_time()
    # A minute of records or 32 of them may be lost.
    talk(site.bacnet, lambda client: after(run, client, "killed", number, count - 40))
    run.equal("a SIGTERM ends it", gateway.stop(), 0)
    frames.report(run, 26)


start(main)
