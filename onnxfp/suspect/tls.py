"""Which certificates are trusted: the given file, or those that come with certifi."""

from __future__ import annotations

import ssl
from pathlib import Path

from onnxfp.errors import UsageError


def trusted(ca_file: Path | None) -> bytes:
    """Return certificates in PEM.

    Raises:
        UsageError: they cannot be read.
    """
    import certifi

    path = Path(certifi.where()) if ca_file is None else ca_file
    try:
        return path.read_bytes()
    except OSError as problem:
        raise UsageError(f"expected certificates in {path}, cannot read it: {problem.strerror}") from problem


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """Return a context that verifies the certificate and the name of the host.

    Raises:
        UsageError: the certificates cannot be read.
    """
    try:
        return ssl.create_default_context(cadata=trusted(ca_file).decode("ascii"))
    except (ssl.SSLError, UnicodeDecodeError) as problem:
        raise UsageError(f"expected certificates in PEM in {ca_file}, found none") from problem
