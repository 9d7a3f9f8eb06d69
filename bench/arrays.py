"""A reference and its copies as arrays, for benchmarks that need many of them: the schemes' own code, without files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from onnxfp.artifact import TensorRecord, open_artifact, profile
from onnxfp.domain import Constraint, Floats, ModelProfile, Segment, Symbols, Weights
from onnxfp.embed.post_hoc import solve
from onnxfp.keys.keystream import Keystream
from onnxfp.suspect.opened import OpenedWeights
from onnxfp.verdict.look import Look, weigh
from onnxfp.workflows.channels import OWNER, RECIPIENT, Channel, DrawnChannel, draw
from onnxfp.workflows.judge import read_channels

NAMES = tuple(f"recipient {number}" for number in range(100_000))


class ArrayArtifact:
    """Carriers held in memory, read as an artifact is read."""

    def __init__(self, values: dict[str, Weights], records: Sequence[TensorRecord]) -> None:
        self.values = values
        self.tensors = tuple(records)

    def tensor(self, name: str) -> TensorRecord:
        """Return a record by name."""
        return next(record for record in self.tensors if record.name == name)

    def read(self, record: TensorRecord, start: int = 0, stop: int | None = None) -> Weights:
        """Return a range of a carrier."""
        return self.values[record.name][start:stop]


@dataclass(frozen=True)
class Loaded:
    """A model's carriers, in order, and how they lie in one row."""

    profile: ModelProfile
    records: tuple[TensorRecord, ...]
    weights: Weights
    """(n,) of all carriers in a row."""

    @classmethod
    def of(cls, path: Path) -> Loaded:
        """Load a model."""
        with open_artifact(path) as artifact:
            found = profile(artifact)
            records = tuple(artifact.tensor(carrier.name) for carrier in found.carriers)
            parts = [artifact.read(record) for record in records]
        return cls(found, records, np.concatenate(parts))

    def artifact(self, weights: Weights) -> ArrayArtifact:
        """Return other values in the same places."""
        edges = np.cumsum([0] + [record.size for record in self.records])
        names = [record.name for record in self.records]
        values = {name: weights[start:stop] for name, start, stop in zip(names, edges[:-1], edges[1:], strict=True)}
        return ArrayArtifact(values, self.records)

    def opened(self, suspect: Weights) -> OpenedWeights:
        """Return a suspect with these weights (n,), open beside the reference."""
        mine = self.artifact(suspect)
        return OpenedWeights(mine, self.artifact(self.weights), {record.name: record for record in self.records})


@dataclass(frozen=True)
class Marked:
    """A reference under one key, with the default channels or others."""

    loaded: Loaded
    key: Keystream
    scheme: str = "spread"
    options: tuple[tuple[str, object], ...] = ()

    @cached_property
    def channels(self) -> tuple[DrawnChannel, ...]:
        """The owner's and the recipients' channel."""
        shared = {name: value for name, value in self.options if name not in ("positions", "code")}
        return (
            draw(Channel(OWNER, self.scheme, {**shared, "role": OWNER}), self.loaded.profile, self.key),
            draw(
                Channel(RECIPIENT, self.scheme, {**dict(self.options), "role": RECIPIENT}),
                self.loaded.profile,
                self.key,
            ),
        )

    def copy(self, recipient: str) -> Weights:
        """Return one recipient's weights (n,)."""
        owner, copies = self.channels
        plan: list[Constraint] = [
            *owner.scheme.plan(owner.claim(OWNER)),
            *copies.scheme.plan(copies.claim(recipient)),
        ]
        reference = self.loaded.artifact(self.loaded.weights)

        def read(segment: Segment) -> Weights:
            return reference.values[segment.carrier][segment.start : segment.stop]

        marked = {name: values.copy() for name, values in reference.values.items()}
        for change in solve(plan, read, budget=1.0):
            marked[change.segment.carrier][change.segment.start : change.segment.stop] = change.values
        return np.concatenate([marked[record.name] for record in self.loaded.records])

    @cached_property
    def amplitude(self) -> Weights:
        """(n,) how far the whole mark moves each weight, in the root mean square."""
        key = self.channels[0].public.key
        unit = {segment.carrier: segment.spread * segment.gain * key.strength for segment in key.segments}
        return np.concatenate(
            [np.full(record.size, unit.get(record.name, 0.0), dtype=np.float32) for record in self.loaded.records]
        )

    def looks(self, suspect: Weights) -> tuple[Look, Look]:
        """Return what is read of a suspect for the owner's and for the recipients' channel."""
        owner, copies = read_channels(self.channels, self.loaded.opened(suspect))
        return owner, copies

    def log10_e(self, suspect: Weights, recipients: Sequence[str]) -> Floats:
        """Return log10 e of some recipients against a suspect."""
        return weigh_all(self.looks(suspect)[1], recipients)

    def words(self, recipients: Sequence[str]) -> Symbols:
        """Return some recipients' words."""
        return self.channels[1].words(recipients)


def weigh_all(look: Look, recipients: Sequence[str]) -> Floats:
    """Return log10 e of any number of recipients, some hundred at a time."""
    bet = look.bet()
    return np.concatenate([weigh([look], [bet], recipients[at : at + 256]) for at in range(0, len(recipients), 256)])


def fresh_key(seed: int) -> Keystream:
    """Return the reference key of a seed."""
    return Keystream(seed.to_bytes(32, "big")).derive("bench")


def with_positions(marked: Marked, positions: int) -> Marked:
    """Return the same reference with another number of positions."""
    return replace(marked, options=(*marked.options, ("positions", positions)))
