"""The owner's 32 secret bytes, and the small private file that holds them.

The file is one line of JSON: ``format``, ``version``, ``fingerprint``, and either the secret itself
(``"protection": "none"``) or the secret sealed under a passphrase, in which case nothing in the file can be altered
unseen.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, final

from onnxfp.errors import KeyFileError
from onnxfp.keys.keystream import SECRET_BYTES, Keystream
from onnxfp.keys.passphrase import SEALED_FIELDS, hex_field, seal_secret, unseal_secret
from onnxfp.keys.private_file import new_private_file

FORMAT = "onnxfp owner key"
VERSION = 1
_LARGEST_FILE = 4096
_PLAIN, _SEALED = "none", "scrypt+aes-256-gcm"
_HEADER = frozenset({"format", "version", "protection", "fingerprint"})
_FIELDS = {_PLAIN: _HEADER | {"secret"}, _SEALED: _HEADER | SEALED_FIELDS}


@final
@dataclass(frozen=True)
class OwnerKey:
    """The master secret from which every other secret of a vault is derived."""

    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.secret) != SECRET_BYTES:
            raise ValueError(f"an owner key has {SECRET_BYTES} bytes, not {len(self.secret)}")

    @property
    def fingerprint(self) -> str:
        """A public name of this key (64 bits of a PRF, hexadecimal): safe to print, says nothing about the secret."""
        return Keystream(self.secret).derive("owner key fingerprint").secret[:8].hex()


def create_key_file(path: str | os.PathLike[str], passphrase: str | None) -> OwnerKey:
    """Draw a new owner key and write it to `path`, which must not exist.

    Args:
        path: where the file shall appear, with mode 0600, whole or not at all.
        passphrase: what protects it; None leaves the file's mode as its only protection.

    Raises:
        UsageError: the passphrase is empty or is not text.
        KeyFileError: the path is taken, or the folder or the disk refuses.
    """
    key = OwnerKey(os.urandom(SECRET_BYTES))
    if passphrase is None:
        fields = {**_header(_PLAIN, key), "secret": key.secret.hex()}
    else:
        fields = seal_secret(key.secret, passphrase, _header(_SEALED, key))
    try:
        with new_private_file(path) as temporary, open(temporary, "w", encoding="ascii") as stream:
            stream.write(json.dumps(fields) + "\n")
    except FileExistsError:
        raise KeyFileError(f"{path} exists already; a key is never overwritten: use it, or move it away") from None
    except OSError as error:
        raise KeyFileError(f"cannot write the key file {path}: {error.strerror}; choose a writable folder") from None
    return key


def load_key_file(path: str | os.PathLike[str], passphrase: Callable[[], str] | None) -> OwnerKey:
    """Read the owner key at `path`.

    Args:
        path: a private regular file that `create_key_file` wrote.
        passphrase: asked, only when the file is protected, for what protects it.

    Raises:
        KeyFileError: the file is missing, readable by others, no regular file or no key file of a known version;
            or the passphrase is missing or wrong.
    """
    fields = _parse(_read_private(path), path)
    if fields["protection"] == _PLAIN:
        secret = hex_field(fields, "secret", SECRET_BYTES, path)
    elif passphrase is None:
        raise KeyFileError(f"{path} is protected by a passphrase, and none was given; give it")
    else:
        secret = unseal_secret(fields, passphrase, path)
    key = OwnerKey(secret)
    if key.fingerprint != fields["fingerprint"]:
        raise KeyFileError(f"{path} is damaged: its key does not have its fingerprint; restore it from a backup")
    return key


def _header(protection: str, key: OwnerKey) -> dict[str, Any]:
    return {"format": FORMAT, "version": VERSION, "protection": protection, "fingerprint": key.fingerprint}


def _read_private(path: str | os.PathLike[str]) -> bytes:
    # O_NONBLOCK: a named pipe must not hang us before it is found not to be a regular file.
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags)
        try:
            _refuse_public(os.fstat(descriptor).st_mode, path)
            return os.read(descriptor, _LARGEST_FILE + 1)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        raise KeyFileError(f"there is no key file {path}; create a vault, or say where yours is") from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise KeyFileError(f"{path} is a symbolic link; a key file must be a regular file") from None
        raise KeyFileError(f"cannot read the key file {path}: {error.strerror}; check its owner and mode") from None


def _refuse_public(mode: int, path: object) -> None:
    if not stat.S_ISREG(mode):
        raise KeyFileError(f"{path} is not a regular file; a key file must be one")
    if os.name == "posix" and mode & 0o077:
        raise KeyFileError(f"{path} is open to others (mode {mode & 0o777:04o}); run: chmod 600 {path}")


def _parse(content: bytes, path: object) -> dict[str, Any]:
    """Return the fields of a key file whose format, version and field names are right."""
    if len(content) > _LARGEST_FILE:
        raise KeyFileError(f"{path} is no key file: over {_LARGEST_FILE} bytes long; say where yours is")
    try:
        fields = json.loads(content)
    except (ValueError, RecursionError):
        raise KeyFileError(f"{path} is no key file, or is cut short; restore it from a backup") from None
    if not isinstance(fields, dict) or fields.get("format") != FORMAT:
        raise KeyFileError(f"{path} is no key file; say where yours is")
    if type(fields.get("version")) is not int or fields["version"] != VERSION:
        raise KeyFileError(f"{path} is a key file of a version other than {VERSION}; use the release that wrote it")
    if frozenset(fields) != _FIELDS.get(str(fields.get("protection"))):
        raise KeyFileError(f"{path} lacks fields of a key file or has others; restore it from a backup")
    return fields
