"""Words by thresholds: drawn with exactly their prior, each for its name alone; and pinned for all releases."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxfp.codes.catalogue import CATALOGUE, code_named
from onnxfp.codes.tardos import Tardos
from onnxfp.codes.uniform import Uniform
from onnxfp.codes.words import BLOCK, draw_words, word_blocks
from onnxfp.domain import Codebook
from onnxfp.errors import UsageError
from onnxfp.keys.keystream import Keystream

KEY = Keystream(bytes(range(32)))
NAMES = [f"recipient {at}" for at in range(600)]
INDEPENDENT = [code for code in CATALOGUE.values() if code.independent]


def exact_prior(codebook: Codebook, position: int) -> list[Fraction]:
    """The share of the 65 536 words that realise each symbol, by drawing every one of them."""
    edges = codebook.thresholds[position].astype(int).tolist()
    symbols = [sum(word >= edge for edge in edges) for word in range(65536)]
    return [Fraction(symbols.count(symbol), 65536) for symbol in range(codebook.alphabet)]


# --- priors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("edges", [[0], [1], [32768], [65535], [65536], [0, 65536], [21845, 43691], [5, 5, 9]])
def test_the_prior_is_the_exact_share_of_words_that_realise_a_symbol(edges):
    codebook = Codebook(np.array([edges], dtype=np.uint32))
    exact = exact_prior(codebook, 0)
    assert [Fraction(float(share)) for share in codebook.prior[0]] == exact
    assert sum(exact) == 1


@given(st.lists(st.integers(0, 65536), min_size=1, max_size=5))
@settings(max_examples=50, deadline=None, derandomize=True, database=None)
def test_every_prior_sums_to_one_without_rounding(edges):
    prior = Codebook(np.sort(np.array([edges], dtype=np.uint32), axis=1)).prior[0]
    assert sum(Fraction(float(share)) for share in prior) == 1


@pytest.mark.parametrize("alphabet", [2, 3, 10, 256])
def test_uniform_symbols_are_as_probable_as_16_bits_allow(alphabet):
    prior = Uniform(alphabet).codebook(KEY, 3).prior
    assert prior.shape == (3, alphabet)
    assert np.abs(prior - 1 / alphabet).max() <= 1 / 65536


def test_two_uniform_symbols_are_exactly_even():
    assert (Uniform().codebook(KEY, 4).prior == 0.5).all()


# --- drawing ----------------------------------------------------------------------------------------------------------


def test_a_symbol_counts_the_thresholds_at_or_below_its_word():
    codebook = Codebook(np.array([[100, 40_000]] * 64, dtype=np.uint32))
    drawn = KEY.named_words16(["Acme"], 64)[0].astype(int)
    expected = [int(word >= 100) + int(word >= 40_000) for word in drawn]
    assert draw_words(KEY, codebook, ["Acme"])[0].tolist() == expected


@pytest.mark.parametrize("code", INDEPENDENT, ids=lambda code: code.name)
def test_symbols_are_as_frequent_as_their_prior_says(code):
    codebook = code.codebook(KEY, 512)
    ones = np.concatenate([code.words(KEY, codebook, NAMES[at : at + 200]) for at in range(0, 600, 200)])
    bias = codebook.prior[:, 1]
    deviations = (ones.sum(axis=0) - len(ones) * bias) / np.sqrt(len(ones) * bias * (1 - bias))
    assert np.abs(deviations).max() < 6
    assert 0.8 < np.mean(deviations**2) < 1.2


@pytest.mark.parametrize("code", CATALOGUE.values(), ids=lambda code: code.name)
def test_a_word_depends_on_its_name_alone_and_not_on_the_batch(code):
    codebook = code.codebook(KEY, getattr(code, "points", 64))
    together = code.words(KEY, codebook, NAMES[:50])
    alone = np.concatenate([code.words(KEY, codebook, [name]) for name in NAMES[:50]])
    backwards = code.words(KEY, codebook, NAMES[:50][::-1])
    assert together.dtype == np.uint8
    assert (together == alone).all()
    assert (together == backwards[::-1]).all()


@pytest.mark.parametrize("code", CATALOGUE.values(), ids=lambda code: code.name)
def test_another_key_gives_another_word(code):
    codebook = code.codebook(KEY, getattr(code, "points", 64))
    words = [code.words(KEY.derive(label), codebook, ["Acme"]).tobytes() for label in "abcdefgh"]
    assert len(set(words)) > 4


@pytest.mark.parametrize("code", INDEPENDENT, ids=lambda code: code.name)
def test_two_words_are_as_alike_as_chance_makes_them(code):
    codebook = code.codebook(KEY, 2048)
    words = code.words(KEY, codebook, NAMES[:40])
    alike = float((codebook.prior**2).sum(axis=1).mean())
    pairs = [np.mean(words[a] == words[b]) for a in range(40) for b in range(a)]
    assert np.mean(pairs) == pytest.approx(alike, abs=0.005)


@pytest.mark.parametrize("count", [0, 1, BLOCK, BLOCK + 1, 600])
def test_blocks_hold_all_words_in_their_order(count):
    code = Uniform()
    codebook = code.codebook(KEY, 16)
    blocks = list(word_blocks(code, KEY, codebook, NAMES[:count]))
    assert [name for names, _ in blocks for name in names] == NAMES[:count]
    assert all(len(names) == len(words) <= BLOCK for names, words in blocks)
    assert (
        np.concatenate([words for _, words in blocks] or [np.zeros((0, 16))])
        == code.words(KEY, codebook, NAMES[:count])
    ).all()


def test_an_unknown_code_is_refused_with_the_names_of_all():
    with pytest.raises(UsageError, match=r"no code is called 'morse'; there are .*tardos, uniform"):
        code_named("morse")


# --- Tardos -----------------------------------------------------------------------------------------------------------


def test_biases_follow_the_arcsine_law_between_the_cut_offs():
    from scipy.stats import kstest

    cutoff = 1 / (300 * 30)
    bias = Tardos(30).codebook(KEY, 20_000).prior[:, 1]
    assert bias.min() >= cutoff - 1 / 65536
    assert bias.max() <= 1 - cutoff + 1 / 65536
    least = np.arcsin(np.sqrt(cutoff))
    angle = (np.arcsin(np.sqrt(bias)) - least) / (np.pi / 2 - 2 * least)
    assert kstest(angle, "uniform").pvalue > 1e-4
    assert kstest(np.sort(KEY.normals(20_000)), "uniform").pvalue < 1e-4  # the test can tell


@pytest.mark.parametrize("colluders", [2, 30, 100])
def test_no_bias_is_ever_zero_or_one(colluders):
    thresholds = Tardos(colluders).codebook(KEY, 50_000).thresholds
    assert thresholds.min() > 0
    assert thresholds.max() < 65536


def test_biases_depend_on_the_key():
    assert not np.array_equal(Tardos().codebook(KEY, 64).thresholds, Tardos().codebook(KEY.derive("b"), 64).thresholds)


def test_a_shorter_codebook_begins_the_longer_one():
    assert np.array_equal(Tardos().codebook(KEY, 64).thresholds, Tardos().codebook(KEY, 128).thresholds[:64])


# --- pinned: a release that changes one of these accuses nobody, or worse, somebody else ------------------------------


@pytest.mark.parametrize(
    ("name", "positions", "word"),
    [
        ("bibd13", 13, "0111100010001"),
        ("bibd21", 21, "000011001000111101110"),
        ("bibd31", 31, "0110110010011101110111110010101"),
        ("bibd7", 7, "0010010"),
        ("orthogonal", 32, "00100101000010101110100001010011"),
        ("tardos", 64, "0001111011010010001010001010110001100000111111001100101010111001"),
        ("uniform", 64, "0100110110000010011010001101100101011010110010000110101011011010"),
    ],
)
def test_the_words_are_those_of_every_release(name, positions, word):
    code = code_named(name)
    drawn = code.words(KEY, code.codebook(KEY, positions), ["Acme Corp"])[0]
    assert "".join(map(str, drawn[:64].tolist())) == word


def test_the_biases_are_those_of_every_release():
    assert Tardos().codebook(KEY, 8).thresholds[:, 0].tolist() == [8257, 53662, 58107, 3611, 32283, 49945, 549, 53244]
