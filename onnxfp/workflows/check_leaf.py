"""Does a suspect know one leaf's word? Asked by whoever was given that leaf; needs no vault and no key."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from onnxfp.domain import Decision, Symbols, Verdict
from onnxfp.suspect.interface import Suspect
from onnxfp.verdict.betting import log10_e
from onnxfp.verdict.look import Look
from onnxfp.verdict.verify import verify
from onnxfp.workflows.judge import Progress
from onnxfp.workflows.leaf_file import ShownLeaf, read_leaf
from onnxfp.workflows.reaching import SuspectAt, asked
from onnxfp.workflows.talk import Talk

_ENOUGH = 0.5  # of what was sent must have been answered, or the suspect did not do what it should

NULL = (
    "The suspect is independent of the {positions} symbols of this one leaf; over the draw of the leaf, it is then "
    "called supported with probability at most {alpha:.3g}. Supported says that this suspect knows the symbols of this "
    "leaf. It assumes that the leaf was drawn honestly, and fixed before anybody could know what the suspect answers: "
    "compare the leaf digest with one that was noted before. It says nothing of who else could have known the symbols; "
    "the owner always could."
)


@dataclass(frozen=True)
class LeafChecking:
    """What is asked of `check_leaf`."""

    file: Path
    suspect: SuspectAt = field(default_factory=SuspectAt)
    alpha: float = 1e-6


@dataclass(frozen=True)
class CheckedLeaf:
    """What a suspect knows of one leaf's word; its fields are those of the JSON."""

    decision: str
    """``supported``, ``not_supported`` or ``inconclusive``."""
    reason: str
    recipient: str
    reference: str
    scheme: str
    claim: str
    beacon: str | None
    committed_at: str
    issued_at: str
    """When the copy was issued, as the file says; unlike all above, the digest does not bind it."""
    leaf: str
    """Digest of the leaf and of all that was asked, to be compared with one that was noted before."""
    positions: int
    queries: int
    hits: int | None
    """Triggers that were answered with the leaf's symbol; None when nothing could be read."""
    hits_possible: int
    log10_e: float | None
    log10_threshold: float
    p_value: float | None
    """Exact: how often a leaf drawn anew would be hit as often. The number of queries was fixed beforehand."""
    alpha: float
    null: str
    unread: tuple[str, ...]
    transforms: tuple[str, ...]
    provider: str | None

    @property
    def outcome(self) -> Decision:
        """What the exit status says."""
        return Decision(self.decision)


def check_leaf(request: LeafChecking, progress: Progress = lambda step: None) -> CheckedLeaf:
    """Say whether a suspect knows the word of the leaf that a file shows.

    Raises:
        UsageError: the file shows no leaf, or the suspect cannot be asked as was said.
        ArtifactError: the suspect is a file, and no model that can be read.
    """
    request.suspect.check()
    shown, issued_at = read_leaf(request.file)
    with asked(request.suspect) as suspect:
        progress(f"asking {len(shown.inputs)} triggers")
        return check_shown(shown, issued_at, suspect, request.alpha)


def check_shown(shown: ShownLeaf, issued_at: str, suspect: Suspect, alpha: float) -> CheckedLeaf:
    """Ask a suspect all triggers of a leaf, once, and weigh the one word that hangs on it."""
    talk = Talk(shown.probe)
    talk.take(range(len(shown.inputs)), suspect.answer(shown.probe))
    return _checked(shown, issued_at, verify([_look(shown, talk, alpha)], alpha))


def _look(shown: ShownLeaf, talk: Talk, alpha: float) -> Look:
    word, codebook = shown.word, shown.codebook
    heard = [talk.answered(row) for row in range(len(shown.inputs))]
    best = float(log10_e(shown.known(heard), codebook, word)[0])
    decisive = best >= -math.log10(alpha)

    def the_word(names: Sequence[str]) -> Symbols:
        return np.repeat(word, len(names), axis=0)

    return Look(
        shown.whose.scheme,
        codebook,
        the_word,
        independent=True,
        reading=shown.read(talk.response(talk.share)),
        committed_at=shown.whose.committed_at,
        queries=talk.sent,
        fixed=True,
        asks=True,
        unfit=talk.unfit,
        decisive=decisive,
        cut=any(heard) and not all(heard) and not decisive,
        failed=talk.share < _ENOUGH and not talk.unfit,
    )


def _checked(shown: ShownLeaf, issued_at: str, verdict: Verdict) -> CheckedLeaf:
    whose, (found,) = shown.whose, verdict.claims
    return CheckedLeaf(
        decision=verdict.decision.value,
        reason=verdict.reason,
        recipient=whose.recipient,
        reference=whose.reference,
        scheme=whose.scheme,
        claim=whose.claim,
        beacon=whose.beacon or None,
        committed_at=whose.committed_at,
        issued_at=issued_at,
        leaf=shown.digest,
        positions=found.positions,
        queries=found.queries,
        hits=found.points,
        hits_possible=found.most,
        log10_e=found.log10_e,
        log10_threshold=verdict.log10_threshold,
        p_value=None if found.p_value is None else max(found.p_value, 1e-300),
        alpha=verdict.alpha,
        null=NULL.format(positions=found.positions, alpha=verdict.alpha),
        unread=verdict.unread,
        transforms=verdict.transforms,
        provider=verdict.provider or None,
    )


def checked_rows(checked: CheckedLeaf) -> list[tuple[str, str]]:
    """Return what a person wants to see."""
    rows = [
        ("decision", checked.decision.upper().replace("_", " ")),
        ("why", checked.reason),
        ("recipient", checked.recipient),
        ("reference", checked.reference),
        ("claim", f"{checked.scheme} {checked.claim}"),
        ("beacon", checked.beacon),
        ("committed at", checked.committed_at),
        ("issued at", f"{checked.issued_at}, says the file" if checked.issued_at else ""),
        ("leaf digest", checked.leaf),
        ("hits", _hits(checked)),
        ("evidence", _evidence(checked)),
        ("what it says", checked.null),
        *(("unread", reason) for reason in checked.unread),
        *(("undone", done) for done in checked.transforms),
        ("answered by", checked.provider),
    ]
    return [(name, value) for name, value in rows if value]


def _hits(checked: CheckedLeaf) -> str:
    if checked.hits is None:
        return f"none of {checked.queries} triggers could be read"
    answered = f"{checked.hits} of {checked.hits_possible}"
    asked_too = "" if checked.hits_possible == checked.queries else f" answered, {checked.queries} asked"
    return f"{answered}{asked_too}; a leaf drawn anew does as well with probability {checked.p_value:.2g}"


def _evidence(checked: CheckedLeaf) -> str:
    if checked.log10_e is None:
        return f"nothing was read; log10 e = {checked.log10_threshold:.1f} needed"
    return f"log10 e = {checked.log10_e:.1f}, {checked.log10_threshold:.1f} needed (alpha {checked.alpha:.3g})"
