"""The transcript of a look: every answer with the digest of what was asked, so that the verdict can be made again."""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, assert_never, final

import numpy as np

from onnxfp import __version__
from onnxfp.artifact import write_whole
from onnxfp.domain import Answered, Probe, QueryProbe, Response, Unanswered, WeightProbe
from onnxfp.errors import UsageError
from onnxfp.keys.keystream import Keystream
from onnxfp.suspect.interface import Suspect
from onnxfp.workflows.recorded import Recorded, input_digests, probe_digest
from onnxfp.workflows.vault import Vault

VERSION = 1
_LARGEST = 32 << 20  # bytes of a transcript that is read
_MOST = 1 << 31  # claims, triggers or inputs that a transcript may speak of
_FACTS = {"suspect": str, "at": str, "alpha": float, "besides": int, "settings": dict, "claims": list, "spent": dict}
_LATER: dict[str, Any] = {"question": "verify", "recipients": 0}  # what the first transcripts did not say
_SETTINGS = {
    "claim": str, "channels": str, "limit": int, "fixed": bool, "twice": bool, "camouflage": int,
    "dated": str, "shadows": list, "augment": int,
}  # fmt: skip


@final
@dataclass
class Transcript:
    """What was asked and answered.

    Only who has the vault can weigh it; but a suspect that bears the mark answers the key labels themselves, so keep it
    like the vault.
    """

    facts: dict[str, Any] = field(default_factory=dict)
    """Who was examined, when, at which alpha, with which settings and claims, and what was spent before."""
    answers: list[dict[str, Any]] = field(default_factory=list)

    def of(self, suspect: Suspect, reference: str = "") -> Suspect:
        """Return the suspect beside a reference, with every answer taken down."""
        return _Overheard(suspect, self, reference)

    def write(self, path: Path, *, force: bool, key: bytes = b"") -> None:
        """Write it, sealed by a key; the file appears whole or not at all."""
        document = {"version": VERSION, "onnxfp_version": __version__, **self.facts, "answers": self.answers}
        document["seal"] = seal(document, key)
        write_whole(path, json.dumps(document, indent=1, allow_nan=False).encode(), force=force)


@final
@dataclass(frozen=True)
class _Overheard:
    """A suspect whose answers are taken down."""

    suspect: Suspect
    transcript: Transcript
    reference: str

    def answer(self, probe: Probe) -> Response:
        """Answer, and take it down."""
        response = self.suspect.answer(probe)
        self.transcript.answers.append({**_asked(probe, self.reference), **_answered(response)})
        return response


def seal(document: Mapping[str, Any], key: bytes) -> str:
    """Return what only who has the key can put under a transcript."""
    plain = json.dumps({name: value for name, value in document.items() if name != "seal"}, sort_keys=True)
    return hmac.digest(key, plain.encode(), "sha256").hex()


def seal_key(vault: Vault) -> bytes:
    """Return the key that seals the transcripts of a vault."""
    return Keystream(vault.owner.secret).derive("transcript").secret


def read_transcript(path: Path, key: bytes = b"", question: str = "verify") -> tuple[Mapping[str, Any], Recorded]:
    """Return the facts of a transcript and a suspect that answers what it took down.

    Raises:
        UsageError: it is no transcript, or that of another question.
    """
    try:
        with path.open("rb") as file:
            document = json.loads(file.read(_LARGEST))
        if document["version"] != VERSION:
            raise ValueError(f"version {document['version']!r:.20}")
        if not hmac.compare_digest(str(document["seal"]).encode(), seal(document, key).encode()):
            raise ValueError("it was changed, or is of another vault")
        recorded = Recorded()
        for item in document["answers"]:
            _take(recorded, item)
        facts = {name: document[name] for name in _FACTS}
        facts |= {name: document.get(name, value) for name, value in _LATER.items()}
        _check(facts)
    except OSError as problem:
        raise UsageError(f"{path} cannot be read: {problem.strerror}; name a transcript") from problem
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError, OverflowError) as problem:
        raise UsageError(f"{path} is no transcript of version {VERSION}: {str(problem)[:100]!r}") from problem
    if facts["question"] != question:
        raise UsageError(f"{path} is the transcript of another command; use `onnxfp {facts['question']:.20} --replay`")
    return facts, recorded


def _check(facts: Mapping[str, Any]) -> None:
    """Refuse facts that nobody could have written down; unknown settings are left to who replays."""
    settings = facts["settings"]
    known = {name: kind for name, kind in _SETTINGS.items() if name in settings}
    later = {name: type(value) for name, value in _LATER.items()}
    for values, kinds in ((facts, _FACTS), (facts, later), (settings, known)):
        for name, kind in kinds.items():
            if not isinstance(values[name], kind):
                raise TypeError(f"{name} is {type(values[name]).__name__}")
    if not 0 < facts["alpha"] < 1:
        raise ValueError("alpha is no probability")
    counts = (facts["besides"], facts["recipients"], *(settings[name] for name, kind in known.items() if kind is int))
    positions = [position for spent in facts["spent"].values() for position in spent]
    if not all(isinstance(claim, str) for claim in facts["claims"]) or not all(0 <= count < _MOST for count in counts):
        raise ValueError("claims or settings are none")
    if not all(isinstance(position, int) for position in positions):
        raise ValueError("what was spent are no positions")


def _asked(probe: Probe, reference: str) -> dict[str, Any]:
    match probe:
        case WeightProbe():
            return {"weights": probe_digest(probe, reference)}
        case QueryProbe():
            return {"inputs": input_digests(np.asarray(probe.inputs))}
    assert_never(probe)


def _answered(response: Response) -> dict[str, Any]:
    match response:
        case Unanswered(reason):
            return {"unanswered": reason, "unfit": response.unfit}
        case Answered(values):
            return {
                "values": _plain(values),
                "coverage": response.coverage,
                "unread": list(response.unread),
                "transforms": list(response.transforms),
                "provider": response.provider,
            }
    assert_never(response)


def _plain(values: Any) -> Any:
    """Return an array as JSON has it: lists of numbers, null for NaN, text for what is infinite."""
    if values.ndim:
        return [_plain(value) for value in values]
    return float(values) if np.isfinite(values) else None if np.isnan(values) else repr(float(values))


def _numbers(value: Any) -> Any:
    """Return what `_plain` wrote as numbers, in as many lists."""
    if isinstance(value, list):
        return [_numbers(one) for one in value]
    return float("nan") if value is None else float(value)


def _take(recorded: Recorded, item: Mapping[str, Any]) -> None:
    """Add one answer of a transcript to what is recorded."""
    response = _response(item)
    if "weights" in item:
        recorded.weights[str(item["weights"])] = response
    else:
        recorded.requests[tuple(map(str, item["inputs"]))].append(response)


def _response(item: Mapping[str, Any]) -> Response:
    if "unanswered" in item:
        return Unanswered(str(item["unanswered"]), bool(item["unfit"]))
    coverage = float(item["coverage"])
    if not 0 <= coverage <= 1:
        raise ValueError("a coverage is no share")
    unread, transforms = tuple(map(str, item["unread"])), tuple(map(str, item["transforms"]))
    values = np.asarray(_numbers(item["values"]), dtype=np.float64)
    return Answered(values, coverage, unread, transforms, str(item["provider"]))
