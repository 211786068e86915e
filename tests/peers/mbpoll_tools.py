"""mbpoll as a master: one call, one read or write, its text read back."""

from __future__ import annotations

import re

from harness import Address, Failed, command, need, package_version

# What mbpoll (libmodbus) says for an exception.
CODES = {
    "Illegal function": 1,
    "Illegal data address": 2,
    "Illegal data value": 3,
    "Slave device or server failure": 4,
    "Slave device or server is busy": 6,
}
_VALUE = re.compile(r"^\[(\d+)\]:\s+(\S+)", re.M)


def mbpoll_version() -> str:
    return package_version("mbpoll")


def mbpoll(address: Address, kind: str, first: int, count: int = 1, write: tuple[int, ...] = ()) -> list[float] | int:
    """Values read (empty after a write), or the exception code. Addresses are protocol addresses, from 0."""
    argv = [need("mbpoll"), "-m", "tcp", "-0", "-1", "-B", "-a", "1", "-p", str(address[1]), "-t", kind]
    argv += ["-r", str(first), "-o", "3"]
    if write:
        argv += [address[0], *map(str, write)]
    else:
        argv += ["-c", str(count), address[0]]
    code, out, err = command(argv)
    for text, number in CODES.items():
        if text in err:
            return number
    if code != 0:
        raise Failed(f"mbpoll {' '.join(argv[1:])}: exit {code}: {err.strip()}")
    return [float(value) for _, value in _VALUE.findall(out)]


def read_one(address: Address, kind: str, first: int) -> float:
    got = mbpoll(address, kind, first)
    if isinstance(got, int) or len(got) != 1:
        raise Failed(f"mbpoll read {kind} {first}: {got}")
    return got[0]
