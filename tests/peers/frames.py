"""tshark beside a dialogue: the BACnet frames of one port of loopback, and those that it finds malformed."""

from __future__ import annotations

import os
import signal

from harness import Run, command, need, wait_until


class Frames:
    def __init__(self, run: Run, port: int):
        self.port = port
        self.root = [] if os.geteuid() == 0 else ["sudo", "-n"]
        self.file = run.scratch / "lo.pcapng"
        self.file.touch()
        self.file.chmod(0o666)
        argv = [*self.root, need("tshark"), "-i", "lo", "-w", str(self.file), "-B", "16", "-q", "-f", f"udp port {port}"]
        self.process = run.spawn("tshark", argv)
        wait_until(lambda: "Capturing on" in self.process.log.read_text(), 20.0, "tshark captures")

    def end(self) -> None:
        self.process.signal(signal.SIGINT)
        self.process.wait_exit(20.0)

    def count(self, query: str) -> int:
        """Frames that fit a display filter."""
        argv = [*self.root, need("tshark"), "-r", str(self.file), "-d", f"udp.port=={self.port},bvlc", "-Y", query]
        code, out, err = command(argv, bound=120.0)
        if code != 0:
            raise RuntimeError(err[-500:])
        return len(out.splitlines())

    def report(self, run: Run, service: int, sent_by: int | None = None) -> None:
        """Two checks: there is traffic of this confirmed service, and nothing is malformed (of what one port sent)."""
        self.end()
        ours = "" if sent_by is None else f" && udp.srcport == {sent_by}"
        seen = self.count(f"bacapp.confirmed_service == {service}")
        run.check("tshark saw the service", seen > 0, f"{seen} frames of confirmed service {service}")
        run.equal("tshark finds nothing malformed", self.count(f"_ws.malformed{ours}"), 0)

