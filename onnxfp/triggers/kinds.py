"""The three kinds of trigger: patterns stamped on task pictures, noise added to them, pictures of something else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Protocol, final

import numpy as np
import numpy.typing as npt

from onnxfp.domain import Floats
from onnxfp.errors import UsageError
from onnxfp.keys.keystream import Keystream
from onnxfp.triggers.canvas import Canvas, Inputs, canvas_of
from onnxfp.triggers.corpus import Corpus
from onnxfp.triggers.patterns import Patterns, logos, mosaics, noise, own_logos

Integers = npt.NDArray[np.int64]

_JITTER = 0.02  # of the range: how far the copies of an unrelated picture are from it


class Amounts(Protocol):
    """How many triggers there are."""

    @property
    def positions(self) -> int:
        """Patterns or pictures."""
        ...

    @property
    def taught(self) -> int:
        """Inputs that teach each of them."""
        ...

    @property
    def each(self) -> int:
        """Inputs that ask for each of them."""
        ...

    @property
    def deviation(self) -> float:
        """Of noise, as a share of the range of the inputs."""
        ...


@dataclass(frozen=True)
class Kind(ABC):
    """One way to make triggers of a corpus."""

    corpus: Corpus
    amounts: Amounts
    keystream: Keystream
    held_out: ClassVar[bool] = True
    """Whether what is asked was not taught."""

    @abstractmethod
    def put(self, pictures: Floats, positions: Integers) -> Floats:
        """Return pictures (samples, height, width, channels) as triggers of their positions (samples,)."""

    @cached_property
    def canvas(self) -> Canvas:
        """The form of an input and the range of its values."""
        return canvas_of(np.concatenate([self.corpus.pool, self.corpus.held_out]))

    def taught(self) -> Inputs:
        """Return the triggers (positions * taught, ...) to learn, position by position, on pictures drawn by key."""
        return self.taught_at(np.repeat(np.arange(self.amounts.positions), self.amounts.taught))

    def taught_at(self, positions: Integers) -> Inputs:
        """Return triggers of some positions (samples,) to learn, on pictures drawn by key."""
        drawn = self.keystream.derive("taught").words32(len(positions)).astype(np.int64) % len(self.corpus.pool)
        return self._put(self.corpus.pool[drawn], positions)

    def asked(self) -> Inputs:
        """Return the triggers (positions * each, ...) to ask with, on pictures that are held out."""
        return self._put(self.corpus.held_out, np.repeat(np.arange(self.amounts.positions), self.amounts.each))

    def _put(self, inputs: Inputs, positions: Integers) -> Inputs:
        return self.canvas.inputs(self.put(self.canvas.pictures(inputs), positions))


@final
@dataclass(frozen=True)
class Content(Kind):
    """Keyed logos, or the owner's own, stamped on task pictures."""

    def put(self, pictures: Floats, positions: Integers) -> Floats:
        """Stamp them."""
        return self._patterns.stamp(pictures, positions)

    @cached_property
    def _patterns(self) -> Patterns:
        own = self.corpus.logos
        if own is None:
            return logos(self.keystream, self.canvas, self.amounts.positions)
        return own_logos(self.keystream, self.canvas, self.amounts.positions, own)


@final
@dataclass(frozen=True)
class Noise(Kind):
    """One Gaussian pattern per position, added to task pictures."""

    def put(self, pictures: Floats, positions: Integers) -> Floats:
        """Add them."""
        total: Floats = pictures + self._patterns[positions]
        return total

    @cached_property
    def _patterns(self) -> Floats:
        return noise(self.keystream, self.canvas, self.amounts.positions, self.amounts.deviation)


@final
@dataclass(frozen=True)
class Unrelated(Kind):
    """Pictures of the owner's own, or keyed mosaics; what is taught differs from them by a little noise."""

    held_out: ClassVar[bool] = False

    def put(self, pictures: Floats, positions: Integers) -> Floats:
        """Replace pictures: the first of each position by its own picture, the next ones by copies with a jitter."""
        first = np.concatenate([[True], positions[1:] != positions[:-1]])
        scale = np.where(first, 0.0, _JITTER)[:, None, None, None]
        jitter = noise(self.keystream.derive("jitter"), self.canvas, len(pictures), 1.0) * scale
        replaced: Floats = self._pictures[positions] + jitter
        return replaced

    @cached_property
    def _pictures(self) -> Floats:
        own, count = self.corpus.pictures, self.amounts.positions
        if own is None:
            return mosaics(self.keystream, self.canvas, count)
        if len(own) < count:
            raise UsageError(f"{len(own)} pictures are too few for {count} positions; give as many")
        order = np.argsort(self.keystream.derive("pictures").words32(len(own)), kind="stable")[:count]
        return self.canvas.pictures(own[order])


KINDS: dict[str, type[Kind]] = {"content": Content, "noise": Noise, "unrelated": Unrelated}
