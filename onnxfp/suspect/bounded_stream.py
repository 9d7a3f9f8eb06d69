"""A network connection on which everything ends in time, whatever the other side does."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import httpcore

_PIECE = 2**14
"""Bytes written before the clock is looked at again."""


@dataclass
class Limit:
    """When the exchange that is under way has to be over, in the time of `time.monotonic`."""

    until: float = 0.0

    def left(self) -> float:
        """Return the seconds that are left.

        Raises:
            httpcore.ReadTimeout: there are none.
        """
        seconds = self.until - time.monotonic()
        if seconds <= 0:
            raise httpcore.ReadTimeout("too late")
        return seconds


@dataclass(frozen=True)
class BoundedStream(httpcore.NetworkStream):
    """A stream whose reads and writes all have to be over at the same time, not each within a time of its own."""

    stream: httpcore.NetworkStream
    limit: Limit

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read."""
        return self.stream.read(max_bytes, self.limit.left())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write."""
        for at in range(0, len(buffer), _PIECE):
            self.stream.write(buffer[at : at + _PIECE], self.limit.left())

    def close(self) -> None:
        """Close."""
        self.stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        """Encrypt."""
        return BoundedStream(self.stream.start_tls(ssl_context, server_hostname, self.limit.left()), self.limit)

    def get_extra_info(self, info: str) -> Any:
        """Look behind it."""
        return self.stream.get_extra_info(info)


@dataclass(frozen=True)
class BoundedBackend(httpcore.NetworkBackend):
    """Connects over TCP."""

    limit: Limit

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect."""
        stream = httpcore.SyncBackend().connect_tcp(host, port, self.limit.left(), local_address, socket_options)
        return BoundedStream(stream, self.limit)
