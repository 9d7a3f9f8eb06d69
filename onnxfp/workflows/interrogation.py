"""Asking a suspect: position by position in keyed order, until the evidence is enough or the queries are used up.

Where what one answer says depends on all the others, many are asked at a time, and nothing is weighed before the last.

The e-value moves only when a position is complete, and every hypothesis of a reading is fixed or learns from earlier
positions alone, so that stopping at any time is valid (see `verdict.betting`, steps 9 and 10). The order depends on the
key and on what was spent, never on a codeword.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, assert_never

import numpy as np
import numpy.typing as npt

from onnxfp.domain import Answered, QueryProbe, Response, Unanswered, WeightProbe
from onnxfp.keys.keystream import Keystream
from onnxfp.suspect.interface import Suspect
from onnxfp.verdict.look import Look
from onnxfp.workflows.channels import OWNER, DrawnChannel
from onnxfp.workflows.talk import Talk

Inputs = npt.NDArray[Any]
RowNumbers = npt.NDArray[np.int64]

_MOST_BYTES = 1 << 28  # sent at a time, ordinary inputs included
_TOGETHER = 1024  # inputs sent at a time, where nothing is weighed before the last
_PATIENCE = 3  # positions in a row without any answer before a suspect counts as gone
_ENOUGH = 0.5  # of what was sent must have been answered, or the suspect did not do what it should
NO_ROOM = "not asked: the limit allows no whole position, or what was collected answers none"


@dataclass(frozen=True)
class Conduct:
    """How a suspect is asked about one claim; fixed before the first query."""

    threshold: float
    """log10 of the e-value at which the claim has said enough by itself."""
    whose: str = OWNER
    """The name whose word it is about; where it is about many, one that stands for all."""
    enough: Callable[[Look], bool] | None = None
    """What has been read is enough; None for the e-value of that one word."""
    stop: bool = True
    """Stop asking then."""
    limit: int = 0
    """Triggers sent at most, repeated ones counted again; 0 for all."""
    fixed: bool = False
    """Send that many whatever is answered, so that exact tails hold."""
    twice: bool = False
    """Send every trigger of a position twice, to see whether the suspect changes its mind."""
    camouflage: int = 0
    """Ordinary inputs sent with every trigger."""
    ordinary: Inputs | None = None
    """(samples, ...) inputs to hide triggers among."""
    last: frozenset[int] = frozenset()
    """Positions that this suspect has seen before: they come last."""
    spend: Callable[[Sequence[int]], None] = lambda positions: None
    """Told which positions are about to be seen."""
    can_be_asked: Callable[[Inputs], bool] | None = None
    """Whether the triggers of a position can be asked: those who answered elsewhere may not have been sent all. None
    where anything can."""
    unasked: str = NO_ROOM
    """Why nothing was asked, where nothing is."""


EVERYTHING = Conduct(threshold=0.0, stop=False, fixed=True)
"""All positions, whatever is answered."""


def interrogate(drawn: DrawnChannel, suspect: Suspect, conduct: Conduct, claim: str) -> Look:
    """Let a suspect answer all probes of one claim, as far as the conduct says."""
    public, enough = drawn.public, conduct.enough or _one_word(drawn, conduct)
    probes = drawn.scheme.probes(public)
    responses: list[Response] = [Unanswered(conduct.unasked)] * len(probes)
    talks: list[Talk | None] = [None] * len(probes)
    for number, probe in enumerate(probes):
        match probe:
            case WeightProbe():
                responses[number] = suspect.answer(probe)
            case QueryProbe():
                talks[number] = talk = Talk(probe)
                for _ in _rounds(talk, suspect, conduct, drawn.secret.derive("camouflage")):
                    if conduct.stop and not probe.whole:
                        responses[number] = talk.response(talk.share)
                        if enough(_look(drawn, responses, claim, talks)):
                            break
                responses[number] = talk.response(talk.share) if talk.asked else responses[number]
            case _:
                assert_never(probe)
    sent_whole = any(talks) and all(talk is None or talk.probe.whole for talk in talks)
    fixed = conduct.fixed or sent_whole or public.codebook.positions == 1
    look = _look(drawn, responses, claim, talks, fixed=fixed)
    decisive = not any(talks) or _decisive(drawn, talks, conduct)
    partly = any(0 < sum(map(talk.answered, talk.asked)) < len(talk.rows) for talk in talks if talk is not None)
    return replace(look, decisive=decisive, cut=partly and not decisive)


def _one_word(drawn: DrawnChannel, conduct: Conduct) -> Callable[[Look], bool]:
    word = drawn.words([conduct.whose])
    return lambda look: look.log10_e(word) >= conduct.threshold


def _look(
    drawn: DrawnChannel,
    responses: Sequence[Response],
    claim: str,
    all_talks: Sequence[Talk | None],
    *,
    fixed: bool = False,
) -> Look:
    public, channel, talks = drawn.public, drawn.channel, [talk for talk in all_talks if talk is not None]
    return Look(
        channel.scheme,
        public.codebook,
        drawn.words,
        public.key.code.independent,
        drawn.scheme.read(public, responses),
        channel.committed_at,
        claim=claim,
        queries=sum(talk.sent for talk in talks),
        ordinary=sum(talk.ordinary for talk in talks),
        fixed=fixed,
        asks=bool(talks),
        unfit=any(talk.unfit for talk in talks),
        failed=any(talk.asked and talk.share < _ENOUGH and not talk.unfit for talk in talks),
    )


def _rounds(talk: Talk, suspect: Suspect, conduct: Conduct, keystream: Keystream) -> Iterator[None]:
    """Ask round by round, yielding after each; a suspect that stays silent is left alone."""
    silent, first, order = 0, talk.probe.before, _order(talk.probe, conduct)
    if first and order:
        _send(talk, np.arange(first), suspect, conduct, keystream.derive("before"))
    for name, positions, rows in _asked_together(talk.probe, order):
        if positions:
            conduct.spend(positions)
        heard = _send(talk, rows, suspect, conduct, keystream.derive("first", name))
        if conduct.twice:
            again = Talk(talk.probe)
            _send(again, rows, suspect, conduct, keystream.derive("again", name))
            talk.confirm(rows.tolist(), again)
        silent = 0 if heard else silent + 1
        yield
        if silent == _PATIENCE or talk.unfit:
            return


def _asked_together(probe: QueryProbe, order: Sequence[int]) -> Iterator[tuple[str, list[int], RowNumbers]]:
    """Yield what a round is called, which positions it is the first to ask for, and its rows."""
    if not probe.whole:
        for position in order:
            yield str(position), [position], np.asarray(_rows(probe, position))
        return
    starts = probe.before + np.asarray(order, dtype=np.int64) * probe.each
    size = max(1, min(_TOGETHER, _MOST_BYTES // max(1, _bytes_of(probe))))
    for start in range(0, len(order) * probe.each, size):
        at = np.arange(start, min(start + size, len(order) * probe.each))
        begun = at[at % probe.each == 0] // probe.each
        yield f"from {start}", [order[one] for one in begun], starts[at // probe.each] + at % probe.each


def _bytes_of(probe: QueryProbe) -> int:
    """Return the bytes of one input."""
    return int(np.prod(probe.inputs.shape[1:])) * probe.inputs.dtype.itemsize


def _order(probe: QueryProbe, conduct: Conduct) -> list[int]:
    """Return the positions to ask: in keyed order, those that were seen before last, as many as the limit allows."""
    every = ((position, _rows(probe, position)) for position in range((len(probe.inputs) - probe.before) // probe.each))
    can = conduct.can_be_asked
    positions = [position for position, rows in every if can is None or can(probe.inputs[rows.start : rows.stop])]
    ordered = sorted(positions, key=lambda position: position in conduct.last)
    sent = probe.each * (2 if conduct.twice else 1)
    return ordered[: max(0, conduct.limit - probe.before) // sent] if conduct.limit else ordered


def _rows(probe: QueryProbe, position: int) -> range:
    """Return the rows of a probe that ask for a position."""
    start = probe.before + position * probe.each
    return range(start, start + probe.each)


def _send(talk: Talk, rows: RowNumbers, suspect: Suspect, conduct: Conduct, keystream: Keystream) -> bool:
    """Send some triggers, hidden among ordinary inputs, and take in the answers; return whether there were any."""
    triggers, numbers = talk.probe.inputs[rows], rows.tolist()
    room = max(0, _MOST_BYTES // max(1, triggers[:1].nbytes) - len(triggers))
    hiding = min(room, conduct.camouflage * len(triggers)) if conduct.ordinary is not None else 0
    if not hiding or conduct.ordinary is None:
        return talk.take(numbers, suspect.answer(QueryProbe(triggers)))
    drawn = keystream.derive("ordinary").words32(hiding).astype(np.int64) % len(conduct.ordinary)
    batch = np.concatenate([triggers, conduct.ordinary[drawn]])
    order = np.argsort(keystream.derive("order").words32(len(batch)), kind="stable")
    talk.ordinary += hiding
    return talk.take(numbers, _only_triggers(suspect.answer(QueryProbe(batch[order])), order, len(triggers)))


def _only_triggers(response: Response, order: npt.NDArray[np.int64], triggers: int) -> Response:
    """Return the answers to the first inputs of a batch that was sent in another order."""
    match response:
        case Unanswered():
            return response
        case Answered(values) if values.ndim and len(values) == len(order):
            places = np.argsort(order)[:triggers]
            return Answered(values[places], response.coverage, response.unread, provider=response.provider)
    return Unanswered(f"{response.values.shape} numbers came back for {len(order)} inputs")


def _decisive(drawn: DrawnChannel, talks: Sequence[Talk | None], conduct: Conduct) -> bool:
    """Return whether a suspect that knows every symbol would have been found by the answers to what was answered."""
    claim, known = drawn.claim(conduct.whose), []
    for response, talk in zip(drawn.scheme.knower(claim), talks, strict=True):
        if talk is not None and isinstance(response, Answered):
            heard = np.asarray([talk.answered(row) for row in range(len(talk.rows))])
            pairs = heard[talk.probe.before :].reshape(-1, talk.probe.each)
            complete = np.repeat(pairs.all(axis=1), talk.probe.each)
            told = np.concatenate([heard[: talk.probe.before], complete])
            response = Answered(np.where(told, response.values, np.nan))  # noqa: PLW2901
        known.append(response)
    reading = drawn.scheme.read(claim.public, known)
    found = Look(drawn.channel.scheme, claim.public.codebook, drawn.words, independent=True, reading=reading)
    return found.log10_e(claim.codeword[None]) >= conduct.threshold
