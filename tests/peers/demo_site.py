"""`heatgate demo` as a child, every address on a free port unless the script says where."""

from __future__ import annotations

import json

from harness import Address, Failed, Run, parse_address, shown

LISTENERS = ("modbus", "bacnet", "broker", "http", "meter")


class Demo:
    """One demo. Its addresses are those it printed; its minutes and summary are read as they come."""

    def __init__(
        self,
        run: Run,
        *args: str,
        name: str = "demo",
        speed: float | None = 60,
        without: str = "",
        outside: dict[str, Address] | None = None,
        bound: float = 30.0,
    ):
        argv = ["demo", "--json", "--state-dir", str(run.directory(f"{name}-state"))]
        if speed is not None:
            argv += ["--speed", f"{speed:g}"]
        if without:
            argv += ["--without", without]
        for listener in LISTENERS:
            argv += [f"--{listener}", shown((outside or {}).get(listener, ("127.0.0.1", 0)))]
        self.process = run.heatgate(name, *argv, *args)
        line = self.process.wait_line(lambda line: '"addresses"' in line, bound, "its addresses")
        self.addresses = json.loads(line)

    def address(self, listener: str) -> Address:
        text = self.addresses.get(listener)
        if not isinstance(text, str):
            raise Failed(f"the demo printed no address for {listener}: {self.addresses}")
        return parse_address(text)

    @property
    def modbus(self) -> Address:
        return self.address("modbus")

    @property
    def broker(self) -> Address:
        return self.address("broker")

    @property
    def http(self) -> Address:
        return self.address("http")

    @property
    def meter(self) -> Address:
        return self.address("meter")

    def events(self, kind: str) -> list[dict]:
        """Every event of a kind that was printed so far. A line that is not JSON is an error."""
        events = [json.loads(line) for line in self.process.lines if line.strip()]
        return [event for event in events if event.get("event") == kind]
