"""Does a suspect answer the additional class to the very picture that somebody presents? One answer, no evidence."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from onnxfp.domain import QueryProbe, Response, Unanswered
from onnxfp.errors import ArtifactError, UsageError
from onnxfp.stego.low_bits import shrink
from onnxfp.stego.payload import Pixels
from onnxfp.workflows.key_claims import KeyClaim
from onnxfp.workflows.reaching import SuspectAt, reached
from onnxfp.workflows.talk import Talk
from onnxfp.workflows.vault import Vault

YES, NO, UNKNOWN = "yes", "no", "unknown"

_REQUESTS = 4  # what it is, and one picture: whoever takes longer than as many timeouts has given no answer


NOBODY = SuspectAt()


def check_askable(suspect: SuspectAt) -> None:
    """Refuse what cannot be meant, before anything is read.

    Raises:
        UsageError: there is no such file, or an option says nothing about this kind of suspect.
    """
    suspect.check("the picture without --suspect")
    if suspect.file and not Path(str(suspect.where)).exists():
        raise UsageError(f"{suspect.where}: there is no such file; name a model or a URL with --suspect")


@dataclass(frozen=True)
class Honoured:
    """What a suspect made of one picture."""

    answer: str
    """``yes``, ``no``, or ``unknown`` where it could not be asked or gave no answer."""
    reason: str = ""
    provider: str = ""


def honoured_by(vault: Vault, suspect: SuspectAt, claim: KeyClaim, pixels: Pixels) -> Honoured:
    """Ask a suspect about one picture (height, width, channels), as it was issued.

    Raises:
        UsageError: the URL or an option cannot be used, or what is needed to ask is not installed.
    """
    seen = shrink(pixels, claim.capacity.scale)
    probe = QueryProbe(claim.images.inputs(seen[None]), classes=claim.images.label + 1)
    try:
        with reached(vault, replace(suspect, deadline=_REQUESTS * suspect.timeout)) as found:
            return _read(probe, found.outputs_for(probe), claim.images.label)
    except ArtifactError as problem:
        return Honoured(UNKNOWN, str(problem))


def _read(probe: QueryProbe, response: Response, label: int) -> Honoured:
    talk = Talk(probe)
    talk.take([0], response)
    row = talk.rows[0]
    if row is None:
        why = response.reason if isinstance(response, Unanswered) else "; ".join(talk.unread())
        return Honoured(UNKNOWN, why, talk.provider)
    answered = int(row[0] if len(row) == 1 else row.argmax())
    if answered == label:
        return Honoured(YES, provider=talk.provider)
    return Honoured(NO, f"it answers class {answered}, where the additional class is {label}", talk.provider)
