"""bacpypes3 against the demo's BACnet device: every object and property, segments, commands, changes of value."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from demo_site import Demo
from harness import Run, command, python_version, shown, start

DIALOGUES = Path(__file__).with_name("bacnet_bacpypes3.py")


def main(run: Run) -> None:
    run.peer(
        "bacpypes3",
        python_version("bacpypes3"),
        "reads every property of every object, whole lists in segments; commands, releases and subscribes",
    )
    demo = Demo(run, without="bms")
    argv = [sys.executable, str(DIALOGUES), shown(demo.address("bacnet")), str(demo.addresses["bacnet_device"])]
    code, out, err = command(argv, bound=180.0)
    for line in out.splitlines():
        if line.startswith("FAIL "):
            run.check(line.removeprefix("FAIL "), False)
    counts = re.search(r"^(\d+) passed, (\d+) failed$", out, re.M)
    run.check("bacpypes3's dialogues end", counts is not None, err[-500:] if counts is None else "")
    passed = int(counts.group(1)) if counts else 0
    run.check("every one of its checks holds", code == 0 and passed > 100, f"{passed} checks, exit {code}")
    run.equal("a SIGTERM ends the demo with 0", demo.process.stop(), 0)


start(main)
