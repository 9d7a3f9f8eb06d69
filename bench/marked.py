"""Copies as the real workflow issues them, under a fresh owner key each, and what a trace makes of a leaked file."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

from onnxfp.artifact import open_artifact, resolve
from onnxfp.suspect.opened import OpenedWeights
from onnxfp.verdict.channels import Copies
from onnxfp.verdict.look import Look, weigh
from onnxfp.verdict.trace import trace
from onnxfp.verdict.verify import verify
from onnxfp.workflows.channels import OWNER, RECIPIENT
from onnxfp.workflows.issue import Issuing, issue
from onnxfp.workflows.judge import read_channels
from onnxfp.workflows.reference import Reference
from onnxfp.workflows.register import Registration, register
from onnxfp.workflows.vault import create_vault, open_vault

ALPHA = 1e-6


@dataclass(frozen=True)
class Marked:
    """A folder with a vault of its own and the one copy that was issued from it."""

    folder: Path

    @property
    def copy(self) -> Path:
        """The recipient's copy."""
        return self.folder / "copy.onnx"

    @property
    def facts(self) -> dict[str, Any]:
        """What `register` and `issue` said, and the strength of the mark."""
        return json.loads((self.folder / "facts.json").read_text())

    def looks(self, suspect: Path) -> dict[str, Look]:
        """What the channels of owner and recipients read of a suspect."""
        with open_vault(self.folder / "vault", None) as vault:
            reference = Reference.of_entry(vault, vault.ledger.references()[0])
            channels = reference.drawn(vault)
            with open_artifact(suspect) as artifact, open_artifact(reference.path) as original:
                tensors = resolve(reference.profile.carriers, artifact, reference.sketch)
                looks = read_channels(channels, OpenedWeights(artifact, original, tensors))
        return {channel.channel.role: look for channel, look in zip(channels, looks, strict=True)}

    def judged(self, suspect: Path, innocents: Iterable[str], issued: int) -> dict[str, Any]:
        """Trace a suspect among so many recipients, and weigh the owner's word."""
        looks, leaker = self.looks(suspect), self.facts["recipient"]
        copies = (looks[RECIPIENT],)
        verdict = trace([Copies(copies)], chain([leaker], innocents), issued, ALPHA)
        others = [item.log10_e for item in verdict.evidence if item.name != leaker]
        owner = verify((looks[OWNER],), ALPHA)
        return {
            "log10_e": float(weigh(copies, [look.bet() for look in copies], [leaker])[0]),
            "named": leaker in verdict.accused,
            "innocents_named": len(set(verdict.accused) - {leaker}),
            "innocent": max(others, default=None),
            "owner": owner.log10_e,
            "ours": owner.log10_e is not None and owner.log10_e >= owner.log10_threshold,
            "threshold": verdict.log10_threshold,
        }


def mark(model: Path, folder: Path, recipient: str, options: Mapping[str, Any] | None = None) -> Marked:
    """Create a vault, register the model, issue a copy; if the folder is there already, that has been done."""
    if not folder.exists():
        building = folder.with_name(f"{folder.name}.{secrets.token_hex(4)}.tmp")
        building.mkdir(parents=True)
        try:
            _fill(model, building, recipient, options or {})
            building.rename(folder)
        finally:
            shutil.rmtree(building, ignore_errors=True)
    return Marked(folder)


def now() -> str:
    """Now, UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _fill(model: Path, folder: Path, recipient: str, options: Mapping[str, Any]) -> None:
    create_vault(folder / "vault", None)
    with open_vault(folder / "vault", None) as vault:
        registered = register(vault, Registration(model, "spread", options, now()))
        issued = issue(vault, Issuing(model, recipient, folder / "copy.onnx", now(), ALPHA))
        reference = Reference.of_entry(vault, vault.ledger.references()[0])
        strength = reference.drawn(vault, RECIPIENT)[0].public.key.strength
    facts = asdict(issued) | {"owner_positions": registered.owner_positions, "strength": strength}
    (folder / "facts.json").write_text(json.dumps(facts, indent=1))
