"""Results as plain values, ready for JSON: complete, stable, and free of secrets."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from onnxfp import __version__
from onnxfp.domain import ClaimEvidence, Verdict
from onnxfp.report.printable import printable_json


def verdict_to_plain(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict as JSON shows it."""
    return {
        "decision": verdict.decision.value,
        "question": verdict.question,
        "scheme": verdict.scheme,
        "accused": list(verdict.accused),
        "log10_e": _number(verdict.log10_e),
        "log10_threshold": _number(verdict.log10_threshold),
        "p_value": _probability(verdict.p_value),
        "alpha": verdict.alpha,
        "recipients_tested": verdict.recipients_tested,
        "evidence": [{"name": item.name, "log10_e": _number(item.log10_e)} for item in verdict.evidence],
        "null": verdict.null,
        "reason": verdict.reason,
        "disagreement": verdict.disagreement or None,
        "committed_at": verdict.committed_at or None,
        "unread": list(verdict.unread),
        "transforms": list(verdict.transforms),
        "claims": [_contribution(claim) for claim in verdict.claims],
        "queries": verdict.queries,
        "ordinary_queries": verdict.ordinary,
        "provider": verdict.provider or None,
        "replayed_from": verdict.replayed_from or None,
        "onnxfp_version": __version__,
    }


def _contribution(claim: ClaimEvidence) -> dict[str, Any]:
    """Return what one claim contributed, as JSON shows it."""
    return {
        "claim": claim.claim,
        "scheme": claim.scheme,
        "channel": claim.channel or None,
        "named": list(claim.named),
        "log10_e": _number(claim.log10_e),
        "p_value": _probability(claim.p_value),
        "positions": claim.positions,
        "queries": claim.queries,
        "hits": claim.points,
        "hits_possible": claim.most,
        "queries_fixed": claim.fixed,
        "provider": claim.provider or None,
        "unread": list(claim.unread),
    }


def to_plain(value: Any) -> Any:
    """Return any result as plain values: verdicts as above, other records field by field."""
    if isinstance(value, (tuple, list)):
        return [to_plain(item) for item in value]
    if is_dataclass(value) and not isinstance(value, (type, Verdict)):
        return {**_parts(value), "onnxfp_version": __version__}
    return _part(value)


def to_json(value: Any) -> str:
    """Return a result as indented JSON without NaN."""
    return printable_json(json.dumps(to_plain(value), indent=2, allow_nan=False, ensure_ascii=False))


def _number(value: float | None) -> float | None:
    """Return a number that JSON has; an e-value of 0 has no logarithm and becomes null."""
    return None if value is None or value in (float("inf"), float("-inf")) else round(value, 6)


def _probability(value: float | None) -> float | None:
    """Return a probability that is never 0: it is a bound, and a larger one is one too."""
    return None if value is None else max(value, 1e-300)


def _part(value: Any) -> Any:
    """Return what stands inside a result."""
    match value:
        case Verdict():
            return verdict_to_plain(value)
        case tuple() | list():
            return [_part(item) for item in value]
        case Mapping():
            return {str(key): _part(item) for key, item in value.items()}
        case float() if math.isinf(value):  # an e-value of 0, as above
            return None
    return _parts(value) if is_dataclass(value) and not isinstance(value, type) else value


def _parts(record: Any) -> dict[str, Any]:
    return {field.name: _part(getattr(record, field.name)) for field in fields(record)}
