"""Teach: a model's graph is trained, written back, compared, asked, and recorded as a reference of its own."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from onnxfp.artifact import Artifact, Patch, carriers, open_artifact, write_patched
from onnxfp.domain import Constraint, ModelProfile, OutputTarget
from onnxfp.embed.compare import difference
from onnxfp.embed.fine_tune import Task, Tuned, Tuning, fine_tune, rehearse
from onnxfp.errors import CapacityError, UsageError, VaultError
from onnxfp.keys.keystream import Keystream
from onnxfp.suspect.session import Session, open_session
from onnxfp.workflows.channels import DrawnChannel, draw
from onnxfp.workflows.claims import bearer
from onnxfp.workflows.digests import cached_digest
from onnxfp.workflows.graph_of import graph_of
from onnxfp.workflows.judge import Progress, registered_references
from onnxfp.workflows.lineage import Earlier
from onnxfp.workflows.register import Registration, channels_of, record
from onnxfp.workflows.shaped import closed
from onnxfp.workflows.shown import Shown, exemplar, refuse_untaken, show_marked
from onnxfp.workflows.vault import Vault

if TYPE_CHECKING:
    from onnxfp.embed.torch_graph import TorchGraph

_FIRST = 64  # inputs on which the interpreted graph is compared with onnxruntime
_AT_IT = "another run is marking this model with this claim; wait until it is done, then run this again for its result"
_STEPS = 2000  # of training at least, unless all is learnt before


@dataclass(frozen=True)
class Lesson:
    """How a claim is taught."""

    tuning: Tuning
    epochs: int
    """Passes over the data at most; 0 for those of `tuning`, or for as many as make 2000 steps of few data."""
    threshold: float
    """log10 of the e-value that the mark must reach, if it can."""
    at: str
    """Now, UTC, ISO 8601."""

    def fitted(self, samples: int) -> Tuning:
        """Return the tuning for so many examples."""
        steps = max(1, samples // self.tuning.batch)
        return replace(self.tuning, epochs=self.epochs or max(self.tuning.epochs, ceil(_STEPS / steps)))


@dataclass(frozen=True)
class Bench:
    """One model on its way to be marked."""

    vault: Vault
    artifact: Artifact
    """In the form in which it is taught."""
    session: Session
    """The model before."""
    drawn: DrawnChannel
    earlier: Earlier
    """What was taught to it before, and is taught again beside: else the new mark would wash it out."""
    progress: Progress

    def teach(self, module: TorchGraph, task: Task, lesson: Lesson) -> tuple[Shown, int]:
        """Train, compare, ask and record; return what the marked artifact shows, and the epochs that it took.

        Raises:
            UsageError: the data cannot be trained with.
            FidelityError: no point of the training was good enough, or the mark did not take or undid another.
        """
        plan = self._plan(self.session.outputs(task.inputs[:1]).shape[1])
        tuning = lesson.fitted(len(task.inputs))
        with self._alone() as checkpoint:
            tuned = fine_tune(module, plan, task, tuning, checkpoint=checkpoint, progress=self.progress)
            with self._written(tuned) as plain:
                with open_session(plain) as session:
                    difference(module, task.inputs[:_FIRST], session.outputs(task.inputs[:_FIRST]))
                path = closed(plain, self.drawn.scheme.form(self.drawn.public.key))
                shown = self._shown(path, task, lesson)
            checkpoint.unlink(missing_ok=True)
        return shown, tuned.epochs

    def _plan(self, classes: int) -> list[Constraint]:
        """Return what is taught: this claim, and what the model bore, as far as it has the classes for it."""
        plans = [list(drawn.taught()) for drawn in (self.drawn, *self.earlier.values())]
        own = self.drawn.scheme.form(self.drawn.public.key)
        return [*plans[0], *(one for plan in plans[1:] if _can_learn(plan, classes + own.classes) for one in plan)]

    def _shown(self, path: Path, task: Task, lesson: Lesson) -> Shown:
        """Ask the marked artifact, and record it if the mark has taken."""
        with (
            open_artifact(path) as artifact,
            exemplar(artifact, self.drawn) as asked,
            open_session(asked) as session,
        ):
            self.progress("asking the marked model")
            shown = show_marked(self.session, session, self.drawn, task, self.earlier)
            refuse_untaken(shown, lesson.threshold)
            self._record(artifact, lesson.at)
        return shown

    @contextmanager
    def _alone(self) -> Iterator[Path]:
        """Keep others from teaching the same claim meanwhile; yield where the training is kept while it lasts.

        Raises:
            UsageError: somebody else is at it, or was until now.
            VaultError: the disk refuses.
        """
        from filelock import FileLock, Timeout

        channel = self.drawn.channel
        beacon = hashlib.sha256(channel.beacon.encode()).hexdigest()[:8]
        path = self.vault.root / "training" / f"{channel.commitment[:32]}-{beacon}.npz"
        try:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            lock = FileLock(path.with_suffix(".lock"), timeout=0)
            lock.acquire()
        except Timeout as problem:
            raise UsageError(_AT_IT) from problem
        except NotImplementedError as problem:  # of file systems that know no locks
            raise VaultError(f"{path.parent} cannot be locked; keep the vault on another file system") from problem
        except OSError as problem:
            raise VaultError(f"cannot keep the training in {path.parent}: {problem.strerror}; make room") from problem
        try:
            if bearer(registered_references(self.vault), channel.commitment, channel.beacon) is not None:
                raise UsageError(_AT_IT)
            yield path
        finally:
            lock.release()

    @contextmanager
    def _written(self, tuned: Tuned) -> Iterator[Path]:
        """Write the tuned weights into a private copy of the artifact; nothing but weights differs."""
        with TemporaryDirectory(prefix="onnxfp-") as folder:
            path = Path(folder) / "marked.onnx"
            weights = {name: np.asarray(values, dtype=np.float32) for name, values in tuned.values.items()}
            write_patched(self.artifact, path, (Patch(name, 0, v.reshape(-1)) for name, v in weights.items()))
            yield path

    def _record(self, artifact: Artifact, at: str) -> None:
        """Register the marked artifact as a reference of its own, with this claim and channels for copies."""
        digest = cached_digest(artifact, self.vault.root / "digests.json")
        written = self.drawn.written()
        profile = ModelProfile(digest, tuple(one for one in carriers(artifact) if one.name not in written))
        registration = Registration(artifact.path, "spread", {}, at)
        copies = _copies(registration, profile, self.vault.reference_key(digest))
        record(self.vault, registration, artifact, profile, [*copies, self.drawn], self.drawn.channel.of)


def interpreted(artifact: Artifact, session: Session, task: Task, tuning: Tuning) -> TorchGraph:
    """Return a graph as something that can be trained on a task, after it has answered as onnxruntime does.

    Raises:
        UsageError: torch or the device is missing, or the graph or the data cannot be trained with.
    """
    try:
        from onnxfp.embed.torch_graph import torch_graph
    except ImportError as problem:
        raise UsageError("marking by training needs torch; install `onnxfp[embed]`") from problem
    module = torch_graph(graph_of(artifact))
    difference(module, task.inputs[:_FIRST], session.outputs(task.inputs[:_FIRST]))
    rehearse(module, task, tuning)
    return module


def _can_learn(plan: Sequence[Constraint], classes: int) -> bool:
    """Return whether all labels are among so many classes: one may have been cut off since a model bore them."""
    return all(one.labels.max(initial=0) < classes for one in plan if isinstance(one, OutputTarget))


def _copies(registration: Registration, profile: ModelProfile, key: Keystream) -> list[DrawnChannel]:
    """Return the channels from which copies can be issued; none if the weights carry too little."""
    try:
        return [draw(channel, profile, key) for channel in channels_of(registration)]
    except CapacityError:
        return []
