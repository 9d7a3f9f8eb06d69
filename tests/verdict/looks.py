"""Looks at suspects that were never there: readings and words as a test wants them."""

from __future__ import annotations

import numpy as np

from onnxfp.domain import Codebook, Reading
from onnxfp.verdict.channels import Copies
from onnxfp.verdict.look import Look

HALF = np.uint32(1 << 15)


def fair(positions: int) -> Codebook:
    return Codebook(np.full((positions, 1), HALF))


def say(word: np.ndarray, confidence: float = 5.0, coverage: float = 1.0, **more: object) -> Reading:
    """A reading that is confident of one word, with a hypothesis that says nothing beside it."""
    scores = np.zeros((2, len(word), 2))
    scores[1, np.arange(len(word)), word] = confidence
    return Reading(scores, np.full(2, 0.5), coverage, **more)


def word_of(name: str, positions: int) -> np.ndarray:
    """A word that depends on the name alone."""
    return np.random.default_rng(list(name.encode())).integers(0, 2, positions).astype(np.uint8)


def words_of(positions: int):
    return lambda names: np.stack([word_of(name, positions) for name in names])


def look_saying(name: str, positions: int = 64, *, independent: bool = True, scheme: str = "fake", **more) -> Look:
    """A look at a suspect that shows one name's word."""
    reading = say(word_of(name, positions), **more)
    return Look(scheme, fair(positions), words_of(positions), independent, reading)


def shut_look(reason: str = "the door was shut", positions: int = 64, scheme: str = "fake") -> Look:
    """A look of which nothing could be read."""
    reading = Reading(np.zeros((1, positions, 2)), np.ones(1), coverage=0.0, unread=(reason,))
    return Look(scheme, fair(positions), words_of(positions), True, reading)


def each(*looks: Look) -> tuple[Copies, ...]:
    """Each look as the only channel of a reference of its own."""
    return tuple(Copies((look,)) for look in looks)
