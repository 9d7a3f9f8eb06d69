"""A registered reference as workflows use it: the ledger's entry, read back into profile, channels and sketch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxfp.artifact import Artifact, Sketch, open_artifact
from onnxfp.domain import ModelProfile
from onnxfp.errors import ArtifactError, VaultError
from onnxfp.keys.keystream import Keystream
from onnxfp.ledger import ReferenceEntry
from onnxfp.schemes.catalogue import scheme_named
from onnxfp.schemes.interface import Samples
from onnxfp.workflows.channels import NOTHING, Channel, DrawnChannel, draw, profile_from_json, profile_to_json
from onnxfp.workflows.digests import cached_digest
from onnxfp.workflows.samples import load_samples
from onnxfp.workflows.vault import Vault


@dataclass(frozen=True)
class Reference:
    """What was registered, and where its file is."""

    digest: str
    path: Path
    profile: ModelProfile
    channels: tuple[Channel, ...]
    sketch: Sketch
    registered_at: str
    parent: str = ""
    """Digest of the artifact from which this one was made by marking; empty for an original."""

    @property
    def short(self) -> str:
        """First digits of the digest, for people."""
        return self.digest[:12]

    @classmethod
    def of_entry(cls, vault: Vault, entry: ReferenceEntry) -> Reference:
        """Read a ledger entry back."""
        payload = entry.payload
        return cls(
            entry.digest,
            _where(vault, entry),
            profile_from_json(payload["profile"]),
            tuple(Channel.from_json(values) for values in payload["channels"]),
            Sketch.from_dict(payload["sketch"]),
            entry.registered_at,
            payload.get("parent", ""),
        )

    def check_file(self, vault: Vault) -> None:
        """Find the reference's own file as it was registered.

        Raises:
            VaultError: it is missing, damaged or changed.
        """
        with self.opened(vault):
            pass

    @contextmanager
    def opened(self, vault: Vault) -> Iterator[Artifact]:
        """Open the reference's own file.

        Raises:
            VaultError: it is missing, damaged or changed.
        """
        advice = "run `onnxfp register` on the unmarked model again to put it back"
        try:
            artifact = open_artifact(self.path)
        except ArtifactError as problem:
            raise VaultError(f"reference {self.short} is missing or damaged ({problem}); {advice}") from problem
        with artifact:
            if cached_digest(artifact, vault.root / "digests.json") != self.digest:
                raise VaultError(f"reference {self.short} has been changed since it was registered; {advice}")
            yield artifact

    def drawn(self, vault: Vault, role: str | None = None) -> tuple[DrawnChannel, ...]:
        """Draw the keys of its channels, of one role or of all, except those about data that must be handed in.

        Raises:
            VaultError: what a key needs of the owner's data is missing or was changed.
        """
        chosen = [channel for channel in self.channels if role in (None, channel.role)]
        return tuple(self.draw(vault, one) for one in chosen if not scheme_named(one.scheme).handed)

    def draw(self, vault: Vault, channel: Channel, handed: Samples = NOTHING) -> DrawnChannel:
        """Draw the key of one of its channels; what the vault does not keep of the owner's data is handed in."""
        key = vault.reference_key(channel.of or self.digest)
        return draw(channel, self.profile, key, {**load_samples(vault, channel.samples), **handed})


def kept_at(vault: Vault, digest: str) -> Path:
    """Return where the vault keeps a reference of this digest, if it does."""
    return vault.reference_folder(digest) / "model.onnx"


def _where(vault: Vault, entry: ReferenceEntry) -> Path:
    """Return the vault's own copy, or the place that was registered when there is none."""
    kept = kept_at(vault, entry.digest)
    return kept if kept.exists() else vault.root / str(entry.path)  # an absolute path stays what it is


def payload_of(profile: ModelProfile, channels: Sequence[Channel], sketch: Sketch, parent: str = "") -> dict[str, Any]:
    """Return what the ledger keeps of a reference; `parent` is the digest of what was marked to make it."""
    return {
        "profile": profile_to_json(profile),
        "channels": [channel.to_json() for channel in channels],
        "sketch": sketch.as_dict(),
        **({"parent": parent} if parent else {}),
    }


def commitment_of(payload: dict[str, Any], reference_key: Keystream) -> str:
    """Commit to the reference, its channels and its key: binding, and hiding until the opening is shown.

    The commitment is SHA-256 over an opening derived from the key, then the payload. Whoever is later shown opening
    and payload can check that the key, hence every symbol, was fixed when the commitment was made public.
    """
    opening = reference_key.derive("commitment").secret
    document = json.dumps(payload, sort_keys=True, separators=(",", ":")).encode()
    return hashlib.sha256(opening + document).hexdigest()
