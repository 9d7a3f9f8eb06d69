"""Inspect a model: what could bear a mark, and what would stay unread."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from onnxfp.artifact import Inspection, inspect_artifact, open_artifact
from onnxfp.domain import ModelProfile
from onnxfp.errors import CapacityError
from onnxfp.keys.keystream import Keystream
from onnxfp.workflows.channels import RECIPIENT, Channel, draw


@dataclass(frozen=True)
class Inspected:
    """The facts of a model and its capacity under the default scheme."""

    inspection: Inspection
    positions: int
    """Positions of a recipient's word; 0 when the model carries none."""


def inspect(model: Path, *, allow_links: bool = False) -> Inspected:
    """Inspect a model file; needs no vault and executes nothing.

    Raises:
        ArtifactError: the file is not a model that can be read.
    """
    with open_artifact(model, allow_links=allow_links) as artifact:
        inspection = inspect_artifact(artifact, finite=False)
    profile = ModelProfile(inspection.digest, inspection.carriers)
    try:
        # Capacity does not depend on the key; any will do.
        drawn = draw(Channel(RECIPIENT, "spread", {}), profile, Keystream(bytes(32)))
    except CapacityError:
        return Inspected(inspection, 0)
    return Inspected(inspection, drawn.public.key.positions)


def inspection_rows(inspected: Inspected) -> list[tuple[str, str]]:
    """Return what a person wants to see."""
    facts = inspected.inspection
    rows = [
        ("digest", facts.digest),
        ("size", f"{facts.size:,} bytes, {facts.nodes:,} nodes"),
        ("opsets", ", ".join(f"{domain or 'ai.onnx'} {version}" for domain, version in facts.opsets)),
        ("weights", f"{facts.writable_weights:,} can be marked, {facts.carrier_weights:,} can be read in carriers"),
        ("not carriers", f"{facts.other_weights:,} values"),
        ("positions", f"{inspected.positions:,}" if inspected.positions else "none: not enough weights for a mark"),
        ("element types", ", ".join(f"{name} x {tensors}" for name, tensors, _ in facts.dtypes)),
    ]
    if facts.external_files:
        rows.append(("external data", f"{', '.join(facts.external_files)}; {facts.orphan_bytes} orphan bytes"))
    for carrier in facts.carriers:
        shape = "x".join(map(str, carrier.shape))
        rows.append((f"  {carrier.operator}", f"{carrier.name}  {shape} {carrier.dtype}  spread {carrier.spread:.4g}"))
    return rows
