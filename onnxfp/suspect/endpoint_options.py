"""What the owner says about how an endpoint is to be asked."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from onnxfp.errors import UsageError
from onnxfp.suspect.address import Address
from onnxfp.suspect.transform import NO_TRANSFORM, Transform

_FRAGMENT = 8
"""Text that repeats as many characters of a token is not shown."""


@dataclass(frozen=True)
class EndpointOptions:
    """How to ask; everything has a default that suits an unknown server."""

    token: str = field(default="", repr=False)
    """Bearer token, sent to the given origin and nowhere else."""
    token_in_clear: bool = False
    """Send the token over an unencrypted connection that leaves this machine."""
    timeout_s: float = 30.0
    """For one request from its first byte to the last byte of its answer."""
    deadline_s: float = 600.0
    """For all requests of one probe."""
    retries: int = 3
    """How often a request is repeated after a broken connection, a 429 or a 503."""
    rate_per_s: float = 0.0
    """At most as many requests per second; 0 for no limit."""
    response_bytes: int = 64 * 2**20
    """A longer answer is not read."""
    batch: int = 64
    """Samples per request, fewer if the endpoint does not take as many."""
    input_name: str = ""
    """Name of the model's input; empty for what the metadata say, or else ``input-0``."""
    transform: Transform = NO_TRANSFORM
    """What is done to the inputs before they are sent."""
    binary: bool | None = None
    """Whether tensors travel in binary behind the JSON; None for what the server says about itself."""
    ca_file: Path | None = None
    """Certificates to trust instead of the usual ones."""

    def check(self, address: Address) -> None:
        """Refuse options that cannot be meant.

        Raises:
            UsageError: a number is out of range, or the token would travel in the clear.
        """
        for name in ("timeout_s", "deadline_s", "response_bytes", "batch"):
            if not getattr(self, name) > 0:
                raise UsageError(f"expected {name} above 0, found {getattr(self, name)}")
        for name in ("retries", "rate_per_s"):
            if not getattr(self, name) >= 0:
                raise UsageError(f"expected {name} of 0 or more, found {getattr(self, name)}")
        if self.token and not (self.token.isascii() and self.token.isprintable() and " " not in self.token):
            raise UsageError("expected a token of printable ASCII letters without spaces; check it for a line break")
        if self.token and not (address.encrypted or address.loopback or self.token_in_clear):
            raise UsageError(
                f"expected an encrypted URL, found {address.origin}, to which a token would travel readable by anyone; "
                f"use {'grpcs' if address.grpc else 'https'}, or allow it explicitly"
            )

    def discreet(self, text: str) -> str:
        """Return the text, unless it repeats a part of the token."""
        parts = {self.token[at : at + _FRAGMENT] for at in range(max(1, len(self.token) - _FRAGMENT + 1))}
        if self.token and any(part in text for part in parts):
            return "(not shown: it repeats a part of the token)"
        return text
