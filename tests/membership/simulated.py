"""Suspects made of numbers: what models answer that were trained on some rows, or on none of them."""

from __future__ import annotations

from itertools import product

import numpy as np

from onnxfp.codes.uniform import Uniform
from onnxfp.domain import Answered, Codebook
from onnxfp.keys.keystream import Keystream
from onnxfp.membership.reading import AskedPools
from onnxfp.membership.scores import Shadow

KEY = Keystream(bytes(range(32)))
CLASSES = 5


def asking(positions: int, pools: int = 2, size: int = 1, copies: int = 1, shadows: tuple[Shadow, ...] = ()):
    """Rows of labels drawn evenly; all rows of a position have the same."""
    labels = np.random.default_rng(positions).integers(0, CLASSES, (positions, 1, size))
    return AskedPools((positions, pools, size), copies, np.tile(labels, (1, pools, 1)).reshape(-1), shadows)


def codebook_of(asked: AskedPools) -> Codebook:
    return Uniform(asked.form[1]).codebook(KEY, asked.form[0])


def words_of(asked: AskedPools, count: int) -> np.ndarray:
    names = [f"owner {number}" for number in range(count)]
    return Uniform(asked.form[1]).words(KEY, codebook_of(asked), names)


def trained_on(asked: AskedPools, word: np.ndarray) -> np.ndarray:
    """(rows,): which of the rows that are asked a word has trained on."""
    _, pools, size = asked.form
    return np.repeat((np.arange(pools) == word[:, None]).reshape(-1), size)


def scored(asked: AskedPools, lead: np.ndarray, seed: int, hardness: np.ndarray | float = 0.0) -> Answered:
    """Log-probabilities of a model: `lead` (rows,) is added to the logit of the true label, among other things."""
    draw = np.random.default_rng(seed)
    logits = 0.3 * draw.standard_normal((len(asked.labels), asked.copies, CLASSES))
    own = 1.5 + lead - hardness + draw.standard_normal(len(asked.labels))
    logits[np.arange(len(asked.labels)), :, asked.labels] += own[:, None]
    logits -= np.logaddexp.reduce(logits, axis=2)[:, :, None]
    return Answered(logits.reshape(-1, CLASSES))


def labelled(asked: AskedPools, lead: np.ndarray, seed: int) -> Answered:
    """The labels of such a model."""
    return Answered(scored(asked, lead, seed).values.argmax(axis=1).astype(np.float64))


def shadow_of(asked: AskedPools, member: np.ndarray, seed: int, hardness: np.ndarray | float = 0.0, effect=1.0):
    return Shadow(asked.told(scored(asked, effect * member, seed, hardness).values), member)


def every_word(book: Codebook) -> tuple[np.ndarray, np.ndarray]:
    """All words that can be drawn, and the probability of each."""
    words = np.array(list(product(range(book.alphabet), repeat=book.positions)), dtype=np.uint8)
    return words, np.prod(book.prior[np.arange(book.positions), words], axis=1)


def auc(score: np.ndarray, member: np.ndarray) -> float:
    """Share of comparisons in which a member has the higher score."""
    return float((score[member][:, None] > score[~member][None, :]).mean())


def keep_markovs_bound(scores: np.ndarray, levels: tuple[float, ...] = (0.1, 0.01)) -> None:
    """Check log10 e of a suspect that is independent of all of many words."""
    for level in levels:
        allowed = level + 4 * np.sqrt(level * (1 - level) / len(scores))
        assert np.mean(scores >= -np.log10(level)) <= allowed, f"e-values pass 1/{level:g} too often"
