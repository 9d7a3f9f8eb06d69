"""Exact tails beside enumeration, Monte Carlo and the textbook; and p-values that are never below uniform."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.stats import binom

from onnxfp.codes.allowed import Allowed
from onnxfp.codes.uniform import Uniform
from onnxfp.domain import Codebook
from onnxfp.keys.keystream import Keystream
from onnxfp.verdict.tails import exact_tail, points
from tests.verdict.test_betting import all_words, biased, probabilities, with_impossible_symbols

KEY = Keystream(bytes(range(32)))
DRAW = np.random.default_rng


def enumerated(tally: np.ndarray, codebook: Codebook, word: np.ndarray) -> float:
    """The same chance, by looking at every word there is."""
    words = all_words(codebook.positions, codebook.alphabet)
    scored = tally[np.arange(codebook.positions), words].sum(axis=1)
    return float(probabilities(codebook, words)[scored >= points(tally, word)].sum())


def one_answer_each(positions: int, alphabet: int, seed: int) -> np.ndarray:
    """A tally of one label per position."""
    return np.eye(alphabet, dtype=np.int64)[DRAW(seed).integers(0, alphabet, positions)]


@given(
    arrays.arrays(np.int64, st.tuples(st.integers(1, 5), st.integers(2, 4)), elements=st.integers(0, 6)),
    st.integers(0, 10**6),
)
@settings(max_examples=100, deadline=None, derandomize=True, database=None)
def test_the_tail_is_the_chance_over_all_words(tally, seed):
    codebook = biased(*tally.shape, seed)
    for word in DRAW(seed).integers(0, tally.shape[1], (5, len(tally))):
        assert exact_tail(tally, codebook, word) == pytest.approx(enumerated(tally, codebook, word), abs=1e-12)


def test_the_tail_is_right_where_symbols_have_no_prior():
    codebook, tally = with_impossible_symbols(6, 3, 1), DRAW(1).integers(0, 5, (6, 3))
    for word in all_words(6, 3)[::31]:
        assert exact_tail(tally, codebook, word) == pytest.approx(enumerated(tally, codebook, word), abs=1e-12)


@pytest.mark.parametrize("code", [Uniform(4), Allowed(DRAW(3).random((24, 7)) < 0.8)], ids=["uniform", "allowed"])
def test_the_tail_is_the_share_of_drawn_words_that_do_as_well(code):
    """Monte Carlo over the keystream itself, both tails."""
    codebook, count = code.codebook(KEY, 24), 20_000
    tally = DRAW(5).integers(0, 3, (24, codebook.alphabet))
    words = code.words(KEY, codebook, [f"key {at}" for at in range(count)])
    scored = np.sort(tally[np.arange(24), words].sum(axis=1))
    for share in (0.002, 0.02, 0.2, 0.5, 0.8, 0.98, 0.998):
        target = scored[int(share * count)]
        word = next(word for word in words if points(tally, word) == target)
        tail, seen = exact_tail(tally, codebook, word), np.mean(scored >= target)
        assert abs(seen - tail) < 5 * np.sqrt(tail * (1 - tail) / count) + 1e-6


@pytest.mark.parametrize(("positions", "alphabet"), [(1, 2), (30, 2), (64, 4), (100, 8), (4096, 16)])
def test_hits_with_even_chances_are_binomial(positions, alphabet):
    codebook, tally = Uniform(alphabet).codebook(KEY, positions), one_answer_each(positions, alphabet, 1)
    asked, mean = tally.argmax(axis=1), positions / alphabet
    for hits in np.unique(np.clip([0, 1, mean - 1, mean, 2 * mean, positions], 0, positions).astype(int)):
        word = np.where(np.arange(positions) < hits, asked, (asked + 1) % alphabet)
        expected = binom.sf(hits - 1, positions, 1 / alphabet)
        assert exact_tail(tally, codebook, word) == pytest.approx(expected, rel=1e-9, abs=1e-14)


def poisson_binomial(chances: np.ndarray) -> np.ndarray:
    """How probable 0, 1, 2, ... hits are: the Fourier transform of the characteristic function."""
    turns = np.exp(2j * np.pi * np.arange(len(chances) + 1) / (len(chances) + 1))
    return np.fft.fft(np.prod(1 + chances[:, None] * (turns - 1), axis=0)).real / len(turns)


def test_hits_with_uneven_chances_are_poisson_binomial():
    codebook, tally = biased(40, 5, 2), one_answer_each(40, 5, 3)
    chances = codebook.prior[np.arange(40), tally.argmax(axis=1)]
    for hits in (0, 3, 8, 15, 25):
        word = np.where(np.arange(40) < hits, tally.argmax(axis=1), (tally.argmax(axis=1) + 1) % 5)
        assert exact_tail(tally, codebook, word) == pytest.approx(poisson_binomial(chances)[hits:].sum(), abs=1e-12)


@pytest.mark.parametrize("ties", [1, 3, 300])
def test_the_tail_of_one_position_is_the_rank_of_the_word(ties):
    counts = DRAW(ties).integers(0, ties + 8, 256)
    codebook = Uniform(256).codebook(KEY, 1)
    for symbol in range(0, 256, 17):
        rank = np.count_nonzero(counts >= counts[symbol])
        assert exact_tail(counts[None], codebook, np.array([symbol])) == pytest.approx(rank / 256, abs=1e-12)


def test_nothing_answered_has_a_tail_of_one():
    word = np.zeros(9, dtype=np.uint8)
    assert exact_tail(np.zeros((9, 3), dtype=np.int64), Uniform(3).codebook(KEY, 9), word) == 1.0


@given(
    arrays.arrays(np.int64, st.tuples(st.integers(1, 5), st.integers(2, 4)), elements=st.integers(0, 3)),
    st.integers(0, 10**6),
)
@settings(max_examples=60, deadline=None, derandomize=True, database=None)
def test_the_p_value_of_an_independent_suspect_is_never_below_uniform(tally, seed):
    codebook = biased(*tally.shape, seed)
    words = all_words(*tally.shape)
    chances = probabilities(codebook, words)
    p_values = np.array([exact_tail(tally, codebook, word) for word in words])
    for level in np.unique(p_values):
        assert chances[p_values <= level].sum() <= level + 1e-12


def test_the_p_value_is_not_vacuous_either():
    """At every level that it takes, it is that probable, exactly."""
    codebook, tally = Uniform(4).codebook(KEY, 6), one_answer_each(6, 4, 0)
    words = all_words(6, 4)
    p_values = np.array([exact_tail(tally, codebook, word) for word in words])
    for level in np.unique(p_values):
        assert np.mean(p_values <= level) == pytest.approx(level, abs=1e-12)
    assert p_values.min() == pytest.approx(4.0**-6)


def test_points_of_a_word_are_counted_at_its_symbols():
    assert points(np.array([[1, 0, 7], [2, 5, 0]]), np.array([2, 1])) == 12
