"""Connections whose answers must come whole within a time, however steadily they come."""

from __future__ import annotations

import io
import socket
import time
from http.client import HTTPResponse
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection


class TooSlow(TimeoutError):
    """An answer had not come whole when its time was up."""


def pools_with_deadline(answer_s: float) -> dict[str, type[urllib3.HTTPConnectionPool]]:
    """Return connection pools by scheme, whose answers must come within ``answer_s`` seconds.

    urllib3's own timeout is for silence: a byte now and then, in headers or body, holds it for
    ever. Here each read may last until the deadline of its answer only; what is late ends in a
    ``ReadTimeoutError`` caused by :class:`TooSlow`.
    """

    class Answer(HTTPResponse):
        def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
            super().__init__(sock, *args, **options)
            self.fp = io.BufferedReader(_ReaderWithDeadline(sock, self.fp.detach(), answer_s))

    class Plain(HTTPConnection):
        response_class = Answer

    class Secure(HTTPSConnection):
        response_class = Answer

    class HTTPConnectionPool(urllib3.HTTPConnectionPool):
        ConnectionCls = Plain

    class HTTPSConnectionPool(urllib3.HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": HTTPConnectionPool, "https": HTTPSConnectionPool}


class _ReaderWithDeadline(io.RawIOBase):
    """Reads from a socket until a deadline; a silence longer than its timeout ends it as well."""

    def __init__(self, sock: socket.socket, raw: io.RawIOBase, answer_s: float) -> None:
        self._socket = sock
        self._raw = raw
        self._silence_s = sock.gettimeout()
        self._answer_s = answer_s
        self._ends_at = time.monotonic() + answer_s

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left_s = self._ends_at - time.monotonic()
        if left_s <= 0:
            raise TooSlow(f"no whole answer within {self._answer_s:g} s")
        silence_s = self._silence_s
        if silence_s is not None and silence_s <= left_s:
            return self._raw.readinto(buffer)
        self._socket.settimeout(left_s)
        try:
            return self._raw.readinto(buffer)
        except TimeoutError as err:
            raise TooSlow(f"no whole answer within {self._answer_s:g} s") from err

    def close(self) -> None:
        self._raw.close()
        super().close()
