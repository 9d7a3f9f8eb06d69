"""The transcript of a look: every answer with the digest of what was asked, so that the verdict can be made again."""

from __future__ import annotations

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
from onnxfp.suspect.interface import Suspect
from onnxfp.workflows.recorded import Recorded, input_digests, probe_digest

VERSION = 1
_LARGEST = 256 << 20  # bytes of a transcript that is read


@final
@dataclass
class Transcript:
    """What was asked and answered. It names no key label: whoever has the vault can weigh it, nobody else."""

    facts: dict[str, Any] = field(default_factory=dict)
    """Who was examined, when, at which alpha, with which settings and claims."""
    answers: list[dict[str, Any]] = field(default_factory=list)

    def of(self, suspect: Suspect) -> Suspect:
        """Return the suspect, with every answer taken down."""
        return _Overheard(suspect, self)

    def write(self, path: Path, *, force: bool) -> None:
        """Write it; the file appears whole or not at all."""
        document = {"version": VERSION, "onnxfp_version": __version__, **self.facts, "answers": self.answers}
        write_whole(path, json.dumps(document, indent=1, allow_nan=False).encode(), force=force)


@final
@dataclass(frozen=True)
class _Overheard:
    """A suspect whose answers are taken down."""

    suspect: Suspect
    transcript: Transcript

    def answer(self, probe: Probe) -> Response:
        """Answer, and take it down."""
        response = self.suspect.answer(probe)
        self.transcript.answers.append({**_asked(probe), **_answered(response)})
        return response


def read_transcript(path: Path) -> tuple[Mapping[str, Any], Recorded]:
    """Return the facts of a transcript and a suspect that answers what it took down.

    Raises:
        UsageError: it is no transcript.
    """
    try:
        with path.open("rb") as file:
            document = json.loads(file.read(_LARGEST))
        if document["version"] != VERSION:
            raise ValueError(f"version {document['version']!r:.20}")
        recorded = Recorded()
        for item in document["answers"]:
            _take(recorded, item)
        facts = {name: document[name] for name in ("suspect", "at", "alpha", "besides", "settings", "claims")}
        _check(facts)
    except OSError as problem:
        raise UsageError(f"{path} cannot be read: {problem.strerror}; name a transcript") from problem
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError, OverflowError) as problem:
        raise UsageError(f"{path} is no transcript of version {VERSION}: {str(problem)[:100]!r}") from problem
    return facts, recorded


def _check(facts: Mapping[str, Any]) -> None:
    kinds = {"suspect": str, "at": str, "alpha": float, "besides": int, "settings": dict, "claims": list}
    for name, kind in kinds.items():
        if not isinstance(facts[name], kind):
            raise TypeError(f"{name} is {type(facts[name]).__name__}")
    if not 0 < facts["alpha"] < 1 or facts["besides"] < 0:
        raise ValueError("alpha is no probability")


def _asked(probe: Probe) -> dict[str, Any]:
    match probe:
        case WeightProbe():
            return {"weights": probe_digest(probe)}
        case QueryProbe():
            return {"inputs": input_digests(probe.inputs)}
    assert_never(probe)


def _answered(response: Response) -> dict[str, Any]:
    match response:
        case Unanswered(reason):
            return {"unanswered": reason, "unfit": response.unfit}
        case Answered(values):
            return {
                "values": [_plain(row) for row in values] if values.ndim > 1 else _plain(values),
                "coverage": response.coverage,
                "unread": list(response.unread),
                "transforms": list(response.transforms),
                "provider": response.provider,
            }
    assert_never(response)


def _plain(row: Any) -> list[float | str | None]:
    """Return numbers as JSON has them: null for NaN, text for what is infinite."""
    return [float(value) if np.isfinite(value) else None if np.isnan(value) else repr(float(value)) for value in row]


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def _take(recorded: Recorded, item: Mapping[str, Any]) -> None:
    """Add one answer of a transcript to what is recorded."""
    if "unanswered" in item:
        silent = Unanswered(str(item["unanswered"])[:500], bool(item["unfit"]))
        if "weights" in item:
            recorded.weights[str(item["weights"])] = silent
        for digest in item.get("inputs", ()):
            recorded.reasons[str(digest)] = silent
        return
    rows = [
        np.atleast_1d([_number(v) for v in row] if isinstance(row, list) else _number(row)) for row in item["values"]
    ]
    unread, transforms = tuple(map(str, item["unread"])), tuple(map(str, item["transforms"]))
    if "weights" in item:
        values = np.concatenate(rows) if rows else np.zeros(0)
        recorded.weights[str(item["weights"])] = Answered(values, float(item["coverage"]), unread, transforms)
        return
    digests = [str(digest) for digest in item["inputs"]]
    for digest, row in zip(digests, rows, strict=True):
        recorded.queries[digest].append(row)
    recorded.notes[digests[0]] = unread
    recorded.provider = str(item["provider"])
