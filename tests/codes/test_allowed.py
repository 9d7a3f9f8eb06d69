"""Words with symbols left out: an exact prior that is zero for what is excluded, and never a symbol that is."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from onnxfp.codes.allowed import Allowed
from onnxfp.keys.keystream import Keystream
from tests.codes.test_words import exact_prior

KEY = Keystream(bytes(range(32)))
NAMES = [f"recipient {at}" for at in range(400)]
MASKS = arrays.arrays(np.bool_, st.tuples(st.integers(1, 6), st.integers(2, 12)))


def at_least_two(mask: np.ndarray) -> np.ndarray:
    """The mask, with its first two symbols allowed where fewer than two were."""
    mask = mask.copy()
    mask[mask.sum(axis=1) < 2, :2] = True
    return mask


@given(MASKS.map(at_least_two))
@settings(max_examples=100, deadline=None, derandomize=True, database=None)
def test_the_prior_is_a_multiple_of_two_to_the_minus_16_and_zero_for_what_is_excluded(allowed):
    prior = Allowed(allowed).codebook(KEY, len(allowed)).prior
    shares = [[Fraction(float(share)) for share in row] for row in prior]
    assert all(65536 * share == int(65536 * share) for row in shares for share in row)
    assert all(sum(row) == 1 for row in shares)
    assert ((prior > 0) == allowed).all()
    assert np.abs(prior - allowed / allowed.sum(axis=1, keepdims=True)).max() <= 1 / 65536


@pytest.mark.parametrize("allowed", [[1, 1], [0, 1, 1], [1, 0, 1], [1, 1, 0], [0, 1, 0, 1, 0], [0, 0, 1, 1, 0, 1, 0]])
def test_the_prior_is_the_share_of_16_bit_words_that_realise_a_symbol(allowed):
    """By drawing every one of them; excluded symbols first, between and last."""
    codebook = Allowed(np.array([allowed], dtype=bool)).codebook(KEY, 1)
    assert [Fraction(float(share)) for share in codebook.prior[0]] == exact_prior(codebook, 0)


@given(MASKS.map(at_least_two))
@settings(max_examples=50, deadline=None, derandomize=True, database=None)
def test_no_word_holds_an_excluded_symbol(allowed):
    code = Allowed(allowed)
    words = code.words(KEY, code.codebook(KEY, len(allowed)), NAMES)
    assert words.dtype == np.uint8
    assert allowed[np.arange(len(allowed)), words].all()


@pytest.mark.parametrize("alphabet", [2, 3, 10, 64, 256])
def test_allowed_symbols_are_drawn_as_often_as_the_prior_says(alphabet):
    rng = np.random.default_rng(alphabet)
    allowed = at_least_two(rng.random((48, alphabet)) < 0.7)
    code = Allowed(allowed)
    codebook = code.codebook(KEY, 48)
    words = code.words(KEY, codebook, NAMES)
    counts = (words[:, :, None] == np.arange(alphabet)).sum(axis=0)
    expected = len(NAMES) * codebook.prior
    chi_square = np.sum((counts - expected)[allowed] ** 2 / expected[allowed])
    freedom = int(allowed.sum()) - 48
    assert abs(chi_square - freedom) < 6 * np.sqrt(2 * freedom)


def test_that_count_notices_a_code_that_redraws_into_the_neighbour():
    """Excluded symbols that are moved up instead of left out of the prior double their neighbours' share."""
    allowed = np.ones((48, 4), dtype=bool)
    allowed[:, 1] = False
    words = Allowed(np.ones((48, 4), dtype=bool)).words(
        KEY, Allowed(np.ones((48, 4), dtype=bool)).codebook(KEY, 48), NAMES
    )
    words = np.where(words == 1, 2, words)
    prior = Allowed(allowed).codebook(KEY, 48).prior
    expected = len(NAMES) * prior
    counts = (words[:, :, None] == np.arange(4)).sum(axis=0)
    chi_square = np.sum((counts - expected)[allowed] ** 2 / expected[allowed])
    assert chi_square > 96 + 6 * np.sqrt(192)


@pytest.mark.parametrize("allowed", [[[True, False]], [[False, False]], [[True, True], [False, True]]])
def test_a_position_with_fewer_than_two_symbols_is_a_mistake_of_the_programmer(allowed):
    with pytest.raises(ValueError, match="fewer than two"):
        Allowed(np.array(allowed))


def test_another_number_of_positions_is_a_mistake_of_the_programmer():
    with pytest.raises(ValueError, match="2 positions say which symbols are allowed, not 3"):
        Allowed(np.ones((2, 4), dtype=bool)).codebook(KEY, 3)


def test_words_of_different_keys_and_names_are_independent_enough_to_name_somebody():
    code = Allowed(at_least_two(np.random.default_rng(1).random((64, 10)) < 0.8))
    codebook = code.codebook(KEY, 64)
    assert code.independent
    here, there = (code.words(key, codebook, NAMES[:50]) for key in (KEY, KEY.derive("another")))
    alike = float((codebook.prior**2).sum(axis=1).mean())
    assert np.mean(here == there) == pytest.approx(alike, abs=0.02)
    assert np.mean(here[:-1] == here[1:]) == pytest.approx(alike, abs=0.02)


def test_the_words_are_those_of_every_release():
    allowed = np.ones((16, 10), dtype=bool)
    allowed[np.arange(16), np.arange(16) % 10] = False
    code = Allowed(allowed)
    word = code.words(KEY, code.codebook(KEY, 16), ["owner"])[0]
    assert "".join(map(str, word.tolist())) == "3554924227847816"
