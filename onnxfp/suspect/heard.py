"""What was heard of an endpoint, batch by batch, and what it amounts to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
import numpy.typing as npt

from onnxfp.domain import Answered, Floats, Response, Unanswered
from onnxfp.suspect.class_names import numbered
from onnxfp.suspect.outputs import Unreadable, class_answers
from onnxfp.suspect.v2 import Refused, Tensor

_REASONS = 8
_BYTES = 2**30

Outputs = list[tuple[str, npt.NDArray[Any]]]


@final
@dataclass
class Heard:
    """The answers to one probe, as they come in."""

    samples: int
    _rows: list[npt.NDArray[np.int64]] = field(default_factory=list)
    _outputs: list[Outputs] = field(default_factory=list)
    _refused: Counter[str] = field(default_factory=Counter)

    def take(self, rows: slice, answered: Sequence[Tensor]) -> None:
        """Keep the outputs for these rows.

        Raises:
            Refused: they are not answers, or not of the kind that came before.
        """
        if sum(output.values.nbytes for output in answered) * (len(self._outputs) + 1) > _BYTES:
            raise Refused("its outputs are larger than any classifier's")
        try:
            outputs = numbered(answered)
            class_answers(outputs, rows.stop - rows.start)
        except Unreadable as problem:
            raise Refused(str(problem)) from problem
        if self._outputs and _form(outputs) != _form(self._outputs[0]):
            raise Refused("its outputs have other names or shapes than before")
        self._rows.append(np.arange(rows.start, rows.stop))
        self._outputs.append(outputs)

    def refuse(self, rows: slice, reason: str) -> None:
        """Note why these rows have no answer."""
        self._refused[reason] += rows.stop - rows.start

    def response(self, provider: str, transforms: tuple[str, ...], shown: Callable[[str], str]) -> Response:
        """Return one row per sample; `shown` says what may be told of a reason."""
        values = self._values()
        silent = int(np.isnan(values.reshape(self.samples, -1)).all(axis=1).sum()) if self.samples else 0
        reasons = self._reasons(silent - sum(self._refused.values()))
        if silent == self.samples:
            return Unanswered(shown("; ".join(reasons)) or "nothing was asked")
        unread = tuple(shown(reason) for reason in reasons)
        return Answered(values, 1.0 - silent / self.samples, unread, transforms, provider)

    def _values(self) -> Floats:
        if not self._outputs:
            return np.full(self.samples, np.nan)
        together = [
            (name, np.concatenate([outputs[at][1] for outputs in self._outputs]))
            for at, (name, _) in enumerate(self._outputs[0])
        ]
        rows = np.concatenate(self._rows)
        try:
            answers = class_answers(together, len(rows))
        except Unreadable as problem:
            self._refused[str(problem)] += len(rows)
            return np.full(self.samples, np.nan)
        values = np.full((self.samples, *answers.shape[1:]), np.nan)
        values[rows] = answers
        return values

    def _reasons(self, unsaid: int) -> list[str]:
        counted = self._refused.most_common()
        if unsaid:
            counted.append(("the answer is not a number, or contradicts itself", unsaid))
        told = [f"{count} of {self.samples} samples: {reason}" for reason, count in counted[:_REASONS]]
        others = sum(count for _, count in counted[_REASONS:])
        return told + ([f"{others} of {self.samples} samples: other reasons"] if others else [])


def _form(outputs: Outputs) -> list[tuple[object, ...]]:
    return [(name, values.dtype.kind, values.shape[1:]) for name, values in outputs]
