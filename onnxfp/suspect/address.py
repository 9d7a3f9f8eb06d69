"""Where an endpoint is: its URL, parsed strictly, and what of it may be written down."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from onnxfp.errors import UsageError

_FORMS = "http(s)://host[:port]/v2/models/NAME[/versions/N] or grpc(s)://host:port/v2/models/NAME[/versions/N]"
_SCHEMES = ("http://", "https://", "grpc://", "grpcs://")
_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?")
_SEGMENT = r"[A-Za-z0-9_][A-Za-z0-9_.~-]*"
_PATH = re.compile(rf"((?:/{_SEGMENT})*)/v2/models/({_SEGMENT})(?:/versions/({_SEGMENT}))?/?")


def is_remote(where: str) -> bool:
    """Return whether somebody means an endpoint, and not a file."""
    return where.startswith(_SCHEMES)


@dataclass(frozen=True)
class Address:
    """A model behind the Open Inference Protocol. Made by `parse_address`."""

    scheme: str
    host: str
    """In lower case; an IPv6 address without its brackets."""
    port: int
    prefix: str
    """What a gateway puts before ``/v2``; empty for most."""
    model: str
    version: str = ""

    @property
    def grpc(self) -> bool:
        """Whether it is asked over gRPC."""
        return self.scheme in ("grpc", "grpcs")

    @property
    def encrypted(self) -> bool:
        """Whether nobody on the way can read what is said."""
        return self.scheme in ("https", "grpcs")

    @property
    def loopback(self) -> bool:
        """Whether it is this machine."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def authority(self) -> str:
        """Host and port, the port always spelled out."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def origin(self) -> str:
        """Scheme, host and port: the only place a token is sent to."""
        return f"{self.scheme}://{self.authority}"

    @property
    def path(self) -> str:
        """Path of the model."""
        version = f"/versions/{self.version}" if self.version else ""
        return f"{self.prefix}/v2/models/{self.model}{version}"

    @property
    def identity(self) -> str:
        """The canonical URL: what equal endpoints have in common, and no secret."""
        return self.origin + self.path


def parse_address(url: str) -> Address:
    """Parse the URL of a model.

    Raises:
        UsageError: it has another form, or holds what must not be written down.
    """
    if "@" in url:  # never repeated in a message
        raise UsageError("expected a URL without credentials, found a user name in it; give a token instead")
    if not url.isascii() or not url.isprintable() or set(url) & set(" ?#\\%"):
        raise UsageError(f"expected a plain URL without query, found {ascii(url)[:120]}; write it as {_FORMS}")
    try:
        split = urlsplit(url)
        return _address(split, split.port)
    except ValueError as problem:
        raise UsageError(f"expected the URL of a model, found {ascii(url)[:120]}; write it as {_FORMS}") from problem


def _address(split: SplitResult, port: int | None) -> Address:
    path = _PATH.fullmatch(split.path)
    port = _PORTS.get(split.scheme) if port is None else port
    if split.scheme not in ("http", "https", "grpc", "grpcs") or path is None or not port:
        raise ValueError(split.scheme)
    prefix, model, version = path.groups(default="")
    if prefix and split.scheme not in _PORTS:
        raise ValueError(prefix)
    return Address(split.scheme, _host(split.hostname or ""), port, prefix, model, version)


def _host(name: str) -> str:
    if ":" in name:
        return ipaddress.IPv6Address(name).compressed
    if not _HOST.fullmatch(name):
        raise ValueError(name)
    return name
