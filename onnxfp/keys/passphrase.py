"""A secret sealed under a passphrase: scrypt (RFC 7914) stretches it, AES-256-GCM seals with it.

Parameters travel with the sealed secret and are bounded before they are obeyed, so that a hostile file can neither fill
the memory nor stop the clock.
"""

from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any

from onnxfp.errors import KeyFileError, UsageError

# 64 MiB and two passes, a fraction of a second; what is read may ask for at most four times the memory and twice the
# passes.
_SCRYPT = {"log2_n": 16, "r": 8, "p": 2}
_BOUNDS = {"log2_n": (14, 18), "r": (8, 8), "p": (1, 4)}
_TAG_BYTES = 16
_SIZES = {"salt": 16, "nonce": 12, "sealed": 32 + _TAG_BYTES}

SEALED_FIELDS = frozenset(_BOUNDS) | frozenset(_SIZES)


def seal_secret(secret: bytes, passphrase: str, header: Mapping[str, Any]) -> dict[str, Any]:
    """Return `header` and the fields from which `unseal_secret` recovers 32 secret bytes.

    Args:
        secret: what to seal.
        passphrase: text in any normal form.
        header: JSON fields that must not be altered either.

    Raises:
        UsageError: the passphrase is empty or is not text.
    """
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    if not passphrase:
        raise UsageError("the passphrase is empty; give one, or none at all")
    salt, nonce = os.urandom(_SIZES["salt"]), os.urandom(_SIZES["nonce"])
    fields = {**header, **_SCRYPT, "salt": salt.hex(), "nonce": nonce.hex()}
    sealed = AESGCM(_stretch(passphrase, salt, _SCRYPT)).encrypt(nonce, secret, _associated(fields))
    return {**fields, "sealed": sealed.hex()}


def unseal_secret(fields: Mapping[str, Any], passphrase: Callable[[], str], path: object) -> bytes:
    """Return the secret that `seal_secret` sealed; the passphrase is asked only once all fields are in bounds.

    Args:
        fields: what `seal_secret` returned.
        passphrase: asked once.
        path: the file that they come from, for messages.

    Raises:
        KeyFileError: a field is out of bounds or altered, or the passphrase is wrong.
    """
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    for name, (least, most) in _BOUNDS.items():
        if type(fields[name]) is not int or not least <= fields[name] <= most:
            raise KeyFileError(f"{path} asks for scrypt with {name} outside {least}..{most}; restore it from a backup")
    salt, nonce, sealed = (hex_field(fields, name, size, path) for name, size in _SIZES.items())
    cipher = AESGCM(_stretch(passphrase(), salt, fields))
    try:
        return cipher.decrypt(nonce, sealed, _associated(fields))
    except InvalidTag:
        raise KeyFileError(f"the passphrase of {path} is wrong, or the file was altered; try again") from None


def hex_field(fields: Mapping[str, Any], name: str, size: int, path: object) -> bytes:
    """Return a field of `size` bytes in hexadecimal.

    Raises:
        KeyFileError: it is anything else; its content is not echoed.
    """
    try:
        value = bytes.fromhex(fields[name])
    except (TypeError, ValueError):
        value = b""
    if len(value) != size:
        raise KeyFileError(f"{path} is damaged: its {name} is not {size} hexadecimal bytes; restore it from a backup")
    return value


def _stretch(passphrase: str, salt: bytes, parameters: Mapping[str, Any]) -> bytes:
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

    try:
        # The same letters typed on another machine may arrive composed or decomposed.
        text = unicodedata.normalize("NFC", passphrase).encode()
    except UnicodeEncodeError:
        raise UsageError("the passphrase is not Unicode text; type it again") from None
    return Scrypt(salt, 32, 1 << parameters["log2_n"], parameters["r"], parameters["p"]).derive(text)


def _associated(fields: Mapping[str, Any]) -> bytes:
    return json.dumps({name: fields[name] for name in sorted(fields) if name != "sealed"}).encode()
