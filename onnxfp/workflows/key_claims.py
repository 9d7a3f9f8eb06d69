"""Which claims have key images to hand out, and what is needed to seal and examine them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from onnxfp.domain import KeyImages
from onnxfp.errors import UsageError, VaultError
from onnxfp.keys.keystream import Keystream
from onnxfp.stego.key_image import capacity
from onnxfp.stego.payload import Pixels
from onnxfp.stego.word import Capacity
from onnxfp.workflows.claims import OwnersClaim, chosen_claims
from onnxfp.workflows.judge import registered_references
from onnxfp.workflows.suspects import SEALED
from onnxfp.workflows.vault import Vault

_CHANNELS = (1, 3)  # of what PNG and BMP both hold


@dataclass(frozen=True)
class KeyClaim:
    """One claim whose pictures can be handed out."""

    key: str
    """What the ledger and the payloads call it: no other claim is called so."""
    name: str
    """What people call it."""
    reference: str
    """Digest of the artifact that answers its pictures."""
    images: KeyImages
    keystream: Keystream = field(repr=False)

    @property
    def capacity(self) -> Capacity:
        """What each of its pictures holds."""
        return capacity(self.images.pictures[0])

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of what is issued."""
        _, height, width, _ = self.images.pictures.shape
        return self.capacity.scale * height, self.capacity.scale * width

    @property
    def channels(self) -> int:
        """1 for grey, 3 for colour."""
        return int(self.images.pictures.shape[3])


def key_claims(vault: Vault, name: str) -> tuple[KeyClaim, ...]:
    """Return the owner's claims that have key images, of all references or those of some name.

    Raises:
        UsageError: there is none.
        VaultError: what one of them needs of the owner's data is missing or was changed.
    """
    found, lost = readable_key_claims(vault, name)
    if lost:
        raise lost_claim(lost)
    return found


def lost_claim(lost: Sequence[str]) -> VaultError:
    """Return what is to be said where a claim is needed that the vault cannot draw any more."""
    return VaultError(f"{lost[0]}, or name another claim with --claim")


def readable_key_claims(vault: Vault, name: str) -> tuple[tuple[KeyClaim, ...], tuple[str, ...]]:
    """Return the claims of `key_claims` that the vault still has all for, and for the others what it has not.

    Raises:
        UsageError: there is none.
    """
    found: dict[str, KeyClaim] = {}
    lost: list[str] = []
    for claim in chosen_claims(registered_references(vault), SEALED, ""):
        if not claim.is_called(name):
            continue
        try:
            if (one := _with_images(vault, claim)) is not None:
                found[claim.key] = one
        except VaultError as problem:
            lost.append(f"{claim.name}: {problem}")
    if not found and not lost:
        raise UsageError(
            f"no claim{f' called {name!r}' if name else ''} has grey or coloured key images to hand out; "
            "mark a model with `onnxfp mark --scheme extra_class`"
        )
    return tuple(found.values()), tuple(lost)


def _with_images(vault: Vault, claim: OwnersClaim) -> KeyClaim | None:
    drawn = claim.reference.draw(vault, claim.channel)
    images = drawn.scheme.key_images(drawn.public.key)
    if images is None or not len(images.pictures) or images.pictures.shape[3] not in _CHANNELS:
        return None
    return KeyClaim(claim.key, claim.name, claim.reference.digest, images, drawn.secret.derive("key images"))


def the_key_claim(claims: Sequence[KeyClaim]) -> KeyClaim:
    """Return the only claim.

    Raises:
        UsageError: there are several.
    """
    if len(claims) > 1:
        raise UsageError(f"several claims have key images; name one with --claim: {', '.join(c.name for c in claims)}")
    return claims[0]


def digest_of(pixels: Pixels) -> str:
    """Return what the ledger calls the pixels of a picture (height, width, channels)."""
    return hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()
