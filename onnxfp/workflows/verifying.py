"""All ways to verify: a file, an endpoint, answers from elsewhere, a transcript; or triggers to be sent elsewhere."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxfp.artifact import check_target, write_whole
from onnxfp.domain import QueryProbe, Verdict
from onnxfp.errors import UsageError
from onnxfp.suspect.outputs import Unreadable, class_answers
from onnxfp.workflows.arrays import read_npz
from onnxfp.workflows.channels import OWNER
from onnxfp.workflows.claims import OwnersClaim, about_other_data, chosen_claims
from onnxfp.workflows.judge import Progress, registered_references
from onnxfp.workflows.looking import ANYWHERE
from onnxfp.workflows.pool_data import PoolData, PoolsAt, open_pool_data
from onnxfp.workflows.reaching import SuspectAt, reached, refuse_ignored
from onnxfp.workflows.recorded import Recorded, input_digests
from onnxfp.workflows.suspects import SEALED, Examined, ExaminedSealed
from onnxfp.workflows.transcript import Transcript, read_transcript, seal_key
from onnxfp.workflows.vault import Vault, refuse_inside_vault
from onnxfp.workflows.verify import Asking, replay, verify_suspect


@dataclass(frozen=True)
class VerifyRequest:
    """All that a person may say."""

    at: str
    """Now, UTC, ISO 8601."""
    suspect: SuspectAt = field(default_factory=SuspectAt)
    alpha: float = 1e-6
    claim: str = ""
    limit: int = 0
    fixed: bool = False
    twice: bool = False
    camouflage: int = 0
    transcript: Path | None = None
    replay: Path | None = None
    queries: Path | None = None
    responses: Path | None = None
    force: bool = False
    dated: str = ""
    pools: PoolsAt = field(default_factory=PoolsAt)

    def asking(self) -> Asking:
        """Return how much is asked; of answers that are there already, all."""
        fixed, dated = self.fixed or self.responses is not None, _date(self.dated)
        return Asking(self.alpha, self.at, self.claim, self.limit, fixed, self.twice, self.camouflage, dated)


def _date(text: str) -> str:
    """Return a date as the ledger has it: UTC, ISO 8601; a day is its beginning, so that nothing later counts.

    Raises:
        UsageError: it is none.
    """
    try:
        date = datetime.fromisoformat(text) if text else None
        return "" if date is None else _utc(date).isoformat(timespec="seconds")
    except (ValueError, OverflowError) as problem:
        raise UsageError(f"--dated {text!r:.40} is no date; give one such as 2026-01-31") from problem


def _utc(date: datetime) -> datetime:
    return date.replace(tzinfo=UTC) if date.tzinfo is None else date.astimezone(UTC)


def verify_request(
    vault: Vault, request: VerifyRequest, progress: Progress, say: Callable[[str], None]
) -> Verdict | None:
    """Do what was asked; None when triggers were only written out.

    Raises:
        UsageError: not exactly one suspect was named, or what was named cannot be used.
    """
    named = ["suspect"] if request.suspect.where is not None else []
    named += [way for way in ("replay", "queries", "responses") if getattr(request, way) is not None]
    if len(named) != 1:
        raise UsageError(
            f"expected one of a suspect (a file or a URL), --replay, --queries and --responses, found "
            f"{' and '.join(named) or 'none'}"
        )
    _refuse_ignored(request)
    request.asking()  # what cannot be meant is refused before anything is read
    with open_pool_data(vault, request.pools) as data:
        if request.queries is not None:
            count = export_queries(vault, request.queries, request, data)
            say(f"{count} triggers written to {request.queries}: they are spent, whoever sees them can filter them.")
            return None
        if request.replay is not None:
            facts, recorded = read_transcript(request.replay, seal_key(vault))
            return replay(vault, facts, recorded, progress, data)
        return _verified(vault, request, data, progress)


def _verified(vault: Vault, request: VerifyRequest, data: PoolData | None, progress: Progress) -> Verdict:
    transcript = None if request.transcript is None else Transcript()
    if request.transcript is not None:
        refuse_inside_vault(request.transcript)
        check_target(request.transcript, force=request.force)
    with _examined(vault, request, data) as suspect:
        verdict = verify_suspect(vault, suspect, request.asking(), progress, transcript, data)
    if transcript is not None and request.transcript is not None:
        transcript.write(request.transcript, force=request.force, key=seal_key(vault))
    return verdict


def _refuse_ignored(request: VerifyRequest) -> None:
    asks_nobody = (request.replay or request.queries) is not None
    refuse_ignored({"--transcript": request.transcript is not None and asks_nobody}, "this kind of suspect")
    if request.replay is not None:
        said = {"--alpha": request.alpha != VerifyRequest.alpha, "--claim": request.claim, "--fixed": request.fixed}
        said |= {"--max-queries": request.limit, "--twice": request.twice, "--camouflage": request.camouflage}
        refuse_ignored({**said, "--dated": request.dated}, "a transcript, which has all that was chosen")
    request.suspect.check()


@contextmanager
def _examined(vault: Vault, request: VerifyRequest, data: PoolData | None) -> Iterator[Examined]:
    if request.responses is not None:
        yield _responses(vault, request.responses, request.claim, data)
    else:
        with reached(vault, request.suspect) as suspect:
            yield suspect


def export_queries(vault: Vault, path: Path, request: VerifyRequest, data: PoolData | None = None) -> int:
    """Write all triggers of the chosen claims to an ``.npz``, and record them as spent; return how many.

    Raises:
        UsageError: there is no claim, or their inputs differ in form, or the file cannot be written.
    """
    refuse_inside_vault(path)
    check_target(path, force=request.force)
    vault.ledger.verify()
    inputs, positions, claims = _triggers(vault, request.claim, data)
    for claim, count in zip(claims, positions, strict=True):
        vault.ledger.spend(claim.triggers, ANYWHERE, range(count), request.at)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, inputs=inputs, ids=np.asarray(input_digests(inputs)))
    write_whole(path, buffer.getvalue(), force=request.force)
    return len(inputs)


def _triggers(
    vault: Vault, claim_name: str, data: PoolData | None
) -> tuple[npt.NDArray[Any], list[int], tuple[OwnersClaim, ...]]:
    """Return the triggers of some claims in a row (samples, ...), how many positions each claim has, and the claims."""
    references = registered_references(vault)
    claims = chosen_claims(references, SEALED, claim_name, data)
    if not claims:
        why = about_other_data(references, OWNER, data) or "mark a model first, with `onnxfp mark`"
        raise UsageError(f"no claim can be asked: {why}")
    inputs, positions = [], []
    for claim in claims:
        public = claim.draw(vault).public
        probes = [p for p in claim.scheme.probes(public) if isinstance(p, QueryProbe)]
        inputs += [np.asarray(probe.inputs) for probe in probes]
        positions.append(max((len(probe.inputs) - probe.before) // probe.each for probe in probes))
    if len({(part.dtype, part.shape[1:]) for part in inputs}) > 1:
        raise UsageError(f"the claims ask inputs of different forms; name one: {', '.join(c.name for c in claims)}")
    return np.concatenate(inputs), positions, claims


def _responses(vault: Vault, path: Path, claim: str, data: PoolData | None) -> ExaminedSealed:
    """Return the answers that somebody else collected, in the order of the triggers or with their ids.

    Raises:
        UsageError: they cannot be read, or are not as many.
    """
    outputs = read_npz(path, "the model's outputs")
    triggers, *_ = _triggers(vault, claim, data)
    ids = [str(one) for one in outputs.pop("ids", np.asarray(input_digests(triggers))).reshape(-1)]
    try:
        values = class_answers(list(outputs.items()), len(ids))
    except Unreadable as problem:
        raise UsageError(f"{path}: {problem}; give one answer for each of {len(ids)} triggers, in order") from problem
    recorded = Recorded(provider="somebody else's runtime")
    for digest, row in zip(ids, values, strict=True):
        recorded.queries[digest].append(np.atleast_1d(row))
    told = hashlib.sha256(b"".join(digest.encode() + row.tobytes() for digest, row in zip(ids, values, strict=True)))
    return ExaminedSealed("responses", recorded, knows=recorded.knows, repeats=told.hexdigest())
