"""The vault: one folder with the owner's key, the ledger and the references that are kept."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from onnxfp.errors import UsageError, VaultError
from onnxfp.keys.keyfile import OwnerKey, create_key_file, load_key_file
from onnxfp.keys.keystream import Keystream
from onnxfp.ledger import Ledger, create_ledger, open_ledger

VERSION = 1
Passphrase = Callable[[], str]


@dataclass(frozen=True)
class Vault:
    """An opened vault; close its ledger when done."""

    root: Path
    owner: OwnerKey
    ledger: Ledger

    def reference_key(self, reference: str) -> Keystream:
        """Return the key of one reference: no two references share symbols."""
        return Keystream(self.owner.secret).derive("reference", reference)

    def reference_folder(self, reference: str) -> Path:
        """Return where a reference is kept."""
        return self.root / "references" / reference[:32]

    def __enter__(self) -> Vault:
        return self

    def __exit__(self, *exception: object) -> None:
        self.ledger.close()


@dataclass(frozen=True)
class Created:
    """A new vault."""

    vault: str
    owner_key: str
    """Public fingerprint of the owner key."""


@dataclass(frozen=True)
class LedgerState:
    """A ledger that was found whole."""

    rows: int
    head: str


def create_vault(root: Path, passphrase: str | None) -> Created:
    """Create a vault with a fresh owner key; it appears whole or not at all.

    Raises:
        UsageError: something is there already, or the folder cannot be written.
    """
    if os.path.lexists(root):
        raise UsageError(f"{root} exists already; choose another --vault, or use the one that is there")
    building = root.with_name(f".{root.name}.{secrets.token_hex(4)}.tmp")
    try:
        building.mkdir(mode=0o700, parents=True)
        owner = create_key_file(building / "owner.key", passphrase)
        create_ledger(building / "ledger.db", _chain_key(owner)).close()
        (building / "references").mkdir()
        (building / "vault.json").write_text(json.dumps({"version": VERSION}) + "\n")
        building.rename(root)
    except OSError as problem:
        raise UsageError(f"cannot create the vault {root}: {problem.strerror}") from problem
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return Created(str(root), owner.fingerprint)


def open_vault(root: Path, passphrase: Passphrase | None) -> Vault:
    """Open a vault.

    Raises:
        VaultError: there is none, its version is unknown, or its key or ledger cannot be used.
    """
    _check_version(root)
    owner = load_key_file(root / "owner.key", passphrase)
    return Vault(root, owner, open_ledger(root / "ledger.db", _chain_key(owner)))


def _check_version(root: Path) -> None:
    try:
        version = json.loads((root / "vault.json").read_bytes()[:1024])["version"]
    except FileNotFoundError as problem:
        raise VaultError(f"no vault in {root}; run `onnxfp init`, or name one with --vault") from problem
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise VaultError(f"{root}/vault.json cannot be read as a vault's; restore it from a backup") from problem
    if version != VERSION:
        raise VaultError(f"the vault {root} has version {version!r:.20}, this release knows {VERSION}; upgrade onnxfp")


def _chain_key(owner: OwnerKey) -> bytes:
    return Keystream(owner.secret).derive("ledger").secret


def refuse_inside_vault(output: Path) -> None:
    """Refuse an output in any vault's folder, where it could replace a key, a ledger or a reference.

    Raises:
        UsageError: it is in one.
    """
    for folder in output.absolute().resolve().parents:
        if (folder / "vault.json").exists():
            raise UsageError(f"{output} lies in the vault {folder}; write it somewhere else")


def check_ledger(vault: Vault, head: str | None) -> LedgerState:
    """Prove the ledger whole and, given a head noted earlier, not cut.

    Raises:
        TamperedError: it is not.
    """
    return LedgerState(vault.ledger.verify(head), vault.ledger.head())


def vault_rows(created: Created) -> list[tuple[str, str]]:
    """Return what a person wants to see."""
    return [("vault", created.vault), ("owner key", created.owner_key)]


def ledger_rows(state: LedgerState) -> list[tuple[str, str]]:
    """Return what a person wants to see."""
    return [("ledger", f"whole, {state.rows} rows"), ("head", state.head)]
