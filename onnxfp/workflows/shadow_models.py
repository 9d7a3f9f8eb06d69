"""Shadow models: the owner's own models with which suspects are compared, and which rows of the data each has seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxfp.artifact import open_artifact
from onnxfp.errors import UsageError
from onnxfp.workflows.arrays import read_npz
from onnxfp.workflows.digests import cached_digest
from onnxfp.workflows.suspects import draws
from onnxfp.workflows.vault import Vault

ROWS = "train_rows"


@dataclass(frozen=True)
class Shadowing:
    """A shadow model that is there to be asked."""

    path: Path
    digest: str
    member: npt.NDArray[np.bool_]
    """(rows of the data,): which it was trained on."""


def shadow_models(vault: Vault, given: Sequence[str], count: int) -> tuple[Shadowing, ...]:
    """Return the shadow models that are named: files; after a comma, the rows that one was trained on, if on any.

    Args:
        vault: keeps digests of files that do not change.
        given: what names them.
        count: rows of the candidate data.

    Raises:
        UsageError: the rows are not of these data.
        ArtifactError: one is no model.
    """
    found = (_shadow_model(vault, text, count) for text in given)
    return tuple(sorted(found, key=lambda shadow: shadow.digest))


def _shadow_model(vault: Vault, text: str, count: int) -> Shadowing:
    before, comma, after = text.rpartition(",")
    name, rows = (before, after) if comma and after.endswith(".npz") else (text, "")
    path, member = Path(name), np.zeros(count, dtype=bool)
    if rows:
        member[_rows(Path(rows), count)] = True
    if member.all():
        raise UsageError(f"shadow model {path} was trained on all rows: there is nothing to compare with")
    with open_artifact(path) as artifact:
        if any(map(draws, artifact.graph.nodes)):
            raise UsageError(f"shadow model {path} draws random numbers, and would answer otherwise at every look")
        weights = cached_digest(artifact, vault.root / "digests.json")
    with path.open("rb") as file:  # the same weights in another graph are another model
        digest = sha256(f"{weights} {file_digest(file, sha256).hexdigest()}".encode()).hexdigest()
    which = f":{sha256(np.packbits(member).tobytes()).hexdigest()[:32]}" if rows else ""
    return Shadowing(path, f"{digest[:32]}{which}", member)


def _rows(path: Path, count: int) -> npt.NDArray[np.int64]:
    arrays: Mapping[str, npt.NDArray[Any]] = read_npz(path, f"`{ROWS}`")
    rows = arrays.get(ROWS)
    if rows is None or rows.dtype.kind not in "iu" or rows.ndim != 1:
        raise UsageError(f"{path}: expected an .npz with `{ROWS}`, row numbers of the candidate data")
    if len(rows) and (int(rows.min()) < 0 or int(rows.max()) >= count):
        raise UsageError(
            f"{path} has rows {rows.min()} to {rows.max()}, the data have {count}; give rows of these data"
        )
    return rows.astype(np.int64)
