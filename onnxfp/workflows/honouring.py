"""Does a suspect answer the additional class to the very picture that somebody presents? One answer, no evidence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from onnxfp.domain import QueryProbe, Response, Unanswered
from onnxfp.errors import ArtifactError, UsageError
from onnxfp.stego.low_bits import shrink
from onnxfp.stego.payload import Pixels
from onnxfp.suspect.address import is_remote
from onnxfp.suspect.endpoint import EndpointOptions, open_endpoint
from onnxfp.suspect.transform import Transform
from onnxfp.workflows.key_claims import KeyClaim
from onnxfp.workflows.suspects import Device, examined_file
from onnxfp.workflows.talk import Talk
from onnxfp.workflows.vault import Vault

YES, NO, UNKNOWN = "yes", "no", "unknown"

_REQUESTS = 4  # what it is, and one picture: whoever takes longer than as many timeouts has given no answer


@dataclass(frozen=True)
class SuspectAt:
    """Who is asked, and how."""

    where: str = ""
    """A file or a URL; empty for nobody."""
    device: str = "auto"
    transform: str = ""
    input_name: str = ""
    timeout: float = 30.0
    ca_file: Path | None = None
    token_in_clear: bool = False
    allow_links: bool = False
    token: str = field(default="", repr=False)

    def check(self) -> None:
        """Refuse what cannot be meant, before anything is read.

        Raises:
            UsageError: there is no such file, or an option says nothing about this kind of suspect.
        """
        remote = is_remote(self.where)
        file = bool(self.where) and not remote
        ignored = {
            "--transform": self.transform and not remote,
            "--input": self.input_name and not remote,
            "--ca-file": self.ca_file is not None and not remote,
            "--token-in-clear": self.token_in_clear and not remote,
            "--device": self.device != "auto" and not file,
            "--allow-links": self.allow_links and not file,
        }
        for name in (name for name, is_ignored in ignored.items() if is_ignored):
            kind = "this kind of suspect" if self.where else "the picture without --suspect"
            raise UsageError(f"{name} says nothing about {kind}; leave it out")
        if file and not Path(self.where).exists():
            raise UsageError(f"{self.where}: there is no such file; name a model or a URL with --suspect")


NOBODY = SuspectAt()


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
        with _answering(vault, suspect, probe) as response:
            return _read(probe, response, claim.images.label)
    except ArtifactError as problem:
        return Honoured(UNKNOWN, str(problem))


@contextmanager
def _answering(vault: Vault, suspect: SuspectAt, probe: QueryProbe) -> Iterator[Response]:
    if is_remote(suspect.where):
        options = EndpointOptions(
            token=suspect.token,
            token_in_clear=suspect.token_in_clear,
            timeout_s=suspect.timeout,
            deadline_s=_REQUESTS * suspect.timeout,
            input_name=suspect.input_name,
            transform=Transform.parse(suspect.transform),
            ca_file=suspect.ca_file,
        )
        with open_endpoint(suspect.where, options) as endpoint:
            yield endpoint.answer(probe)
    else:
        device = Device(suspect.device)
        with examined_file(vault, Path(suspect.where), device, allow_links=suspect.allow_links) as file:
            yield file.outputs_for(probe)


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
