"""Results as short tables for people; no row does anything to a terminal but be shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from onnxfp.domain import Decision, Verdict
from onnxfp.report.printable import printable

_HEADLINES = {
    ("trace", Decision.SUPPORTED): "NAMED",
    ("trace", Decision.NOT_SUPPORTED): "NOBODY NAMED",
    ("verify", Decision.SUPPORTED): "OURS",
    ("verify", Decision.NOT_SUPPORTED): "NOT SUPPORTED",
}


def verdict_text(verdict: Verdict) -> str:
    """Return a verdict in a few lines: the answer, the evidence, the null, what could not be read."""
    return "\n".join(map(printable, _lines(verdict)))


def table(rows: Sequence[tuple[str, str]]) -> str:
    """Return two aligned columns."""
    shown = [(printable(name), printable(value)) for name, value in rows]
    width = max((len(name) for name, _ in shown), default=0)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in shown)


def _lines(verdict: Verdict) -> Iterator[str]:
    headline = _HEADLINES.get((verdict.question, verdict.decision), "INCONCLUSIVE")
    yield f"{headline}: {', '.join(verdict.accused)}" if verdict.accused else headline
    if verdict.disagreement:
        yield f"DISAGREEMENT: {verdict.disagreement}"
    if verdict.reason:
        yield verdict.reason
    width = max((len(item.name) for item in verdict.evidence), default=0)
    for item in verdict.evidence:
        mark = "*" if item.log10_e >= verdict.log10_threshold else " "
        yield f"  {mark} {item.name:<{width}}  log10 e = {item.log10_e:10.2f}"
    yield f"    needed: log10 e >= {verdict.log10_threshold:.2f} (alpha {verdict.alpha:.3g}{_among(verdict)})"
    if verdict.evidence:
        yield f"    null: {verdict.null}"
    yield from _contributions(verdict)
    if verdict.replayed_from:
        yield f"    made again from the transcript of a look at {verdict.replayed_from}"
    yield from (f"    unread: {reason}" for reason in verdict.unread)
    yield from (f"    undone: {done}" for done in verdict.transforms)


def _contributions(verdict: Verdict) -> Iterator[str]:
    """Yield what each claim contributed, and how many queries it took."""
    if not verdict.claims:
        return
    titles = [f"{claim.channel}: {claim.claim}" if claim.channel else claim.claim for claim in verdict.claims]
    width = max(map(len, titles))
    yield f"    {'claim':<{width}}  {'log10 e':>8}  {'p <=':>8}  {'queries':>7}  {'hits':>7}"
    for title, claim in zip(titles, verdict.claims, strict=True):
        if claim.log10_e is None:
            yield f"    {title:<{width}}  {'nothing could be read':>8}"
            continue
        p_value = max(claim.p_value or 0.0, 1e-300)
        hits = "" if claim.points is None else f"{claim.points}/{claim.most}"
        asked = str(claim.queries) if claim.queries else ""
        named = f"  names {', '.join(claim.named)}" if claim.named else ""
        numbers = f"{claim.log10_e:8.2f}  {p_value:8.2g}  {asked:>7}  {hits:>7}"
        yield f"    {title:<{width}}  {numbers}{named}".rstrip()
    if verdict.provider:
        hidden = f", among {verdict.ordinary} ordinary inputs" if verdict.ordinary else ""
        yield f"    {verdict.queries} queries{hidden}; answered by {verdict.provider}"


def _among(verdict: Verdict) -> str:
    return f", {verdict.recipients_tested} recipients" if verdict.question == "trace" else ""
