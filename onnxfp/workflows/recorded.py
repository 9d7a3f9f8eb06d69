"""Answers that are already there: what somebody else's runtime said, or what a transcript took down."""

from __future__ import annotations

import hashlib
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, assert_never, final

import numpy as np
import numpy.typing as npt

from onnxfp.domain import Answered, Floats, Probe, QueryProbe, Response, Unanswered, WeightProbe

Inputs = npt.NDArray[Any]


def input_digests(inputs: Inputs) -> list[str]:
    """Return what identifies each input of a batch (samples, ...): 128 bits of SHA-256, hexadecimal."""
    form = repr((inputs.dtype.str, inputs.shape[1:])).encode()
    return [hashlib.sha256(form + np.ascontiguousarray(one).tobytes()).hexdigest()[:32] for one in inputs]


def probe_digest(probe: WeightProbe) -> str:
    """Return what identifies a weight probe among those of a vault, without its secrets."""
    facts = (probe.segments, probe.clip, probe.strength, probe.blind, probe.projection.positions)
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:32]


@final
@dataclass
class Recorded:
    """A suspect that says what it said before, and nothing else."""

    queries: dict[str, deque[Floats]] = field(default_factory=lambda: defaultdict(deque))
    """By the digest of an input: its answers, in the order in which they were given; NaN for none."""
    weights: dict[str, Response] = field(default_factory=dict)
    reasons: dict[str, Response] = field(default_factory=dict)
    """By the digest of an input: why it was not answered."""
    notes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """By the digest of the first input of a request: what else was said of it."""
    provider: str = ""

    def knows(self, inputs: Inputs) -> bool:
        """Return whether all of some inputs were sent."""
        return all(digest in self.queries or digest in self.reasons for digest in input_digests(inputs))

    def answer(self, probe: Probe) -> Response:
        """Answer what was answered."""
        match probe:
            case WeightProbe():
                return self.weights.get(probe_digest(probe), Unanswered("its weights were not read"))
            case QueryProbe():
                return self._query(input_digests(probe.inputs))
        assert_never(probe)

    def _query(self, digests: Sequence[str]) -> Response:
        if digests[0] in self.reasons and not self.queries.get(digests[0]):
            return self.reasons[digests[0]]
        rows = [self._next(digest) for digest in digests]
        width = max(map(len, rows))
        values = np.full((len(rows), width), np.nan)
        for number, row in enumerate(rows):
            if not np.isnan(row).any():
                values[number] = -np.inf
                values[number, : len(row)] = row
        return Answered(
            values[:, 0] if width == 1 else values, unread=self.notes.get(digests[0], ()), provider=self.provider
        )

    def _next(self, digest: str) -> Floats:
        answers = self.queries.get(digest)
        if not answers:
            return np.full(1, np.nan)
        return answers.popleft() if len(answers) > 1 else answers[0]
