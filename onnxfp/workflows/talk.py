"""What a suspect has said so far: the answers to one probe, put together from many requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import assert_never

import numpy as np

from onnxfp.domain import Answered, Floats, QueryProbe, Response, Unanswered

_SHOWN = 5  # reasons that are listed
_WIDEST = 1 << 16  # classes
_CERTAIN = 1e-6  # a log-probability may exceed 0 by rounding


@dataclass
class Talk:
    """The answers to one probe; a row that was not answered is None."""

    probe: QueryProbe
    rows: list[Floats | None] = field(default_factory=list)
    reasons: dict[str, int] = field(default_factory=dict)
    asked: set[int] = field(default_factory=set)
    """Rows that were sent."""
    sent: int = 0
    """Inputs that were sent, repeated ones counted again."""
    ordinary: int = 0
    """Ordinary inputs that were sent among them."""
    unfit: bool = False
    scored: bool | None = None
    """Whether the first answer had scores; a later one is taken in the same form, so that no score changes later."""
    provider: str = ""

    def __post_init__(self) -> None:
        self.rows = [None] * len(self.probe.inputs)

    def take(self, rows: Sequence[int], answers: Response) -> bool:
        """Take in the answers to some rows of the probe; return whether there were any."""
        self.asked.update(rows)
        self.sent += len(rows)
        match answers:
            case Unanswered():
                self.unfit = self.unfit or answers.unfit
                self._note(answers.reason)
                return False
            case Answered():
                return self._hear(rows, answers)
        assert_never(answers)

    def _hear(self, rows: Sequence[int], answers: Answered) -> bool:
        self.provider = answers.provider or self.provider
        for reason in answers.unread:
            self._note(reason)
        if answers.values.ndim not in (1, 2) or len(answers.values) != len(rows) or 0 in answers.values.shape:
            self._note(f"{answers.values.shape} numbers came back for {len(rows)} inputs")
            return False
        plain = self._are_plain(answers.values)
        heard = [value if plain else self._heard(value) for value in answers.values.reshape(len(rows), -1)]
        if self.scored is None and any(value is not None for value in heard):
            self.scored = answers.values.ndim == 2
        heard = [None if value is None else self._in_form(value) for value in heard]
        for row, value in zip(rows, heard, strict=True):
            self.rows[row] = value
        return any(value is not None for value in heard)

    def _are_plain(self, values: Floats) -> bool:
        """Return whether all answers are scores of classes that the claim knows: then none needs a look of its own."""
        known = values.ndim == 2 and 1 < values.shape[1] <= (self.probe.classes or _WIDEST)
        return known and bool((values <= _CERTAIN).all() and np.isfinite(values).any(axis=1).all())

    def _heard(self, row: Floats) -> Floats | None:
        """Return one answer if it is one: a class, or log-probabilities of classes."""
        if np.isnan(row).any():
            return None
        is_label = len(row) == 1 and 0 <= row[0] < _WIDEST and row[0] == np.floor(row[0])
        is_scores = len(row) > 1 and row.max() <= _CERTAIN and np.isfinite(row).any()
        if not (is_label or is_scores):
            self._note("an answer that is neither a class nor scores of classes")
            return None
        known = self.probe.classes
        if not known or len(row) <= known:
            return row
        rest = np.logaddexp.reduce(row[known:])  # of classes that the claim knows nothing of
        return np.append(row[:known], rest)

    def _in_form(self, value: Floats) -> Floats | None:
        """Return an answer as scores if the first one had them, else as a label."""
        if not self.scored:
            return np.asarray([_label(value)])
        if len(value) > 1:
            return value
        label = min(int(value[0]), self.probe.classes or _WIDEST)
        sure = np.full(max(2, label + 1), -np.inf)
        sure[label] = 0.0
        return sure

    def confirm(self, rows: Sequence[int], again: Talk) -> None:
        """Forget what was answered otherwise, or not at all, when it was asked again."""
        for reason, times in again.reasons.items():
            self._note(reason, times)
        for row in rows:
            first, second = self.rows[row], again.rows[row]
            if first is not None and second is not None and _label(first) != _label(second):
                self._note("another answer when the same input was sent again")
            if first is None or second is None or _label(first) != _label(second):
                self.rows[row] = None
        self.sent, self.ordinary = self.sent + again.sent, self.ordinary + again.ordinary
        self.unfit = self.unfit or again.unfit

    def answered(self, row: int) -> bool:
        """Return whether a row was answered."""
        return self.rows[row] is not None

    @property
    def share(self) -> float:
        """Share of what was sent that was answered."""
        return sum(map(self.answered, self.asked)) / max(1, len(self.asked))

    def response(self, coverage: float) -> Response:
        """Return all answers so far as one."""
        if not any(map(self.answered, self.asked)):
            return Unanswered("; ".join(self.unread()) or "no query was sent", self.unfit)
        return Answered(self._values(), coverage, self.unread(), provider=self.provider)

    def unread(self) -> tuple[str, ...]:
        """Return how much was not answered, and why."""
        missing = len(self.asked) - sum(map(self.answered, self.asked))
        reasons = [f"{reason} ({times} times)" if times > 1 else reason for reason, times in self.reasons.items()]
        return (f"{missing} of {len(self.asked)} triggers without an answer", *reasons[:_SHOWN]) if missing else ()

    def _values(self) -> Floats:
        """Return labels, or log-probabilities as wide as the widest; what a row says does not depend on the others."""
        width = max(len(row) for row in self.rows if row is not None)
        if not self.scored:
            return np.asarray([np.nan if row is None else row[0] for row in self.rows])
        values = np.full((len(self.rows), width), np.nan)
        for number, row in enumerate(self.rows):
            if row is not None:
                values[number] = -np.inf
                values[number, : len(row)] = row
        return values

    def _note(self, reason: str, times: int = 1) -> None:
        self.reasons[reason] = self.reasons.get(reason, 0) + times


def _label(row: Floats) -> float:
    return float(row[0] if len(row) == 1 else row.argmax())
