"""Modbus TCP by hand: frames, good and bad, on plain sockets."""

from __future__ import annotations

import socket
import struct

from harness import Address


def frame(transaction: int, pdu: bytes, unit: int = 1, protocol: int = 0, length: int | None = None) -> bytes:
    return struct.pack(">HHHB", transaction, protocol, len(pdu) + 1 if length is None else length, unit) + pdu


def read_pdu(function: int, address: int, count: int) -> bytes:
    return struct.pack(">BHH", function, address, count)


class Raw:
    """One connection."""

    def __init__(self, address: Address, timeout: float = 5.0):
        self.socket = socket.create_connection(address, timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._input = b""

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def receive(self) -> tuple[int, int, bytes] | None:
        """(transaction, unit, PDU) of the next frame; `None` when the other side closed. A time-out raises."""
        while True:
            if len(self._input) >= 6:
                length = int.from_bytes(self._input[4:6], "big")
                if len(self._input) >= 6 + length:
                    whole, self._input = self._input[: 6 + length], self._input[6 + length :]
                    return int.from_bytes(whole[:2], "big"), whole[6], whole[7:]
            try:
                more = self.socket.recv(65536)
            except (ConnectionResetError, BrokenPipeError):
                return None
            if not more:
                return None
            self._input += more

    def ask(self, pdu: bytes, transaction: int = 1, unit: int = 1) -> bytes | None:
        self.send(frame(transaction, pdu, unit))
        answer = self.receive()
        return None if answer is None else answer[2]

    def closed_by_server(self) -> bool:
        """The server closes without another frame, within the socket's time-out."""
        try:
            while True:
                if self.receive() is None:
                    return True
        except TimeoutError:
            return False
