"""Try to remove a mark: one attack step, from artifacts to an artifact."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from onnxfp.attacks.catalogue import parse, run
from onnxfp.workflows.vault import refuse_inside_vault


@dataclass(frozen=True)
class Attacked:
    """What was written."""

    step: str
    sources: tuple[str, ...]
    output: str


def attack(sources: Sequence[Path], step: str, output: Path, seed: int, *, force: bool) -> Attacked:
    """Run one step such as ``prune:0.5`` or ``average``.

    Raises:
        UsageError: the step or the output is refused, or the copies do not fit together.
        ArtifactError: a source cannot be read.
    """
    refuse_inside_vault(output)
    run(parse(step), sources, output, seed, force=force)
    return Attacked(step, tuple(map(str, sources)), str(output))


def attacked_rows(attacked: Attacked) -> list[tuple[str, str]]:
    """Return what a person wants to see."""
    return [("attack", attacked.step), ("from", ", ".join(attacked.sources)), ("written to", attacked.output)]
