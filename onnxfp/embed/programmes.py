"""Words that are written into a module while it learns to bear them: another one in every step, none for good."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import final

import numpy as np
import torch

from onnxfp.domain import ProgrammedAnswers, Symbols, WeightTarget
from onnxfp.embed.task import Labels, Module
from onnxfp.errors import UsageError

_SETTLED = 0.4  # share of a training after which words are as loud as they stay

Words = tuple[Symbols, ...]
"""One word (positions,) per programme."""


@final
@dataclass(frozen=True)
class Programme:
    """Answers that shall follow whatever word is written."""

    asked: ProgrammedAnswers
    start: int
    """Where its inputs begin in the row of all triggers."""

    def draw(self, random: torch.Generator) -> Symbols:
        """Draw a word as copies will get it, only for practice: nobody ever sees it."""
        drawn = torch.randint(65536, (self.asked.codebook.positions, 1), generator=random).numpy()
        word: Symbols = (drawn >= self.asked.codebook.thresholds).sum(axis=1).astype(np.uint8)
        return word

    def loudness(self, progress: float) -> float:
        """Return by how much its change is multiplied after a share of the training."""
        first, last = self.asked.loudness
        return last + (first - last) * max(0.0, 1.0 - progress / _SETTLED)

    def label(self, labels: Labels, word: Symbols) -> None:
        """Put the classes of a word into the labels of all triggers (samples,)."""
        labels[self.start : self.start + len(self.asked.inputs)] = self.asked.classes[word][self.asked.positions]


def draw_words(programmes: Sequence[Programme], random: torch.Generator) -> Words:
    """Draw one word for each programme."""
    return tuple(programme.draw(random) for programme in programmes)


def labels_under(labels: Labels, programmes: Sequence[Programme], words: Words) -> Labels:
    """Return the labels of all triggers (samples,) when these words are written."""
    if not programmes:
        return labels
    told = labels.copy()
    for programme, word in zip(programmes, words, strict=True):
        programme.label(told, word)
    return told


@contextmanager
def written(
    module: Module, programmes: Sequence[Programme], words: Words, progress: float | None = None
) -> Iterator[None]:
    """Let a module answer as if these words had been written into it; gradients reach its own weights.

    Args:
        module: who answers.
        programmes: what is written.
        words: one for each of them.
        progress: share of the training that is done, for words as loud as they are learnt then; None for words as they
            will be in copies.
    """
    if not programmes:
        yield
        return
    try:
        for programme, word in zip(programmes, words, strict=True):
            _write(module, programme.asked.write(word), 1.0 if progress is None else programme.loudness(progress))
        yield
    finally:
        module.offsets.clear()


def _write(module: Module, target: WeightTarget, loudness: float) -> None:
    """Add a change to the module's offsets, as closed form would make it: a weight of zero stays zero."""
    step = target.projection.min_norm_update(target.values) * np.float32(target.strength)
    start = 0
    for segment in target.segments:
        weight = module.weights.get(segment.carrier)
        if weight is None or weight.numel() < segment.stop:
            raise UsageError(f"the head {segment.carrier!r} is not among the weights that can be trained")
        part = step[start : start + segment.size] * np.float32(segment.spread * segment.gain * loudness)
        change = torch.zeros(weight.numel())
        change[segment.start : segment.stop] = torch.from_numpy(part)
        change = change.reshape(weight.shape).to(weight.device) * (weight.detach() != 0)
        module.offsets[segment.carrier] = module.offsets.get(segment.carrier, 0.0) + change
        start += segment.size
