#!/usr/bin/env python3
"""How fast `heatgate run` serves again, and how much memory it takes.

    target/peers-venv/bin/python benches/restart.py target/release/heatgate [--starts 20] [--rss-after 60]

The demonstration's site with mosquitto, two simulated heaters and a simulated meter as processes of their own. Each
start is measured from before the process exists to its first good Modbus answer; each but the first follows a kill -9.
With --rss-after the last process runs that many seconds more, while a master reads the face ten times a second, and its
VmRSS is printed.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "peers"))

from bms_face import Face  # noqa: E402
from harness import Run  # noqa: E402
from run_site import RunSite, machine  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary", type=Path)
    parser.add_argument("--starts", type=int, default=20)
    parser.add_argument("--rss-after", type=float, default=0.0, metavar="SECONDS")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="heatgate-restart-") as scratch:
        run = Run("restart", args.binary.resolve(), Path(scratch))
        try:
            return measure(run, args)
        finally:
            run.close()


def measure(run: Run, args: argparse.Namespace) -> int:
    site = RunSite(run)
    took: list[float] = []
    gateway = None
    for _ in range(args.starts):
        if gateway is not None:
            gateway.kill9()
        gateway, seconds = site.spawn_and_time()
        took.append(1000 * seconds)
        with Face(site.modbus) as face:
            face.ask(50)
    print(machine())
    print(
        f"{len(took)} starts: first {took[0]:.0f} ms, median {statistics.median(took):.0f} ms, worst {max(took):.0f} ms"
    )
    print("  " + " ".join(f"{value:.0f}" for value in took))
    if args.rss_after > 0 and gateway is not None:
        until = time.monotonic() + args.rss_after
        with Face(site.modbus) as face:
            while time.monotonic() < until:
                face.inputs(0, 100)
                # The pace of a fast BMS, not a synchronisation.
                time.sleep(0.1)
        print(f"VmRSS after {args.rss_after:g} s: {gateway.memory_kb() / 1024:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
