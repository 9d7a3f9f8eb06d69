"""Mark: teach a model the owner's triggers, check what came of it, and record it as a new reference."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from onnxfp.artifact import (
    Artifact,
    Patch,
    carriers,
    check_target,
    copy_artifact,
    open_artifact,
    why_unmarkable,
    write_patched,
)
from onnxfp.domain import Answered, Floats, ModelProfile, OutputTarget, QueryProbe, Unanswered
from onnxfp.embed.compare import difference
from onnxfp.embed.fine_tune import Task, Tuned, Tuning, fine_tune
from onnxfp.errors import CapacityError, FidelityError, UsageError, VaultError
from onnxfp.keys.keystream import Keystream
from onnxfp.ledger import ReferenceEntry
from onnxfp.schemes.interface import Samples
from onnxfp.suspect.session import Session, open_session
from onnxfp.verdict.look import Look
from onnxfp.verdict.tails import points
from onnxfp.verdict.verify import OWNER
from onnxfp.workflows.channels import DrawnChannel, draw
from onnxfp.workflows.claims import chosen_claims, unborne
from onnxfp.workflows.commit import Committed, Intent, commit, drawn_for
from onnxfp.workflows.digests import cached_digest
from onnxfp.workflows.fidelity import Data, load_data, quality
from onnxfp.workflows.graph_of import graph_of
from onnxfp.workflows.images import load_logos, load_pictures
from onnxfp.workflows.interrogation import Conduct, interrogate
from onnxfp.workflows.judge import registered_references
from onnxfp.workflows.recorded import input_digests
from onnxfp.workflows.reference import Reference
from onnxfp.workflows.register import Registration, channels_of, record, refuse_marked
from onnxfp.workflows.suspects import SEALED
from onnxfp.workflows.vault import Vault, refuse_inside_vault

if TYPE_CHECKING:
    from onnxfp.embed.torch_graph import TorchGraph

_FIRST = 64  # inputs on which the interpreted graph is compared with onnxruntime
_SHOWN = 2048  # taught triggers on which the hit rate is measured
_STEPS = 2000  # of training at least, unless all is learnt before
_HELD_BACK = 0.1  # of the data, when no validation data are given

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Marking:
    """What is asked of `mark`."""

    model: Path
    scheme: str
    options: Mapping[str, Any]
    data: Path
    output: Path
    at: str
    """Now, UTC, ISO 8601."""
    val: Path | None = None
    """Held-out data for the fidelity budget; None for a tenth of the data."""
    images: Path | None = None
    """Pictures of the owner's own: logos, or pictures of something else."""
    tuning: Tuning = field(default_factory=Tuning)
    epochs: int = 0
    """Passes over the data at most; 0 for 5, or for as many as make 2000 steps of few data."""
    alpha: float = 1e-6
    beacon: str = ""
    commit_only: bool = False
    force: bool = False
    allow_links: bool = False


@dataclass(frozen=True)
class Marked:
    """What was marked, or committed to."""

    scheme: str
    commitment: str
    committed_at: str
    parent: str
    """Digest of the artifact before this mark."""
    head: str
    """What the ledger has come to; note it outside the vault."""
    notes: tuple[str, ...]
    """What is known of the triggers before key labels were drawn."""
    reference: str = ""
    """Digest of the marked artifact; empty when nothing is marked yet, and so is all that follows."""
    output: str = ""
    positions: int = 0
    accuracy_before: float = 0.0
    """On the validation data; agreement with the model before where there are no labels."""
    accuracy_after: float = 0.0
    hits_taught: float = 0.0
    """Share of the triggers that were taught that the marked artifact answers with their key label."""
    hits_held_out: float | None = None
    """The same of the triggers that a judge asks, on images it never saw; None where a judge asks what was taught."""
    log10_e: float = 0.0
    """Evidence of these answers, as a judge of all claims will weigh it."""
    log10_threshold: float = 0.0
    epochs: int = 0
    """Of training; 0 when the marked artifact was there already."""


def mark(vault: Vault, request: Marking, progress: Progress) -> Marked:
    """Mark a model; the same request again gives the same bytes again.

    The commitment is in the ledger before a symbol is drawn, the marked artifact is a registered reference before the
    output exists; a training that was interrupted goes on where it stopped.

    Raises:
        UsageError: data, options or the model do not do, or the output is refused.
        FidelityError: no point of the training was good enough, or the mark did not take.
        ArtifactError: the model cannot be read or run.
    """
    refuse_inside_vault(request.output)
    if not request.commit_only:
        check_target(request.output, force=request.force)
    data = load_data(request.data)
    with (
        open_artifact(request.model, allow_links=request.allow_links) as artifact,
        open_session(artifact.path) as session,
    ):
        profile = _profile(vault, artifact)
        progress("asking the unmarked model")
        intent = Intent(request.scheme, request.options, request.at)
        committed = commit(vault, profile, intent, _samples(request, data), _asker(session, data))
        if request.commit_only:
            return _committed(vault, committed)
        drawn = drawn_for(vault, committed, request.beacon, request.at)
        task, known = _task(data, request, committed), _borne(vault, drawn)
        if known is None:
            return _Workbench(vault, request, artifact, session, drawn, committed.notes, progress).marked(task)
        with known.opened(vault) as kept, open_session(kept.path) as again:
            copy_artifact(kept, request.output, force=request.force)
            return _result(vault, drawn, known.digest, _found(session, again, drawn, task, 0), request, committed.notes)


def _profile(vault: Vault, artifact: Artifact) -> ModelProfile:
    """Return the profile of a model that may be marked: no copy that was issued to somebody."""
    found = carriers(artifact)
    if reason := why_unmarkable(artifact, found):
        raise UsageError(f"{artifact.label}: no weight to tune: {reason}")
    profile = ModelProfile(cached_digest(artifact, vault.root / "digests.json"), found)
    if all(entry.digest != profile.digest for entry in vault.ledger.references()):
        refuse_marked(vault, artifact)
    return profile


def _samples(request: Marking, data: Data) -> Samples:
    """Return the owner's data as a scheme takes them."""
    own: dict[str, npt.NDArray[Any]] = {}
    if request.images is not None and request.options.get("triggers", "content") == "unrelated":
        own["pictures"] = load_pictures(request.images, data.inputs)
    elif request.images is not None:
        own["logos"] = load_logos(request.images)
    return {"inputs": data.inputs, **own}


def _asker(session: Session, data: Data) -> Callable[[npt.NDArray[Any]], Floats]:
    def ask(inputs: npt.NDArray[Any]) -> Floats:
        match session.answer(QueryProbe(inputs)):
            case Unanswered(reason):
                raise UsageError(reason)
            case Answered(values):
                if values.ndim != 2:
                    raise UsageError("the model answers labels without scores; a trigger set is taught through scores")
                _refuse_labels(data, values.shape[1])
                return values

    return ask


def _refuse_labels(data: Data, classes: int) -> None:
    labels = data.labels
    if labels is None:
        return
    if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= classes:
        raise UsageError(
            f"labels are {labels.dtype} from {labels.min()} to {labels.max()}; the model has {classes} classes, "
            f"numbered 0 to {classes - 1}"
        )


def _task(data: Data, request: Marking, committed: Committed) -> Task:
    """Return what the model is for, without the pictures that are held out for judging."""
    keep = np.ones(len(data.inputs), dtype=bool)
    keep[committed.samples["rows"]] = False
    inputs, labels = data.inputs[keep], None if data.labels is None else data.labels[keep]
    if request.val is not None:
        held = load_data(request.val)
        return Task(inputs, labels, held.inputs, held.labels)
    back = max(1, round(_HELD_BACK * len(inputs)))
    cut = (None, None) if labels is None else (labels[:-back], labels[-back:])
    return Task(inputs[:-back], cut[0], inputs[-back:], cut[1])


def _tuning(request: Marking, samples: int) -> Tuning:
    steps = max(1, samples // request.tuning.batch)
    return replace(request.tuning, epochs=request.epochs or max(request.tuning.epochs, ceil(_STEPS / steps)))


@dataclass(frozen=True)
class _Workbench:
    """One model on its way to be marked."""

    vault: Vault
    request: Marking
    artifact: Artifact
    session: Session
    drawn: DrawnChannel
    notes: tuple[str, ...]
    progress: Progress

    def marked(self, task: Task) -> Marked:
        """Train, check and record."""
        plan = self.drawn.scheme.plan(self.drawn.claim(OWNER))
        module = self._module(task)
        checkpoint = self._checkpoint()
        tuning = _tuning(self.request, len(task.inputs))
        tuned = fine_tune(module, plan, task, tuning, checkpoint=checkpoint, progress=self.progress)
        with self._written(tuned) as path, open_artifact(path) as artifact, open_session(path) as session:
            self.progress("asking the marked model")
            difference(module, task.inputs[:_FIRST], session.outputs(task.inputs[:_FIRST]))
            found = _found(self.session, session, self.drawn, task, tuned.epochs)
            _refuse_untaken(found, self.request.alpha, _claims(self.vault))
            entry = self._record(artifact)
            copy_artifact(artifact, self.request.output, force=self.request.force)
        checkpoint.unlink(missing_ok=True)
        return _result(self.vault, self.drawn, entry.digest, found, self.request, self.notes)

    def _module(self, task: Task) -> TorchGraph:
        """Return the graph as something that can be trained, after it has answered as onnxruntime does."""
        try:
            from onnxfp.embed.torch_graph import torch_graph
        except ImportError as problem:
            raise UsageError("marking by training needs torch; install `onnxfp[embed]`") from problem
        module = torch_graph(graph_of(self.artifact))
        difference(module, task.inputs[:_FIRST], self.session.outputs(task.inputs[:_FIRST]))
        return module

    def _checkpoint(self) -> Path:
        """Return where the training is kept while it lasts."""
        name = f"{self.drawn.channel.commitment[:32]}.{len(self.drawn.channel.beacon)}.npz"
        path = self.vault.root / "training" / name
        try:
            path.parent.mkdir(mode=0o700, exist_ok=True)
        except OSError as problem:
            raise VaultError(f"cannot keep the training in {path.parent}: {problem.strerror}; make room") from problem
        return path

    @contextmanager
    def _written(self, tuned: Tuned) -> Iterator[Path]:
        """Write the tuned weights into a private copy of the artifact; nothing but weights differs."""
        with TemporaryDirectory(prefix="onnxfp-") as folder:
            path = Path(folder) / "marked.onnx"
            weights = {name: np.asarray(values, dtype=np.float32) for name, values in tuned.values.items()}
            write_patched(self.artifact, path, (Patch(name, 0, v.reshape(-1)) for name, v in weights.items()))
            yield path

    def _record(self, artifact: Artifact) -> ReferenceEntry:
        """Register the marked artifact as a reference of its own, with this claim and channels for copies."""
        digest = cached_digest(artifact, self.vault.root / "digests.json")
        profile = ModelProfile(digest, carriers(artifact))
        registration = Registration(artifact.path, "spread", {}, self.request.at)
        key = self.vault.reference_key(digest)
        copies = _copies(registration, profile, key)
        parent = self.drawn.channel.of
        return record(self.vault, registration, artifact, profile, [*copies, self.drawn], parent)


@dataclass(frozen=True)
class _Found:
    """What a marked artifact shows when it is asked."""

    before: float
    after: float
    taught: float
    look: Look
    held_out: bool
    """Whether any of the triggers that a judge asks was not taught."""
    epochs: int


def _found(before: Session, after: Session, drawn: DrawnChannel, task: Task, epochs: int) -> _Found:
    plan = drawn.scheme.plan(drawn.claim(OWNER))
    data = Data(task.val_inputs, task.val_labels)
    answers = before.outputs(data.inputs).argmax(axis=1)
    targets = [constraint for constraint in plan if isinstance(constraint, OutputTarget)]
    return _Found(
        quality(before, data, answers),
        quality(after, data, answers),
        float(np.mean([_hit_rate(after, target) for target in targets])),
        interrogate(drawn, after, Conduct(threshold=0.0, stop=False, fixed=True), "the new claim"),
        _any_held_out(drawn, targets),
        epochs,
    )


def _any_held_out(drawn: DrawnChannel, targets: Sequence[OutputTarget]) -> bool:
    taught = {digest for target in targets for digest in input_digests(target.inputs)}
    probes = [probe for probe in drawn.scheme.probes(drawn.public) if isinstance(probe, QueryProbe)]
    return any(digest not in taught for probe in probes for digest in input_digests(probe.inputs))


def _hit_rate(session: Session, target: OutputTarget) -> float:
    """Return the share of taught triggers that get their label, on an even sample of them."""
    rows = np.unique(np.linspace(0, len(target.inputs) - 1, _SHOWN).astype(np.int64))
    return float(np.mean(session.outputs(target.inputs[rows]).argmax(axis=1) == target.labels[rows]))


def _copies(registration: Registration, profile: ModelProfile, key: Keystream) -> list[DrawnChannel]:
    """Return the channels from which copies can be issued; none if the weights carry too little."""
    try:
        return [draw(channel, profile, key) for channel in channels_of(registration)]
    except CapacityError:
        return []


def _claims(vault: Vault) -> int:
    """Return how many claims a sealed suspect is judged by, the draws in vain with them."""
    references = registered_references(vault)
    return len(chosen_claims(references, SEALED, "")) + len(unborne(vault, references))


def _refuse_untaken(found: _Found, alpha: float, claims: int) -> None:
    """Refuse a mark that could have reached the evidence that is needed and did not.

    Raises:
        FidelityError: the marked artifact does not answer the triggers as it should.
    """
    threshold = float(np.log10(max(1, claims)) - np.log10(alpha))
    codebook, word = found.look.codebook, found.look.words([OWNER])
    attainable = -float(np.log10(codebook.prior.max(axis=1)).sum())
    if attainable >= threshold and found.look.log10_e(word) < threshold:
        raise FidelityError(
            f"the mark did not take: {found.taught:.0%} of the taught triggers are answered with their key label, and "
            f"the others give log10 e = {found.look.log10_e(word):.1f} where {threshold:.1f} is needed; allow more "
            "epochs, a higher rate or a larger loss"
        )


def _committed(vault: Vault, committed: Committed) -> Marked:
    """Return what was committed to; nothing is marked yet."""
    channel = committed.channel
    return Marked(
        scheme=channel.scheme,
        commitment=channel.commitment,
        committed_at=channel.committed_at,
        parent=channel.of,
        head=vault.ledger.head(),
        notes=committed.notes,
    )


def _borne(vault: Vault, drawn: DrawnChannel) -> Reference | None:
    """Return the registered artifact that bears this claim already, if there is one."""
    channel = drawn.channel
    for reference in registered_references(vault):
        if any((one.commitment, one.beacon) == (channel.commitment, channel.beacon) for one in reference.channels):
            return reference
    return None


def _result(
    vault: Vault, drawn: DrawnChannel, reference: str, found: _Found, request: Marking, notes: tuple[str, ...]
) -> Marked:
    look, word, tally = found.look, found.look.words([OWNER]), found.look.reading.tally
    claims = max(1, _claims(vault))
    return Marked(
        scheme=drawn.channel.scheme,
        commitment=drawn.channel.commitment,
        committed_at=drawn.channel.committed_at,
        positions=look.codebook.positions,
        reference=reference,
        parent=drawn.channel.of,
        output=str(request.output),
        accuracy_before=found.before,
        accuracy_after=found.after,
        hits_taught=found.taught,
        hits_held_out=points(tally, word[0]) / max(1, look.reading.most)
        if found.held_out and tally is not None
        else None,
        log10_e=look.log10_e(word) - float(np.log10(claims)),
        log10_threshold=-float(np.log10(request.alpha)),
        epochs=found.epochs,
        notes=notes,
        head=vault.ledger.head(),
    )


def _hit_rates(marked: Marked) -> str:
    if marked.hits_held_out is None:
        return f"{marked.hits_taught:.1%} of the triggers; none is held out, each is a picture of its own"
    return f"{marked.hits_taught:.1%} of taught triggers, {marked.hits_held_out:.1%} of those on held-out images"


def marked_rows(marked: Marked) -> list[tuple[str, str]]:
    """Return what a person wants to see."""
    rows = [
        ("claim", f"{marked.scheme} {marked.commitment}"),
        ("committed at", marked.committed_at),
        ("marked", marked.output or "nothing yet: publish the claim, then run this again with --beacon"),
    ]
    if marked.reference:
        rows += [
            ("reference", f"{marked.reference}, made from {marked.parent[:12]}"),
            ("accuracy", f"{marked.accuracy_before:.2%} before, {marked.accuracy_after:.2%} after"),
            ("hit rate", _hit_rates(marked)),
            ("evidence", f"log10 e = {marked.log10_e:.1f}, {marked.log10_threshold:.1f} needed"),
            ("training", f"{marked.epochs} epochs" if marked.epochs else "none: it was marked before"),
        ]
    notes = [("triggers", note) for note in marked.notes]
    return [*rows, *notes, ("ledger head", marked.head)]
