"""Mark: teach a model the owner's triggers, check what came of it, and record it as a new reference."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy.typing as npt

from onnxfp.artifact import (
    Artifact,
    carriers,
    check_target,
    copy_artifact,
    features_by_sample,
    head_of,
    open_artifact,
    why_unmarkable,
    write_features,
)
from onnxfp.domain import Answered, Floats, Head, ModelProfile, QueryProbe, Unanswered
from onnxfp.embed.fine_tune import Task, Tuning
from onnxfp.errors import UsageError
from onnxfp.schemes.catalogue import scheme_named
from onnxfp.schemes.interface import Samples
from onnxfp.suspect.session import Session, open_session
from onnxfp.workflows.channels import DrawnChannel
from onnxfp.workflows.claims import bearer, chosen_claims, claims_about_copies, unborne
from onnxfp.workflows.commit import Committed, Intent, commit, drawn_for
from onnxfp.workflows.digests import cached_digest
from onnxfp.workflows.fidelity import Data
from onnxfp.workflows.images import load_logos, load_pictures
from onnxfp.workflows.judge import Progress, registered_references
from onnxfp.workflows.lineage import Earlier, earlier_claims, refuse_prepared
from onnxfp.workflows.material import Material, load_material
from onnxfp.workflows.reference import Reference
from onnxfp.workflows.register import refuse_marked
from onnxfp.workflows.shaped import shaped
from onnxfp.workflows.shown import Shown, exemplar, hit_rates, show_marked
from onnxfp.workflows.suspects import SEALED
from onnxfp.workflows.teach import Bench, Lesson, interpreted
from onnxfp.workflows.vault import Vault, refuse_inside_vault

_HEARD = 4096  # inputs whose features are looked at


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


def tuning_of(scheme: str, chosen: Mapping[str, Any]) -> Tuning:
    """Return how to train for a scheme, where some of it was chosen."""
    return Tuning(**{**scheme_named(scheme).tuning, **chosen})


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
    hits: Mapping[str, float] = field(default_factory=dict)
    """Share that the marked artifact answers with the key label: of what was taught, of what is held out, ..."""
    log10_e: float = 0.0
    """Evidence of these answers for this claim."""
    log10_threshold: float = 0.0
    """What a judge of all present claims needs of it."""
    epochs: int = 0
    """Of training; 0 when the marked artifact was there already."""
    earlier: Mapping[str, float] = field(default_factory=dict)
    """Evidence, log10, for each claim that the model bore before."""


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
    if request.commit_only and request.beacon:
        raise UsageError("a commitment comes before its beacon; leave --beacon out, and give it when you mark")
    if not request.commit_only:
        check_target(request.output, force=request.force)
    material = load_material(request.data, request.val)
    with (
        open_artifact(request.model, allow_links=request.allow_links) as artifact,
        open_session(artifact.path) as session,
    ):
        profile, material = _profile(vault, artifact, request.scheme), material.taken_by(session.input)
        progress("asking the unmarked model")
        data = {**_samples(request, material.data), **_features(artifact, profile.head, material.data)}
        intent = Intent(request.scheme, request.options, request.at)
        committed = commit(vault, profile, intent, data, _asker(session, material))
        if request.commit_only:
            return _committed(vault, committed)
        task, known = material.task(committed.samples["rows"]), _bearer(vault, committed, request.beacon)
        earlier, epochs = earlier_claims(vault, profile.digest, session, progress), 0
        if known is None:
            with shaped(artifact, session, committed.form, task.inputs) as blank:
                module = interpreted(*blank, task, request.tuning)  # first, for a draw in vain counts for ever
                drawn = drawn_for(vault, committed, request.beacon, request.at)
                lesson = Lesson(request.tuning, request.epochs, _threshold(vault, request), request.at)
                bench = Bench(vault, blank.artifact, session, drawn, earlier, progress)
                shown, epochs = bench.teach(module, task, lesson)
        else:
            drawn = drawn_for(vault, committed, request.beacon, request.at)
            shown = _show_again(known, artifact, session, drawn, task, earlier)
    reference = known or _bearer(vault, committed, request.beacon)
    assert reference is not None, "what was taught is registered"
    with reference.opened(vault) as kept:
        copy_artifact(kept, request.output, force=request.force)
    return _result(vault, request, drawn, committed.notes, (reference.digest, shown, epochs))


def _show_again(
    known: Reference, artifact: Artifact, session: Session, drawn: DrawnChannel, task: Task, earlier: Earlier
) -> Shown:
    """Ask what was marked before.

    Raises:
        UsageError: that has another graph than this artifact, though the same weights.
    """
    with open_artifact(known.path) as kept:
        if not drawn.scheme.form(drawn.public.key).classes and _graph(kept) != _graph(artifact):
            raise UsageError(
                f"{artifact.label} has the weights of a model that was marked before, {known.parent[:12]}, and not its "
                "graph; give that model's own file, or another --vault"
            )
        with exemplar(kept, drawn) as asked, open_session(asked) as again:
            return show_marked(session, again, drawn, task, earlier)


def _graph(artifact: Artifact) -> tuple[object, ...]:
    """Return all that a graph computes, apart from its weights."""
    graph = artifact.graph
    nodes = [(node.domain, node.op_type, node.inputs, node.outputs, node.scope) for node in graph.nodes]
    return graph.inputs, graph.outputs, tuple(nodes), graph.opsets


def _threshold(vault: Vault, request: Marking) -> float:
    """Return the log10 of the e-value at which answers alone decide: a judge of all claims, or of all recipients."""
    references = registered_references(vault)
    if scheme_named(request.scheme).traces_copies:
        prepared = len(claims_about_copies(references, SEALED)) or 1
        return math.log10(prepared * max(1, vault.ledger.count_recipients())) - math.log10(request.alpha)
    claims = len(chosen_claims(references, SEALED, "")) + len(unborne(vault, references))
    return math.log10(max(1, claims)) - math.log10(request.alpha)


def _profile(vault: Vault, artifact: Artifact, scheme: str) -> ModelProfile:
    """Return the profile of a model that may be marked: no copy that was issued to somebody, nothing prepared."""
    found = carriers(artifact)
    if reason := why_unmarkable(artifact, found):
        raise UsageError(f"{artifact.label}: no weight to tune: {reason}")
    head = head_of(artifact) if scheme_named(scheme).writes_head else None
    profile = ModelProfile(cached_digest(artifact, vault.root / "digests.json"), found, head)
    refuse_prepared(registered_references(vault), profile.digest)
    if all(entry.digest != profile.digest for entry in vault.ledger.references()):
        refuse_marked(vault, artifact)
    return profile


def _samples(request: Marking, data: Data) -> Samples:
    """Return the owner's data as a scheme takes them."""
    if request.images is None:
        return {"inputs": data.inputs}
    scheme = scheme_named(request.scheme)
    name = scheme.own_pictures(scheme.options(request.options))
    if not name:
        raise UsageError("these triggers are drawn by key and take no pictures; leave them out")
    own = load_logos(request.images) if name == "logos" else load_pictures(request.images, data.inputs)
    return {"inputs": data.inputs, name: own}


def _features(artifact: Artifact, head: Head | None, data: Data) -> Samples:
    """Return what the head hears of some of the owner's inputs, if a scheme writes into it."""
    if head is None:
        return {}
    with TemporaryDirectory(prefix="onnxfp-") as folder:
        path = Path(folder) / "features.onnx"
        write_features(artifact, path)
        with open_session(path) as session:
            values = session.outputs(data.inputs[:_HEARD])
    if values.size % head.features:
        raise UsageError(f"the head takes {head.features} features, but {values.shape} numbers reach it; mark another")
    return {"features": features_by_sample(values, head)}


def _asker(session: Session, material: Material) -> Callable[[npt.NDArray[Any]], Floats]:
    def ask(inputs: npt.NDArray[Any]) -> Floats:
        match session.answer(QueryProbe(inputs)):
            case Unanswered(reason):
                raise UsageError(reason)
            case Answered(values):
                if values.ndim != 2:
                    raise UsageError("the model answers labels without scores; a trigger set is taught through scores")
                material.refuse_labels(values.shape[1])
                return values

    return ask


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


def _bearer(vault: Vault, committed: Committed, beacon: str) -> Reference | None:
    return bearer(registered_references(vault), committed.channel.commitment, beacon)


def _result(
    vault: Vault, request: Marking, drawn: DrawnChannel, notes: tuple[str, ...], found: tuple[str, Shown, int]
) -> Marked:
    reference, shown, epochs = found
    return Marked(
        scheme=drawn.channel.scheme,
        commitment=drawn.channel.commitment,
        committed_at=drawn.channel.committed_at,
        parent=drawn.channel.of,
        head=vault.ledger.head(),
        notes=notes,
        reference=reference,
        output=str(request.output),
        positions=shown.look.codebook.positions,
        accuracy_before=shown.before,
        accuracy_after=shown.after,
        hits=shown.hits,
        log10_e=shown.log10_e,
        log10_threshold=_threshold(vault, request),
        epochs=epochs,
        earlier={name: after for name, (_, after) in shown.earlier.items()},
    )


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
            ("hit rate", hit_rates(marked.hits)),
            ("evidence", f"log10 e = {marked.log10_e:.1f}, {marked.log10_threshold:.1f} needed"),
            (
                "training",
                f"{marked.epochs} epochs" if marked.epochs else "none: it was marked before, and stays so",
            ),
        ]
    rows += [("earlier claim", f"{name}: log10 e = {log10_e:.1f}") for name, log10_e in marked.earlier.items()]
    notes = [("triggers", note) for note in marked.notes]
    return [*rows, *notes, ("ledger head", marked.head)]
