"""Answers that are already there: what somebody else's runtime said, or what a transcript took down."""

from __future__ import annotations

import hashlib
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar, assert_never, final

import numpy as np
import numpy.typing as npt

from onnxfp.domain import Answered, Floats, Probe, QueryProbe, Response, Unanswered, WeightProbe
from onnxfp.suspect.interface import Suspect

Inputs = npt.NDArray[Any]
_Said = TypeVar("_Said")


def input_digests(inputs: Inputs) -> list[str]:
    """Return what identifies each input of a batch (samples, ...): 128 bits of SHA-256, hexadecimal."""
    form = repr((inputs.dtype.str, inputs.shape[1:])).encode()
    return [hashlib.sha256(form + np.ascontiguousarray(one).tobytes()).hexdigest()[:32] for one in inputs]


def probe_digest(probe: WeightProbe, reference: str) -> str:
    """Return what identifies a weight probe among those of a vault, without its secrets."""
    facts = (reference, probe.segments, probe.clip, probe.strength, probe.blind, probe.projection.positions)
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:32]


@final
@dataclass
class Recorded:
    """A suspect that says what it said before, and nothing else."""

    requests: dict[tuple[str, ...], deque[Response]] = field(default_factory=lambda: defaultdict(deque))
    """By the digests of the inputs of a request: what was answered to it, in the order in which it was sent."""
    queries: dict[str, deque[Floats]] = field(default_factory=lambda: defaultdict(deque))
    """By the digest of an input: its answers, whatever it was sent with, in their order; NaN for none."""
    weights: dict[str, Response] = field(default_factory=dict)
    """By the digest of a weight probe."""
    provider: str = ""
    """What ran the model, where single inputs were answered."""

    def beside(self, reference: str) -> Suspect:
        """Return what it said beside the reference of a digest."""
        return _Beside(self, reference)

    def knows(self, inputs: Inputs) -> bool:
        """Return whether all of some inputs were sent."""
        return all(digest in self.queries or digest in self._sent for digest in input_digests(inputs))

    def answer(self, probe: Probe) -> Response:
        """Answer what was answered."""
        return self.answer_beside(probe, "")

    def answer_beside(self, probe: Probe, reference: str) -> Response:
        """Answer what was answered beside a reference."""
        match probe:
            case WeightProbe():
                return self.weights.get(probe_digest(probe, reference), Unanswered("its weights were not read"))
            case QueryProbe():
                digests = tuple(input_digests(np.asarray(probe.inputs)))
                return _first(self.requests[digests]) if digests in self.requests else self._one_by_one(digests)
        assert_never(probe)

    @cached_property
    def _sent(self) -> frozenset[str]:
        return frozenset(digest for digests in self.requests for digest in digests)

    def _one_by_one(self, digests: Sequence[str]) -> Response:
        rows = [_first(self.queries[digest]) if digest in self.queries else np.full(1, np.nan) for digest in digests]
        width = max(map(len, rows))
        values = np.full((len(rows), width), np.nan)
        for number, row in enumerate(rows):
            if not np.isnan(row).any():
                values[number] = -np.inf
                values[number, : len(row)] = row
        return Answered(values[:, 0] if width == 1 else values, provider=self.provider)


@final
@dataclass(frozen=True)
class _Beside:
    """What was said beside one reference."""

    recorded: Recorded
    reference: str

    def answer(self, probe: Probe) -> Response:
        """Answer what was answered."""
        return self.recorded.answer_beside(probe, self.reference)


def _first(said: deque[_Said]) -> _Said:
    """Return what was said first and forget it, except for the last of all."""
    return said.popleft() if len(said) > 1 else said[0]
