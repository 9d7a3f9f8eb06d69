"""What keys need of the owner's data: kept in the vault under its digest, which the claim commits to."""

from __future__ import annotations

from pathlib import Path

from onnxfp.artifact import write_whole
from onnxfp.errors import UsageError, VaultError
from onnxfp.schemes.interface import Samples
from onnxfp.workflows.arrays import digest_of, packed, read_npz
from onnxfp.workflows.vault import Vault


def keep_samples(vault: Vault, samples: Samples) -> str:
    """Keep samples in the vault and return their digest; the same samples are kept once.

    Raises:
        VaultError: the disk refuses.
    """
    if not samples:
        return ""
    digest = digest_of(samples)
    path = _path(vault, digest)
    if path.exists():
        return digest
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
    except OSError as problem:
        raise VaultError(f"cannot keep the trigger corpus in {path.parent}: {problem.strerror}; make room") from problem
    write_whole(path, packed(samples), force=True)
    return digest


def load_samples(vault: Vault, digest: str) -> Samples:
    """Return the samples of this digest.

    Raises:
        VaultError: they are missing or were changed.
    """
    if not digest:
        return {}
    path = _path(vault, digest)
    name = f"the trigger corpus {path.relative_to(vault.root)}"
    try:
        samples = read_npz(path, "a trigger corpus")
    except UsageError as problem:
        raise VaultError(f"{name} is missing or damaged; restore it from a backup of the vault") from problem
    if digest_of(samples) != digest:
        raise VaultError(f"{name} was changed since it was committed to; restore it from a backup of the vault")
    return samples


def _path(vault: Vault, digest: str) -> Path:
    return vault.root / "samples" / f"{digest[:32]}.npz"
