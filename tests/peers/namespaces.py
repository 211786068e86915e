"""Network namespaces with subnets between them, made and removed by the script that uses them. Needs root."""

from __future__ import annotations

import asyncio
import ctypes
import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from harness import Failed, Run, command, need

T = TypeVar("T")

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def bridge(subnet: str) -> str:
    """The interface in the IP router that is a subnet."""
    return f"net-{subnet}"


class Net:
    """Hosts in subnets. Every subnet is a bridge in one namespace, the IP router, which forwards between them."""

    def __init__(self, run: Run):
        self.ip = need("ip")
        if os.geteuid() != 0:
            raise Failed("network namespaces need root")
        # Unique, so that two runs on one machine do not meet.
        self.prefix = f"hg{os.getpid()}"
        self.made: list[str] = []
        self.links = 0
        run.at_end(self.remove)
        self.router = self.host("r")
        self.within(self.router, ["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"])

    def _ip(self, *args: str) -> None:
        code, _, err = command([self.ip, *args])
        if code != 0:
            raise Failed(f"ip {' '.join(args)}: {err.strip()}")

    def within(self, host: str, argv: list[str]) -> str:
        """Run a program there to its end."""
        code, out, err = command([self.ip, "netns", "exec", host, *argv])
        if code != 0:
            raise Failed(f"{host}: {' '.join(argv)}: {err.strip()}")
        return out

    def argv(self, host: str, argv: list[str]) -> list[str]:
        """The same program, there."""
        return [self.ip, "netns", "exec", host, *argv]

    def host(self, name: str) -> str:
        full = f"{self.prefix}{name}"
        self._ip("netns", "add", full)
        self.made.append(full)
        self._ip("-n", full, "link", "set", "lo", "up")
        return full

    def subnet(self, name: str, gateway: str | None) -> None:
        """A bridge; with the IP router's address in it, such as 10.1.0.254/24, when it is to reach other subnets."""
        name = bridge(name)
        self._ip("-n", self.router, "link", "add", "name", name, "type", "bridge", "forward_delay", "0")
        self._ip("-n", self.router, "link", "set", name, "up")
        if gateway:
            self._ip("-n", self.router, "addr", "add", gateway, "broadcast", "+", "dev", name)

    def join(self, host: str, subnet: str, address: str, gateway: str | None = None) -> None:
        """Put a host into a subnet at an address with its prefix length."""
        self.links += 1
        inside, outside = f"e{self.links}", f"v{self.links}"
        self._ip("-n", host, "link", "add", "name", inside, "type", "veth", "peer", "name", outside, "netns", self.router)
        self._ip("-n", self.router, "link", "set", outside, "master", bridge(subnet), "up")
        self._ip("-n", host, "link", "set", inside, "up")
        self._ip("-n", host, "addr", "add", address, "broadcast", "+", "dev", inside)
        if gateway:
            self._ip("-n", host, "route", "add", "default", "via", gateway)

    def remove(self) -> None:
        while self.made:
            command([self.ip, "netns", "del", self.made.pop()])


def enter(host: str) -> None:
    """This thread goes into a namespace, for ever: sockets that it opens are there."""
    with open(f"/run/netns/{host}") as namespace:
        if _libc.setns(namespace.fileno(), CLONE_NEWNET) != 0:
            raise Failed(f"{host}: {os.strerror(ctypes.get_errno())}")


class Inhabitant:
    """A thread in a namespace, with an event loop that runs what it is given."""

    def __init__(self, run: Run, host: str):
        self.host = host
        self.loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._wrong: list[BaseException] = []
        self._thread = threading.Thread(target=self._live, daemon=True)
        self._thread.start()
        self._ready.wait(10.0)
        if self._wrong:
            raise Failed(str(self._wrong[0]))
        run.at_end(self.end)

    def _live(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            enter(self.host)
        except BaseException as error:
            self._wrong.append(error)
            self._ready.set()
            return
        self.loop.call_soon(self._ready.set)
        self.loop.run_forever()

    def do(self, work: Coroutine[Any, Any, T], bound: float = 20.0) -> T:
        """Run a coroutine there to its end."""
        future = asyncio.run_coroutine_threadsafe(asyncio.wait_for(work, bound), self.loop)
        return future.result(bound + 5.0)

    def call(self, work: Callable[[], T], bound: float = 20.0) -> T:
        """Run a function there, on the thread of the loop."""

        async def once() -> T:
            return work()

        return self.do(once(), bound)

    def end(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(5.0)
