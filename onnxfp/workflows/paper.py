"""Paper mode: what DeepMarks' published decoder says of a suspect. There is no bound on its framing an innocent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from onnxfp.artifact import Artifact, open_artifact
from onnxfp.codes.catalogue import COLUMN_CODES
from onnxfp.domain import Unanswered
from onnxfp.schemes.deepmarks import NO_BOUND, PaperDecode, paper_decode
from onnxfp.workflows.channels import RECIPIENT, DrawnChannel
from onnxfp.workflows.digests import cached_digest
from onnxfp.workflows.judge import Question, log_look, registered_references
from onnxfp.workflows.reference import Reference
from onnxfp.workflows.suspects import open_beside_reference
from onnxfp.workflows.vault import Vault


@dataclass(frozen=True)
class PaperTrace:
    """The published decoder's answer for one reference. Not a verdict."""

    reference: str
    code: str
    coefficients: tuple[float, ...]
    single: tuple[str, ...]
    """Who holds the word that was read, if anybody does."""
    coalition: tuple[str, ...]
    """The at most k - 1 recipients whose words AND to what was read."""
    superset: tuple[str, ...]
    """Everybody whose word covers what was read."""
    unread: str
    """Why nothing could be decoded."""
    bound: str = NO_BOUND


def paper_trace(vault: Vault, question: Question) -> tuple[PaperTrace, ...]:
    """Decode a suspect against every reference whose copies hold published words; a look like any other."""
    vault.ledger.verify()
    recipients = vault.ledger.recipients()
    with open_artifact(question.suspect, allow_links=question.allow_links) as suspect:
        identity = cached_digest(suspect, vault.root / "digests.json")
        log_look(vault, identity, question.alpha, question.at, ["paper", len(recipients)])
        return tuple(
            found
            for reference in registered_references(vault)
            for channel in reference.drawn(vault, RECIPIENT)
            if channel.public.key.code.name in COLUMN_CODES
            for found in _decoded(vault, reference, channel, suspect, recipients)
        )


def _decoded(
    vault: Vault, reference: Reference, channel: DrawnChannel, suspect: Artifact, recipients: tuple[str, ...]
) -> Iterator[PaperTrace]:
    code = COLUMN_CODES[channel.public.key.code.name]
    with ExitStack() as files:
        opened = open_beside_reference(vault, reference, suspect, files)
        probes = channel.scheme.probes(channel.public)
        answers = [opened if isinstance(opened, Unanswered) else opened.answer(probe) for probe in probes]
    signs = code.signs(channel.secret, channel.public.codebook.positions)
    holders = {code.column(channel.secret, name): name for name in recipients}
    match paper_decode(channel.public, answers, signs):
        case Unanswered(reason):
            yield PaperTrace(reference.digest, code.name, (), (), (), (), reason)
        case PaperDecode() as decode:
            single = () if decode.single is None else (decode.single,)
            columns = (single, decode.coalition or (), decode.superset)
            alone, together, covered = (
                tuple(holders.get(column, f"column {column}") for column in group) for group in columns
            )
            coefficients = tuple(decode.coefficients.tolist())
            yield PaperTrace(reference.digest, code.name, coefficients, alone, together, covered, "")


def paper_rows(found: tuple[PaperTrace, ...]) -> list[tuple[str, str]]:
    """Return what a person wants to see."""
    rows = [("paper mode", NO_BOUND)]
    for trace in found:
        rows += [
            ("reference", f"{trace.reference} ({trace.code})"),
            ("single copy of", ", ".join(trace.single) or "nobody"),
            ("coalition of", ", ".join(trace.coalition) or "nobody"),
            ("covered", ", ".join(trace.superset) or "nobody"),
        ]
        rows += [("unread", trace.unread)] if trace.unread else []
    return rows
