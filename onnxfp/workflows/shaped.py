"""The form in which an artifact is taught: itself, or a private copy with more classes; and how it is closed again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from onnxfp.artifact import Artifact, open_artifact, write_gated, write_widened
from onnxfp.errors import UsageError
from onnxfp.schemes.interface import Form
from onnxfp.suspect.session import Session, open_session

_FIRST = 64  # inputs on which the copy is compared with the original
_CLOSE = 1e-5  # of the largest number: how far answers in the old classes may be apart
_CLOSE_HALF = 1e-2  # the same where numbers of 16 bits come out


class Blank(NamedTuple):
    """An artifact that can be taught, and somebody who runs it."""

    artifact: Artifact
    session: Session


@contextmanager
def shaped(artifact: Artifact, session: Session, form: Form, inputs: npt.NDArray[Any]) -> Iterator[Blank]:
    """Open an artifact in the form in which it is to be taught; its answers in the old classes are as they were.

    Raises:
        UsageError: it has no head that can be given more classes, or it answers otherwise afterwards.
    """
    if not form.classes:
        yield Blank(artifact, session)
        return
    with TemporaryDirectory(prefix="onnxfp-") as folder, ExitStack() as opened:
        for number in range(form.classes):
            path = Path(folder) / f"{number}.onnx"
            write_widened(artifact, path)
            artifact = opened.enter_context(open_artifact(path))
        again = opened.enter_context(open_session(path))
        _refuse_otherwise(session.outputs(inputs[:_FIRST]), again.outputs(inputs[:_FIRST]), form.classes)
        yield Blank(artifact, again)


def closed(path: Path, form: Form) -> Path:
    """Return a taught artifact with the gate that it is to have, if any, beside the one without."""
    if form.gate is None:
        return path
    gated = path.with_name("gated.onnx")
    with open_artifact(path) as artifact:
        write_gated(artifact, gated, form.gate)
    return gated


def _refuse_otherwise(before: npt.NDArray[Any], after: npt.NDArray[Any], classes: int) -> None:
    if after.shape != (len(before), before.shape[1] + classes):
        raise UsageError(
            f"with {classes} class more the model gives {after.shape} numbers, before {before.shape}; "
            "mark a model whose first output is one number for each class"
        )
    apart = float(np.abs(after[:, : before.shape[1]].astype(np.float64) - before).max())
    close = _CLOSE_HALF if before.dtype == np.float16 else _CLOSE
    if not apart <= close * max(1.0, float(np.abs(before).max())):
        raise UsageError(
            f"with a class more the model's other answers differ by {apart:.2g}, where {close:.0e} is allowed; "
            "mark the model that gives logits"
        )
