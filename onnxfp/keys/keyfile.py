"""The owner's 32 secret bytes, and the small private file that holds them.

The file is one line of JSON: ``format``, ``version``, ``fingerprint``, and either the secret itself
(``"protection": "none"``) or, under a passphrase, the parameters of scrypt (RFC 7914) and the secret sealed by
AES-256-GCM with everything else in the file as associated data. Parameters are bounded before they are obeyed, so that
a hostile file can neither fill the memory nor stop the clock.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, final

from onnxfp.errors import KeyFileError, UsageError
from onnxfp.keys.keystream import SECRET_BYTES, Keystream
from onnxfp.keys.private_file import new_private_file

FORMAT = "onnxfp owner key"
VERSION = 1
_LARGEST_FILE = 4096
# 64 MiB and two passes, about half a second; what is read back may ask for at most four times as much of either.
_SCRYPT = {"log2_n": 16, "r": 8, "p": 2}
_SCRYPT_BOUNDS = {"log2_n": (14, 18), "r": (8, 8), "p": (1, 4)}
_PLAIN = {"format", "version", "protection", "fingerprint", "secret"}
_SEALED = {"format", "version", "protection", "fingerprint", "salt", "nonce", "sealed", *_SCRYPT}
_SEALED_BYTES = {"salt": 16, "nonce": 12, "sealed": SECRET_BYTES + 16}


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
    content = json.dumps(_plain(key) if passphrase is None else _protect(key, passphrase)) + "\n"
    try:
        with new_private_file(path) as temporary, open(temporary, "w", encoding="ascii") as stream:
            stream.write(content)
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
    if fields["protection"] == "none":
        secret = _bytes(fields, "secret", SECRET_BYTES, path)
    elif passphrase is None:
        raise KeyFileError(f"{path} is protected by a passphrase, and none was given; give it")
    else:
        secret = _unseal(fields, passphrase, path)
    key = OwnerKey(secret)
    if key.fingerprint != fields["fingerprint"]:
        raise KeyFileError(f"{path} is damaged: its key does not have its fingerprint; restore it from a backup")
    return key


def _plain(key: OwnerKey) -> dict[str, object]:
    return {**_header("none", key), "secret": key.secret.hex()}


def _header(protection: str, key: OwnerKey) -> dict[str, object]:
    return {"format": FORMAT, "version": VERSION, "protection": protection, "fingerprint": key.fingerprint}


def _protect(key: OwnerKey, passphrase: str) -> dict[str, object]:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    if not passphrase:
        raise UsageError("the passphrase is empty; give one, or none at all")
    salt, nonce = os.urandom(_SEALED_BYTES["salt"]), os.urandom(_SEALED_BYTES["nonce"])
    fields = {**_header("scrypt+aes-256-gcm", key), **_SCRYPT, "salt": salt.hex(), "nonce": nonce.hex()}
    cipher = AESGCM(_stretch(passphrase, salt, _SCRYPT))
    return {**fields, "sealed": cipher.encrypt(nonce, key.secret, _associated(fields)).hex()}


def _unseal(fields: dict[str, Any], passphrase: Callable[[], str], path: object) -> bytes:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    for name, (least, most) in _SCRYPT_BOUNDS.items():
        if type(fields[name]) is not int or not least <= fields[name] <= most:
            raise KeyFileError(f"{path} asks for scrypt with {name} outside {least}..{most}; restore it from a backup")
    salt, nonce, sealed = (_bytes(fields, name, size, path) for name, size in _SEALED_BYTES.items())
    cipher = AESGCM(_stretch(passphrase(), salt, fields))
    try:
        return cipher.decrypt(nonce, sealed, _associated(fields))
    except InvalidTag:
        raise KeyFileError(f"the passphrase of {path} is wrong, or the file was altered; try again") from None


def _stretch(passphrase: str, salt: bytes, parameters: dict[str, Any]) -> bytes:
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

    try:
        # The same letters typed on another machine may arrive composed or decomposed.
        text = unicodedata.normalize("NFC", passphrase).encode()
    except UnicodeEncodeError:
        raise UsageError("the passphrase is not Unicode text; type it again") from None
    return Scrypt(salt, 32, 1 << parameters["log2_n"], parameters["r"], parameters["p"]).derive(text)


def _associated(fields: dict[str, Any]) -> bytes:
    return json.dumps({name: fields[name] for name in sorted(fields) if name != "sealed"}).encode()


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
    expected = {"none": _PLAIN, "scrypt+aes-256-gcm": _SEALED}.get(str(fields.get("protection")))
    if expected is None or set(fields) != expected:
        raise KeyFileError(f"{path} lacks fields of a key file or has others; restore it from a backup")
    return fields


def _bytes(fields: dict[str, Any], name: str, size: int, path: object) -> bytes:
    try:
        value = bytes.fromhex(fields[name])
    except (TypeError, ValueError):
        value = b""
    if len(value) != size:
        raise KeyFileError(f"{path} is damaged: its {name} is not {size} hexadecimal bytes; restore it from a backup")
    return value
