"""A marked copy in the making: what the channels of a reference change in it for one recipient."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from onnxfp.artifact import Artifact, Patch, write_patched
from onnxfp.domain import Segment, Weights
from onnxfp.embed.post_hoc import Change, solve
from onnxfp.workflows.channels import DrawnChannel

Fidelity = Callable[[Path], None]
"""Takes the path of a copy; raises `FidelityError` if it is not good enough."""


def marked(channels: Sequence[DrawnChannel], recipient: str, source: Artifact, budget: float) -> tuple[Change, ...]:
    """Return the new weights of one recipient's copy.

    Raises:
        FidelityError: a carrier would change by more than the budget.
        ArtifactError: a weight is not finite, or the source cannot be read.
    """
    plans = [channel.scheme.plan(channel.claim(channel.word_of(recipient))) for channel in channels]

    def read(segment: Segment) -> Weights:
        return source.read(source.tensor(segment.carrier), segment.start, segment.stop)

    return solve([constraint for plan in plans for constraint in plan], read, budget)


def patches(changes: Sequence[Change]) -> Iterator[Patch]:
    """Yield the changes as the writer takes them."""
    for change in changes:
        yield Patch(change.segment.carrier, change.segment.start, change.values)


@contextmanager
def private_copy(source: Artifact, changes: Sequence[Change]) -> Iterator[Path]:
    """Write a copy where nobody looks, and remove it afterwards."""
    with TemporaryDirectory(prefix="onnxfp-") as folder:
        copy = Path(folder) / "copy.onnx"
        write_patched(source, copy, patches(changes))
        yield copy


def try_copy(source: Artifact, changes: Sequence[Change], fidelity: Fidelity) -> None:
    """Write a private copy, let `fidelity` see it, and remove it.

    Raises:
        FidelityError: the copy is not good enough.
    """
    with private_copy(source, changes) as copy:
        fidelity(copy)
