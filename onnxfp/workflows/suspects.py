"""Who is examined: a file, an endpoint, answers that somebody else collected, or the transcript of an earlier look."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, assert_never, final

import numpy.typing as npt

from onnxfp.artifact import Artifact, NodeRecord, open_artifact, resolve, similarity
from onnxfp.domain import Access, Probe, QueryProbe, Response, Unanswered, WeightProbe
from onnxfp.errors import ArtifactError, UsageError, VaultError
from onnxfp.suspect.interface import Suspect
from onnxfp.suspect.opened import OpenedWeights
from onnxfp.suspect.session import Session, open_session
from onnxfp.workflows.digests import cached_digest
from onnxfp.workflows.reference import Reference
from onnxfp.workflows.vault import Vault

Inputs = npt.NDArray[Any]

READ_AT_MOST = 4  # references whose weights are read; the others keep their share of the bet at e = 0

# Graphs with one of these may answer differently every time.
_RANDOM = {
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
    "Multinomial",
    "Bernoulli",
    "Dropout",
}

ALL = frozenset(Access)
SEALED = frozenset({Access.LABELS, Access.SCORES})


class Examined(Protocol):
    """Whoever answers for a suspect."""

    @property
    def identity(self) -> str:
        """What the ledger calls it."""
        ...

    @property
    def access(self) -> frozenset[Access]:
        """What it can be asked for."""
        ...

    @property
    def repeats(self) -> str | None:
        """Under the same text it answers the same again; None for one that may not, so that every look is another."""
        ...

    @property
    def place(self) -> str:
        """Where triggers that it is asked are seen by others, so that they are spent; empty for nowhere."""
        ...

    def beside(self, references: Sequence[Reference]) -> Iterator[tuple[Reference, Suspect]]:
        """Yield it beside each reference, the most similar first."""
        ...

    @property
    def knows(self) -> Callable[[Inputs], bool] | None:
        """Whether it could answer some inputs (samples, ...), where answers are what they are; None for any inputs."""
        ...


@final
@dataclass(frozen=True)
class Device:
    """Where a file is run."""

    name: str = "auto"
    """``auto``, ``cpu``, ``cuda`` or ``tensorrt``."""
    required: bool = False
    """Refuse to judge on anything else."""


@final
@dataclass
class ExaminedFile:
    """A file: its weights are read beside those of each reference, its graph runs in a confined process."""

    vault: Vault
    artifact: Artifact
    device: Device
    place: str = ""
    access: frozenset[Access] = ALL
    knows: None = None
    _session: list[Session | Unanswered] = field(default_factory=list, repr=False)

    @property
    def identity(self) -> str:
        """Its weight digest."""
        return cached_digest(self.artifact, self.vault.root / "digests.json")

    @property
    def repeats(self) -> str | None:
        """Nothing to tell apart, unless its graph draws random numbers or another device is asked for."""
        if any(map(draws, self.artifact.graph.nodes)):
            return None
        return "" if self.device.name == "auto" else self.device.name

    def beside(self, references: Sequence[Reference]) -> Iterator[tuple[Reference, Suspect]]:
        """Yield it beside each reference; of those far down the list the weights are not read."""
        ranked = sorted(references, key=lambda reference: -similarity(reference.sketch, self.artifact))
        for rank, reference in enumerate(ranked):
            with ExitStack() as files:
                weights = (
                    open_beside_reference(self.vault, reference, self.artifact, files)
                    if rank < READ_AT_MOST
                    else _passed_over(reference)
                )
                yield reference, BothWays(weights, self.outputs_for)

    def outputs_for(self, probe: QueryProbe) -> Response:
        """Run the graph on some inputs; the process starts at the first of them."""
        if not self._session:
            self._session.append(self._start())
        match self._session[0]:
            case Unanswered() as reason:
                return reason
            case session:
                return session.answer(probe)

    def close(self) -> None:
        """End the process, if there is one."""
        for session in self._session:
            if isinstance(session, Session):
                session.close()

    def _start(self) -> Session | Unanswered:
        try:
            return open_session(self.artifact.path, device=self.device.name, require_device=self.device.required)
        except UsageError as problem:
            if self.device.required:
                raise
            return Unanswered(str(problem))
        except ArtifactError as problem:
            return Unanswered(str(problem))


@final
@dataclass(frozen=True)
class BothWays:
    """A file's weights beside one reference, and its outputs."""

    weights: OpenedWeights | Unanswered
    outputs: Callable[[QueryProbe], Response]

    def answer(self, probe: Probe) -> Response:
        """Answer any probe."""
        match probe:
            case WeightProbe():
                return self.weights if isinstance(self.weights, Unanswered) else self.weights.answer(probe)
            case QueryProbe():
                return self.outputs(probe)
        assert_never(probe)


@final
@dataclass(frozen=True)
class ExaminedSealed:
    """A suspect that only answers inputs, the same beside every reference."""

    identity: str
    suspect: Suspect
    place: str = ""
    access: frozenset[Access] = SEALED
    knows: Callable[[Inputs], bool] | None = None
    repeats: str | None = ""
    recorded_beside: Callable[[str], Suspect] | None = None
    """Where answers differ by reference: what answers beside the reference of a digest."""

    def beside(self, references: Sequence[Reference]) -> Iterator[tuple[Reference, Suspect]]:
        """Yield it beside each reference, the latest first."""
        for reference in reversed(references):
            yield reference, self.suspect if self.recorded_beside is None else self.recorded_beside(reference.digest)

    def outputs_for(self, probe: QueryProbe) -> Response:
        """Ask it some inputs."""
        return self.suspect.answer(probe)


@contextmanager
def examined_file(vault: Vault, path: Path, device: Device, *, allow_links: bool) -> Iterator[ExaminedFile]:
    """Open a file to be examined.

    Raises:
        ArtifactError: it is no model that can be read.
        UsageError: the device that is required is not there.
    """
    with open_artifact(path, allow_links=allow_links) as artifact:
        file = ExaminedFile(vault, artifact, device)
        try:
            yield file
        finally:
            file.close()


def open_beside_reference(
    vault: Vault, reference: Reference, suspect: Artifact, files: ExitStack
) -> OpenedWeights | Unanswered:
    """Open a suspect beside one reference, or say why that cannot be done. `files` closes what was opened."""
    tensors = resolve(reference.profile.carriers, suspect, reference.sketch)
    if not tensors:
        return Unanswered(f"no tensor of the suspect has the shape of a carrier of reference {reference.short}")
    try:
        original = files.enter_context(reference.opened(vault))
    except VaultError as problem:
        return Unanswered(str(problem))
    return OpenedWeights(suspect, original, tensors)


def draws(node: NodeRecord) -> bool:
    """Return whether a node may draw random numbers; dropout does when it is told that it is training."""
    return node.op_type in _RANDOM or (node.op_type == "Dropout" and len(node.inputs) > 2)


def _passed_over(reference: Reference) -> Unanswered:
    return Unanswered(f"reference {reference.short} was passed over: {READ_AT_MOST} others are more similar")
