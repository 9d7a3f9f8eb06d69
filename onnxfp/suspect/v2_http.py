"""The Open Inference Protocol over HTTP.

One connection to one origin: no redirect is followed, no proxy of the environment is used, no compressed answer is
taken. An answer ends in time and is bounded in length, however slowly or abundantly it is sent: `Bounded` sees every
read of the socket, those of the headers too.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import final

import httpcore

from onnxfp.suspect.address import Address
from onnxfp.suspect.bounded_stream import BoundedBackend, Limit
from onnxfp.suspect.endpoint_options import EndpointOptions
from onnxfp.suspect.strict_json import parse_object
from onnxfp.suspect.tls import tls_context
from onnxfp.suspect.v2 import Description, InputFacts, Refused, Tensor, plain
from onnxfp.suspect.v2_json import Body, decode, encode, model_inputs, server_name

_SAID_BYTES = 4096
_TYPES = {True: ("application/octet-stream", "application/json", ""), False: ("application/json",)}
_JSON_BYTES = "inference-header-content-length"


@dataclass(frozen=True)
class Reply:
    """A whole answer with status 200."""

    headers: dict[str, str]
    body: bytes


@final
@dataclass(frozen=True)
class HttpWire:
    """Talks to one model over HTTP. Made by `open_http`."""

    address: Address
    options: EndpointOptions
    pool: httpcore.ConnectionPool
    limit: Limit = field(repr=False)

    def server(self, until: float) -> Description:
        """Ask the server about itself."""
        server, binary = server_name(_json_body(self._ask("GET", f"{self.address.prefix}/v2", until)).content)
        return Description(server, binary)

    def inputs(self, until: float) -> tuple[InputFacts, ...]:
        """Ask about the inputs of the model."""
        return model_inputs(_json_body(self._ask("GET", self.address.path, until)).content)

    def infer(self, asked: Tensor, until: float, *, binary: bool) -> tuple[Tensor, ...]:
        """Ask the model."""
        request = encode(asked, binary=binary)
        reply = self._ask("POST", f"{self.address.path}/infer", until, request)
        return decode(_json_body(reply, binary=binary), len(asked.values))

    def close(self) -> None:
        """Hang up."""
        self.pool.close()

    def _ask(self, method: str, path: str, until: float, request: Body | None = None) -> Reply:
        self.limit.until = min(until, time.monotonic() + self.options.timeout_s)
        url = httpcore.URL(
            scheme=self.address.scheme, host=self.address.host, port=self.address.port, target=path.encode("ascii")
        )
        content = request.content if request else None
        try:
            with self.pool.stream(method, url, headers=self._headers(request), content=content) as response:
                return self._read(response)
        except httpcore.TimeoutException as problem:
            raise Refused(f"no whole answer within {self.options.timeout_s:g} s", late=True) from problem
        except (httpcore.NetworkError, httpcore.ProtocolError) as problem:
            raise _broken(problem) from problem

    def _headers(self, request: Body | None) -> list[tuple[str, str]]:
        headers = [("Host", self.address.authority), ("Accept-Encoding", "identity"), ("User-Agent", "python")]
        if self.options.token:
            headers.append(("Authorization", f"Bearer {self.options.token}"))
        if request is None:
            return headers
        headers.append(("Content-Length", str(len(request.content))))
        headers.append(("Content-Type", "application/json" if request.json_bytes is None else _TYPES[True][0]))
        if request.json_bytes is not None:
            headers.append((_JSON_BYTES, str(request.json_bytes)))
        return headers

    def _read(self, response: httpcore.Response) -> Reply:
        headers = {name.lower().decode("latin-1"): value.decode("latin-1") for name, value in response.headers}
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise Refused("the answer is compressed, which was not asked for")
        if response.status != 200:
            raise _status(response.status, headers, _beginning(response))
        parts, size = [], 0
        try:
            for part in response.iter_stream():
                size += len(part)
                if size > self.options.response_bytes:
                    raise Refused(f"the answer is longer than {self.options.response_bytes} bytes")
                parts.append(part)
        except (httpcore.NetworkError, httpcore.ProtocolError) as problem:
            raise Refused("the connection broke off within the answer") from problem
        return Reply(headers, b"".join(parts))


def open_http(address: Address, options: EndpointOptions) -> HttpWire:
    """Prepare to talk to a model; nothing is sent yet.

    Raises:
        UsageError: the certificates cannot be read.
    """
    limit = Limit()
    context = tls_context(options.ca_file) if address.encrypted else None
    pool = httpcore.ConnectionPool(context, max_connections=1, retries=0, network_backend=BoundedBackend(limit))
    return HttpWire(address, options, pool, limit)


def _json_body(reply: Reply, *, binary: bool = False) -> Body:
    kind = reply.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in _TYPES[binary]:
        raise Refused(f"the answer is {plain(kind, 40) or 'of no type'}, expected {_TYPES[binary][0]}")
    length = reply.headers.get(_JSON_BYTES) if binary else None
    if length is None:
        return Body(reply.body)
    if not (length.isascii() and length.isdigit() and len(length) < 16):
        raise Refused("the answer has a header length that is not a number")
    return Body(reply.body, int(length))


def _beginning(response: httpcore.Response) -> bytes:
    said = b""
    try:
        for part in response.iter_stream():
            said += part
            if len(said) >= _SAID_BYTES:
                break
    except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException):
        return b""  # the status has said enough
    return said[:_SAID_BYTES]


def _status(status: int, headers: dict[str, str], said: bytes) -> Refused:
    if status in (429, 503):
        what = "it is asked too often" if status == 429 else "it is not available"
        return Refused(f"{what} (HTTP {status})", wait_s=_retry_after(headers.get("retry-after", "")))
    if 300 <= status < 400:
        return Refused(f"it redirects elsewhere (HTTP {status}), which is not followed; give its final URL")
    if status in (401, 403):
        return Refused(f"it lets nobody in without a valid token (HTTP {status})")
    words = _words(said)
    return Refused(f"HTTP {status}" + (f": {words}" if words else ""), smaller=status in (400, 413, 422, 500))


def _words(said: bytes) -> str:
    """What it gives as its reason: the protocol has a place for it, others write it in their first line."""
    try:
        return plain(parse_object(said).get("error", ""))
    except Refused:
        return plain(said.decode("utf-8", "replace").partition("\n")[0])


def _retry_after(value: str) -> float:
    if value.isascii() and value.isdigit():
        return float(value[:6])
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError, OverflowError):
        return 0.0


def _broken(problem: Exception) -> Refused:
    told = plain(problem, 120) or type(problem).__name__
    if "CERTIFICATE_VERIFY_FAILED" in told:
        return Refused(f"its certificate is not trusted ({told}); give the right ca_file", unreachable=True)
    return Refused(f"no connection: {told}", unreachable=True, wait_s=0.0)
