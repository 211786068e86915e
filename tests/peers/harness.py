"""What every peer script stands on: processes with deadlines, conditions with bounds, and a report of checks.

A peer script is `def main(run: Run)` and `start(main)` below it; it runs alone as `python x.py path/to/heatgate`.
Nothing sleeps to synchronise: a script waits for a condition and says how long it may take.
"""

from __future__ import annotations

import atexit
import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
Address = tuple[str, int]

ROOT = Path(__file__).resolve().parents[2]


class Failed(Exception):
    """The script cannot go on; it is counted as one failed check."""


def wait_until(condition: Callable[[], T], bound: float, what: str, every: float = 0.02) -> T:
    """The first truthy value of `condition`; `Failed` after `bound` seconds. Refused connections count as not yet."""
    deadline = time.monotonic() + bound
    last: object = None
    while True:
        try:
            value = condition()
            if value:
                return value
            last = value
        except OSError as error:
            last = error
        if time.monotonic() >= deadline:
            raise Failed(f"{what}: not within {bound:g} s (last: {last!r})")
        time.sleep(every)


def free_port(kind: int = socket.SOCK_STREAM) -> int:
    """A port of loopback that was free a moment ago. For parts that must be told a port and cannot tell one."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def accepts(address: Address) -> bool:
    """Somebody listens there."""
    with socket.create_connection(address, timeout=1.0):
        return True


def parse_address(text: str) -> Address:
    host, _, port = text.rpartition(":")
    return host, int(port)


def shown(address: Address) -> str:
    return f"{address[0]}:{address[1]}"


def near(value: float | None, expected: float, fraction: float) -> bool:
    return value is not None and abs(value - expected) <= fraction * abs(expected)


def http_get(address: Address, path: str, timeout: float = 5.0) -> tuple[int, str]:
    """Status and body; a status that is an error is an answer too."""
    try:
        with urllib.request.urlopen(f"http://{shown(address)}{path}", timeout=timeout) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(errors="replace")


_libc = ctypes.CDLL(None)


def _die_with_parent() -> None:
    # PR_SET_PDEATHSIG: a script that is killed leaves nothing behind.
    _libc.prctl(1, signal.SIGKILL)


class Process:
    """A child in its own process group. Its standard output is kept line by line; both streams go to a log file."""

    def __init__(
        self, name: str, argv: list[str], logs: Path, env: dict[str, str] | None = None, cwd: Path | None = None
    ):
        self.name = name
        self.lines: list[str] = []
        self._news = threading.Condition()
        self.log = logs / f"{name}.log"
        self._log = self.log.open("a", buffering=1)
        self._log.write(f"$ {' '.join(argv)}\n")
        full = dict(os.environ)
        full.update(env or {})
        self.child = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=full,
            cwd=cwd,
            text=True,
            errors="replace",
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self.child.pid

    def _read(self) -> None:
        assert self.child.stdout is not None
        for line in self.child.stdout:
            self._log.write(line)
            with self._news:
                self.lines.append(line.rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self._news.notify_all()

    def running(self) -> bool:
        return self.child.poll() is None

    def wait_line(self, wanted: Callable[[str], bool], bound: float, what: str, since: int = 0) -> str:
        """The first line of standard output, from line `since` on, that is wanted."""
        deadline = time.monotonic() + bound
        seen = since
        with self._news:
            while True:
                while seen < len(self.lines):
                    line = self.lines[seen]
                    seen += 1
                    if wanted(line):
                        return line
                if not self._reader.is_alive():
                    raise Failed(f"{self.name}: {what}: its output ended (exit {self.child.poll()})\n{self.tail()}")
                left = deadline - time.monotonic()
                if left <= 0:
                    raise Failed(f"{self.name}: {what}: no such line within {bound:g} s\n{self.tail()}")
                self._news.wait(min(left, 0.2))

    def wait_exit(self, bound: float) -> int:
        try:
            code = self.child.wait(bound)
        except subprocess.TimeoutExpired:
            raise Failed(f"{self.name}: still runs after {bound:g} s\n{self.tail()}") from None
        self._reader.join(5.0)
        return code

    def signal(self, number: int) -> None:
        if self.running():
            os.kill(self.child.pid, number)

    def kill9(self) -> None:
        self.signal(signal.SIGKILL)
        self.child.wait(10.0)

    def stop(self, bound: float = 10.0) -> int:
        """Ask, then insist. Its whole group goes, so that no grandchild stays."""
        if self.running():
            self.signal(signal.SIGTERM)
            try:
                self.child.wait(bound)
            except subprocess.TimeoutExpired:
                pass
        try:
            os.killpg(self.child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        code = self.child.wait(10.0)
        self._reader.join(2.0)
        return code

    def memory_kb(self) -> int:
        """Resident memory, from the kernel."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        raise Failed(f"{self.name}: no VmRSS")

    def tail(self, lines: int = 25) -> str:
        self._log.flush()
        text = self.log.read_text(errors="replace").splitlines()
        return "\n".join(f"    {self.name}| {line}" for line in text[-lines:])


class Run:
    """One run of one script: the binary, the checks, the children, a scratch directory."""

    def __init__(self, name: str, binary: Path, scratch: Path):
        self.name = name
        self.binary = binary
        self.scratch = scratch
        self.checks: list[tuple[str, bool, str]] = []
        self.peers: dict[str, str] = {}
        self.proves: dict[str, list[str]] = {}
        self._children: list[Process] = []
        self._at_end: list[Callable[[], None]] = []

    # Checks.

    def check(self, name: str, ok: object, detail: object = "") -> bool:
        """Count one check and print it. It does not raise: the script goes on and shows everything that is wrong."""
        good = bool(ok)
        self.checks.append((name, good, str(detail)))
        print(f"{'ok  ' if good else 'FAIL'} {name}{f'  ({detail})' if detail != '' else ''}", flush=True)
        return good

    def equal(self, name: str, value: object, expected: object) -> bool:
        if value == expected:
            text = str(value)
            return self.check(name, True, text if len(text) <= 100 else f"{text[:100]}...")
        return self.check(name, False, f"{value!r}, expected {expected!r}")

    def note(self, text: str) -> None:
        print(f"     {text}", flush=True)

    def peer(self, name: str, version: str, what: str) -> None:
        """Say which third-party program or library takes part, and what it checks."""
        self.peers[name] = version
        self.proves.setdefault(name, []).append(what)
        print(f"peer {name} {version}: {what}", flush=True)

    # Children.

    def spawn(self, name: str, argv: list[str], env: dict[str, str] | None = None, cwd: Path | None = None) -> Process:
        child = Process(name, [str(part) for part in argv], self.scratch, env, cwd)
        self._children.append(child)
        return child

    def heatgate(self, name: str, *args: str, env: dict[str, str] | None = None, cwd: Path | None = None) -> Process:
        return self.spawn(name, [str(self.binary), *args], env, cwd)

    def at_end(self, action: Callable[[], None]) -> None:
        """Run it when the script ends, however it ends."""
        self._at_end.append(action)

    def directory(self, name: str) -> Path:
        path = self.scratch / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def close(self) -> None:
        while self._at_end:
            try:
                self._at_end.pop()()
            except Exception:
                traceback.print_exc()
        while self._children:
            try:
                self._children.pop().stop(5.0)
            except Exception:
                traceback.print_exc()

    def show_logs(self) -> None:
        # A child that was started again writes on in the same file.
        for child in {child.log: child for child in self._children}.values():
            print(child.tail(), flush=True)


def command(argv: list[str], bound: float = 30.0, env: dict[str, str] | None = None, cwd: Path | None = None):
    """Run a program to its end: (exit code, standard output, standard error)."""
    full = dict(os.environ)
    full.update(env or {})
    done = subprocess.run(
        [str(part) for part in argv],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=bound,
        env=full,
        cwd=cwd,
    )
    return done.returncode, done.stdout, done.stderr


def need(program: str) -> str:
    """The path of a program; a missing peer is a failure, never a skip. Debian keeps some in sbin."""
    path = shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")
    if path is None:
        raise Failed(f"{program} is not installed; tests/run installs it")
    return path


def package_version(package: str) -> str:
    """The Debian package's version."""
    code, out, _ = command(["dpkg-query", "-W", "-f", "${Version}", package])
    return out.strip() if code == 0 and out.strip() else "unknown version"


def python_version(package: str) -> str:
    from importlib.metadata import version

    return version(package)


def start(main: Callable[[Run], None]) -> None:
    """The script's `main`, its clean end, its summary line and its exit code (0: every check passed)."""
    name = Path(sys.argv[0]).stem
    if len(sys.argv) < 2:
        print(f"usage: {sys.argv[0]} path/to/heatgate", file=sys.stderr)
        sys.exit(64)
    binary = Path(sys.argv[1]).resolve()
    keep = os.environ.get("HEATGATE_PEER_LOGS")
    scratch = Path(keep) / name if keep else Path(tempfile.mkdtemp(prefix=f"heatgate-{name}-"))
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    run = Run(name, binary, scratch)
    atexit.register(run.close)
    # Without a handler a SIGTERM would skip every clean-up.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    began = time.monotonic()
    try:
        if not os.access(binary, os.X_OK):
            raise Failed(f"{binary} cannot be executed")
        main(run)
    except Failed as failure:
        run.check("the script went on to its end", False, failure)
    except Exception:
        run.check("the script went on to its end", False, traceback.format_exc())
    failed = sum(not ok for _, ok, _ in run.checks)
    if failed or not run.checks:
        run.show_logs()
    run.close()
    passed = len(run.checks) - failed
    seconds = time.monotonic() - began
    print(f"== {name}: {passed} passed, {failed} failed, {seconds:.1f} s", flush=True)
    results = os.environ.get("HEATGATE_PEER_RESULTS")
    if results:
        row = {
            "script": name,
            "passed": passed,
            "failed": failed,
            "seconds": round(seconds, 1),
            "peers": [{"name": peer, "version": run.peers[peer], "what": run.proves[peer]} for peer in run.peers],
        }
        with open(results, "a") as out:
            out.write(json.dumps(row) + "\n")
    if not keep and not failed:
        shutil.rmtree(scratch, ignore_errors=True)
    elif failed:
        print(f"   logs: {scratch}", flush=True)
    sys.exit(1 if failed or not run.checks else 0)
