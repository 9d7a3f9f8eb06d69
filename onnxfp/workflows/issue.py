"""Issue one recipient's copy: reserve it in the ledger, mark it, read it back, deliver it, complete the ledger."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from onnxfp.artifact import Artifact, open_artifact, resolve, staged_copy
from onnxfp.codes.planner import MANY_RECIPIENTS, PLANNED, reachable_recipients, required_positions
from onnxfp.domain import Access
from onnxfp.embed.post_hoc import Change, relative_changes
from onnxfp.errors import CapacityError, FidelityError, UsageError
from onnxfp.keys.recipient import canonical_name
from onnxfp.ledger import IssueEntry
from onnxfp.schemes.interface import SchemeKey
from onnxfp.suspect.opened import OpenedWeights
from onnxfp.verdict.channels import together
from onnxfp.verdict.look import ANSWERS, WEIGHTS, Look, weigh
from onnxfp.workflows.channels import OWNER, RECIPIENT, DrawnChannel
from onnxfp.workflows.digests import cached_digest
from onnxfp.workflows.fresh_copy import FreshCopy
from onnxfp.workflows.judge import read_channels
from onnxfp.workflows.leaf_file import digest_of_leaf
from onnxfp.workflows.marked import Fidelity, marked, patches, try_copy
from onnxfp.workflows.reference import Reference
from onnxfp.workflows.vault import Vault, refuse_inside_vault


@dataclass(frozen=True)
class Issuing:
    """What is asked of `issue`."""

    model: Path
    recipient: str
    output: Path
    at: str
    """Now, UTC, ISO 8601."""
    alpha: float = 1e-6
    """The level at which the copy shall be traceable."""
    budget: float = 0.25
    """Largest relative change of any carrier."""
    force: bool = False
    dry_run: bool = False
    allow_links: bool = False


@dataclass(frozen=True)
class Issued:
    """What was issued, or would be."""

    recipient: str
    reference: str
    output: str
    positions: int
    recipients: int
    reachable: int
    """Recipients among whom these positions can still name one at this level."""
    reachable_by: Mapping[str, int]
    """The same for each channel of a copy alone: its weights, its answers."""
    log10_e: float
    """Evidence of all channels together, read back from the written file (expected evidence in a dry run)."""
    log10_e_by: Mapping[str, float]
    """Of each channel of a copy alone."""
    log10_e_owner: float
    log10_threshold: float
    relative_change: float
    """Largest of any carrier."""
    head: str
    """What the ledger has come to; note it outside the vault."""
    leaf: str = ""
    """Digest of the leaf that the copy's answers hang on, as the ledger keeps it; empty for a copy without answers."""


def issue(
    vault: Vault,
    request: Issuing,
    fidelity: Fidelity | None = None,
    progress: Callable[[str], None] = lambda step: None,
) -> Issued:
    """Issue a copy; the same recipient gets the same bytes again.

    The reservation is durable before the output exists, the output is read back before it gets its name, and the
    ledger is completed last: whatever interrupts this, issuing again completes it.

    Args:
        vault: the owner's vault.
        request: what is asked.
        fidelity: called with the path of a private copy before anything is reserved; may raise `FidelityError`.
        progress: told what is being done.

    Raises:
        UsageError: the model is not registered, the name or the output is refused.
        CapacityError: the positions cannot name one among so many recipients at this level.
        FidelityError: a carrier would change too much, or the copy could not be traced.
    """
    name = canonical_name(request.recipient)
    refuse_inside_vault(request.output)
    with open_artifact(request.model, allow_links=request.allow_links) as source:
        prepared = _prepare(vault, request, source, name)
        if request.dry_run:
            return prepared.issued(tuple(_as_planned(channel, name) for channel in prepared.channels))
        with staged_copy(source, request.output, force=request.force) as staged:  # copies while the rest is computed
            progress("computing the mark")
            changes = marked(prepared.channels, name, source, request.budget)
            if fidelity is not None:
                try_copy(source, changes, fidelity)
            digest = _digest_of(changes)
            entry = vault.ledger.reserve(prepared.reference.digest, name, request.at)
            _refuse_other_bytes(entry, digest, prepared.leaf)
            for patch in patches(changes):
                staged.patch(patch.name, patch.start, patch.values)
            progress("reading the copy back")
            with staged.preview() as copy, ExitStack() as opened:
                tensors = resolve(prepared.reference.profile.carriers, copy)
                fresh = FreshCopy(OpenedWeights(copy, source, tensors), staged, opened)
                result = prepared.issued(read_channels(prepared.channels, fresh))
            _refuse_untraceable(prepared, result)
            staged.commit()
        head = vault.ledger.complete(prepared.reference.digest, name, digest, request.at, prepared.leaf)
    largest = max(relative_changes(changes).values(), default=0.0)
    return replace(result, output=str(request.output), relative_change=largest, head=head)


@dataclass(frozen=True)
class _Prepared:
    """All that is settled before a byte is written."""

    reference: Reference
    channels: tuple[DrawnChannel, ...]
    name: str
    recipients: int
    claims: int
    request: Issuing

    @property
    def leaf(self) -> str:
        """Digest of the leaf that the copy's answers hang on; empty for none."""
        return digest_of_leaf(self.channels, self.name, self.reference.digest)

    def issued(self, looks: tuple[Look, ...]) -> Issued:
        """Weigh the recipient's and the owner's word against what was read."""
        roles = [channel.channel.role for channel in self.channels]
        by = {
            _channel_of(channel): look.log10_e(look.words([self.name]))
            for channel, look, role in zip(self.channels, looks, roles, strict=True)
            if role == RECIPIENT
        }
        copies = [look for look, role in zip(looks, roles, strict=True) if role == RECIPIENT]
        owners = [look for look, role in zip(looks, roles, strict=True) if role == OWNER]
        reachable = _reachable(self.channels, self.request.alpha)
        return Issued(
            recipient=self.name,
            reference=self.reference.digest,
            output="",
            positions=sum(look.codebook.positions for look in copies),
            recipients=self.recipients,
            reachable=max(reachable.values()),
            reachable_by=reachable,
            log10_e=float(together(np.array(list(by.values()))[:, None], len(by))[0]) - _shared(self.claims),
            log10_e_by=by,
            log10_e_owner=_weighed(owners, OWNER, self.claims),
            log10_threshold=float(np.log10(self.recipients / self.request.alpha)),
            relative_change=0.0,
            head="",
            leaf=self.leaf,
        )


def _prepare(vault: Vault, request: Issuing, source: Artifact, name: str) -> _Prepared:
    reference = registered(vault, source)
    channels = tuple(reference.draw(vault, channel) for channel in reference.channels if channel.in_copies)
    if not channels:
        raise CapacityError(f"reference {reference.short} has too few weights to tell copies apart; none can be issued")
    recipients, reachable = vault.ledger.count_recipients(besides=name) + 1, _reachable(channels, request.alpha)
    for channel in (channel for channel in channels if channel.channel.role == RECIPIENT):
        key = channel.public.key
        key.code.refuse_shared_word(channel.secret, name, _others(vault, name))
        if recipients > max(reachable.values()):
            needed = _needed(key, recipients, request.alpha)
            raise CapacityError(
                f"not enough positions: {key.positions} name one among at most {max(reachable.values())} recipients "
                f"at alpha {request.alpha:.3g}, this copy would be number {recipients}{needed}"
            )
    return _Prepared(reference, channels, name, recipients, len(vault.ledger.references()), request)


def _others(vault: Vault, name: str) -> Iterator[str]:
    """Yield all other recipients; read only when a code asks for them."""
    yield from (other for other in vault.ledger.recipients() if other != name)


def registered(vault: Vault, source: Artifact) -> Reference:
    """Return the reference that this model is.

    Raises:
        UsageError: it is not registered.
    """
    digest = cached_digest(source, vault.root / "digests.json")
    for entry in vault.ledger.references():
        if entry.digest == digest:
            reference = Reference.of_entry(vault, entry)
            reference.check_file(vault)  # copies of a reference that cannot be read again could never be traced
            return reference
    raise UsageError(f"{source.label} is not a registered reference; run `onnxfp register` on the unmarked model first")


def _channel_of(channel: DrawnChannel) -> str:
    """Return what a channel is read from."""
    return WEIGHTS if channel.scheme.access is Access.WEIGHTS else ANSWERS


def _reachable(channels: Sequence[DrawnChannel], alpha: float) -> dict[str, int]:
    """Return among how many recipients each of the copies' channels can name one by itself."""
    copies = [channel for channel in channels if channel.channel.role == RECIPIENT]
    return {_channel_of(channel): _reach(channel, alpha) for channel in copies}


def _reach(channel: DrawnChannel, alpha: float) -> int:
    key = channel.public.key
    if not key.code.independent:
        return int(key.positions)
    if key.code.name in PLANNED:
        return reachable_recipients(key.positions, 1, alpha, key.code.name)
    look = _as_planned(channel, "anybody")  # all words of such a code are equally probable
    return int(min(MANY_RECIPIENTS, alpha * 10.0 ** look.log10_e(look.words(["anybody"]))))


def _needed(key: SchemeKey, recipients: int, alpha: float) -> str:
    if key.code.name not in PLANNED:
        return ""
    return f"; {required_positions(recipients, 1, alpha, key.code.name)} positions would do"


def _as_planned(channel: DrawnChannel, name: str) -> Look:
    """Return the look at a suspect that satisfies the plan exactly and says nothing else."""
    reading = channel.scheme.read(channel.public, channel.scheme.knower(channel.claim(channel.word_of(name))))
    code = channel.public.key.code
    return Look(channel.channel.scheme, channel.public.codebook, channel.words, code.independent, reading)


def _weighed(looks: Sequence[Look], name: str, claims: int) -> float:
    """Return log10 e as a judge of all registered references will see it; 0 where copies hold no such word."""
    if not looks:
        return 0.0
    return float(weigh(looks, [look.bet() for look in looks], [name])[0]) - _shared(claims)


def _shared(claims: int) -> float:
    """Return log10 of the number of references, among which all weight is shared."""
    return float(np.log10(max(1, claims)))


def _refuse_untraceable(prepared: _Prepared, result: Issued) -> None:
    codes = [channel.public.key.code for channel in prepared.channels if channel.channel.role == RECIPIENT]
    named = result.log10_e >= result.log10_threshold or not any(code.independent for code in codes)
    owned = any(channel.channel.role == OWNER for channel in prepared.channels)
    ours = not owned or result.log10_e_owner >= -np.log10(prepared.request.alpha)
    if not (named and ours):
        raise FidelityError(
            f"the copy could not be traced: it reads back at log10 e = {result.log10_e:.1f}, the owner's mark at "
            f"{result.log10_e_owner:.1f}, where {result.log10_threshold:.1f} is needed; use a higher strength"
        )


def _refuse_other_bytes(entry: IssueEntry, digest: str, leaf: str) -> None:
    """Refuse before anything is delivered what the ledger would refuse afterwards: one recipient, one copy."""
    if entry.artifact not in (None, digest) or entry.leaf not in ("", leaf):
        raise UsageError(
            f"{entry.recipient} holds a copy with other bytes, issued at {entry.issued_at}; this release or this model "
            "file does not reproduce it"
        )


def _digest_of(changes: Sequence[Change]) -> str:
    """Identify a copy by what was written: with the reference's digest, that is all of it."""
    total = hashlib.sha256()
    for change in changes:
        segment = change.segment
        total.update(repr((segment.carrier, segment.start, segment.stop)).encode())
        total.update(change.values.tobytes())
    return total.hexdigest()


def issued_rows(issued: Issued) -> list[tuple[str, str]]:
    """Return what a person wants to see."""
    return [
        ("recipient", f"{issued.recipient} (one of {issued.recipients}; {issued.reachable:,} can be told apart)"),
        ("written to", issued.output or "nothing (dry run)"),
        ("evidence", f"log10 e = {issued.log10_e:.1f}, {issued.log10_threshold:.1f} needed to name"),
        *((f"  by {name}", _alone(issued, name)) for name in issued.log10_e_by if len(issued.log10_e_by) > 1),
        ("owner's mark", f"log10 e = {issued.log10_e_owner:.1f}"),
        ("weight change", f"{issued.relative_change:.2%} of a carrier's norm at most"),
        *([("identity", f"{issued.leaf} (digest of the leaf)")] if issued.leaf else []),
        ("ledger head", issued.head or "unchanged (dry run)"),
    ]


def _alone(issued: Issued, name: str) -> str:
    return f"log10 e = {issued.log10_e_by[name]:.1f}; alone they name one among {issued.reachable_by[name]:,}"
