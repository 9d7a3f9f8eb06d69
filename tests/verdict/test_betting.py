"""The one test: its mean is exactly 1, by enumerating all codewords; its tails keep Markov's and Ville's bounds."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from onnxfp.codes.tardos import Tardos
from onnxfp.domain import Codebook, Reading
from onnxfp.keys.keystream import Keystream
from onnxfp.verdict.betting import Bet, log10_e, place_bet
from tests.verdict.looks import fair, say

DRAW = np.random.default_rng


def all_words(positions: int, alphabet: int) -> np.ndarray:
    """Every codeword there is: (alphabet ** positions, positions)."""
    return np.indices((alphabet,) * positions, dtype=np.uint8).reshape(positions, -1).T


def probabilities(codebook: Codebook, words: np.ndarray) -> np.ndarray:
    """How probable each word is: the product of its symbols' priors, computed from the thresholds alone."""
    total = np.ones(len(words))
    for position, edges in enumerate(codebook.thresholds.astype(int).tolist()):
        bounds = [0, *edges, 65536]
        share = np.array([(high - low) / 65536 for low, high in pairwise(bounds)])
        total *= share[words[:, position]]
    return total


def biased(positions: int, alphabet: int, seed: int) -> Codebook:
    drawn = DRAW(seed).integers(1, 65536, (positions, alphabet - 1))
    return Codebook(np.sort(drawn, axis=1).astype(np.uint32))


def uniform(positions: int, alphabet: int, seed: int) -> Codebook:
    del seed
    edges = np.round(np.arange(1, alphabet) * 65536 / alphabet).astype(np.uint32)
    return Codebook(np.tile(edges, (positions, 1)))


def nearly_certain(positions: int, alphabet: int, seed: int) -> Codebook:
    edges = np.full((positions, alphabet - 1), 65535)
    edges[::2] = np.arange(1, alphabet)
    del seed
    return Codebook(edges.astype(np.uint32))


def with_impossible_symbols(positions: int, alphabet: int, seed: int) -> Codebook:
    """Some symbols have prior 0: between equal thresholds, before a 0 or past the last word."""
    edges = DRAW(seed).integers(1, 65536, (positions, alphabet - 1))
    edges[0], edges[1] = 0, 65536
    edges[2] = edges[2, 0]
    return Codebook(np.sort(edges, axis=1).astype(np.uint32))


PRIORS = (uniform, biased, nearly_certain, with_impossible_symbols)


def quiet(rng, shape):
    return rng.normal(size=shape)


def silent(rng, shape):
    del rng
    return np.zeros(shape)


def loud(rng, shape):
    return 40 * rng.normal(size=shape)


def one_symbol_only(rng, shape):
    """As sure of one symbol as floats allow, of another one at every position."""
    scores = np.full(shape, -700.0)
    picks = rng.integers(0, shape[2], shape[:2])
    np.put_along_axis(scores, picks[:, :, None], 0.0, axis=2)
    return scores


def far_from_zero(rng, shape):
    return rng.normal(size=shape) - 1e6


SCORES = (quiet, silent, loud, one_symbol_only, far_from_zero)


def reading_of(scores, positions, alphabet, seed) -> Reading:
    rng = DRAW(seed)
    hypotheses = int(rng.integers(1, 5))
    weights = rng.dirichlet(np.ones(hypotheses))
    if hypotheses > 2:
        weights = np.array([0.0, *weights[1:]]) / weights[1:].sum()  # one hypothesis without weight
    return Reading(scores(rng, (hypotheses, positions, alphabet)), weights)


def mean_e(reading: Reading, codebook: Codebook) -> float:
    """The mean over all words that can be drawn at all."""
    words = all_words(codebook.positions, codebook.alphabet)
    chances = probabilities(codebook, words)
    drawn = chances > 0
    return float(np.sum(10.0 ** (np.log10(chances[drawn]) + log10_e(reading, codebook, words[drawn]))))


@pytest.mark.parametrize(("positions", "alphabet"), [(1, 2), (5, 2), (12, 2), (3, 3), (8, 3), (4, 5)])
@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("scores", SCORES)
def test_the_mean_over_all_codewords_is_one(scores, prior, positions, alphabet):
    if prior is with_impossible_symbols and positions < 3:
        positions = 3
    for seed in range(3):
        codebook = prior(positions, alphabet, seed)
        assert mean_e(reading_of(scores, positions, alphabet, seed), codebook) == pytest.approx(1, abs=1e-9)


def test_the_mean_over_half_a_million_codewords_is_one():
    codebook = biased(12, 3, 5)
    assert mean_e(reading_of(quiet, 12, 3, 1), codebook) == pytest.approx(1, abs=1e-9)


def test_the_mean_is_one_for_the_adversary_that_picks_the_best_scores_for_a_word():
    """S made of the word itself would win; made of another word, however cleverly, it wins nothing on average."""
    codebook = biased(10, 2, 3)
    for target in all_words(10, 2)[::97]:
        assert mean_e(say(target, confidence=30.0), codebook) == pytest.approx(1, abs=1e-9)


def test_the_enumeration_notices_a_bet_that_pretends_another_prior():
    told, true = uniform(8, 2, 0), biased(8, 2, 4)
    words = all_words(8, 2)
    reading = reading_of(loud, 8, 2, 0)
    assert abs(float(probabilities(true, words) @ 10.0 ** log10_e(reading, told, words)) - 1) > 1e-3


def test_the_enumeration_notices_weights_that_do_not_sum_to_one():
    assert mean_e(Reading(np.zeros((2, 4, 2)), np.array([0.5, 0.6])), fair(4)) == pytest.approx(1.1)


def test_every_word_that_can_be_drawn_has_a_finite_logarithm():
    codebook = with_impossible_symbols(6, 3, 0)
    words = all_words(6, 3)
    possible = words[probabilities(codebook, words) > 0]
    assert np.isfinite(log10_e(reading_of(one_symbol_only, 6, 3, 2), codebook, possible)).all()


def test_a_position_with_one_possible_symbol_says_nothing():
    codebook = Codebook(np.array([[0], [1 << 15]], dtype=np.uint32))
    reading = Reading(np.array([[[9.0, -9.0], [0.0, 0.0]]]), np.ones(1))
    assert log10_e(reading, codebook, np.array([[1, 0], [1, 1]], dtype=np.uint8)) == pytest.approx([0, 0], abs=1e-12)


def test_the_e_value_is_the_formula():
    codebook, reading = biased(5, 3, 1), reading_of(quiet, 5, 3, 3)
    for word in all_words(5, 3)[::17]:
        expected = 0.0
        for weight, scores in zip(reading.weights, reading.log_scores, strict=True):
            product = 1.0
            for position, symbol in enumerate(word):
                divisor = codebook.prior[position] @ np.exp(scores[position])
                product *= np.exp(scores[position, symbol]) / divisor
            expected += weight * product
        assert log10_e(reading, codebook, word[None])[0] == pytest.approx(np.log10(expected), abs=1e-9)


def test_a_binary_bet_is_a_matrix_product_minus_log_cosh():
    h, words = DRAW(1).normal(size=9), all_words(9, 2)
    reading = Reading(np.stack([-h, h], axis=1)[None], np.ones(1))
    expected = ((2.0 * words - 1) @ h - np.log(np.cosh(h)).sum()) / np.log(10)
    assert log10_e(reading, fair(9), words) == pytest.approx(expected, abs=1e-12)


# --- looking after every position -------------------------------------------------------------------------------------


def capital(reading: Reading, codebook: Codebook, words: np.ndarray) -> np.ndarray:
    """The running mixture: e-value of every word (words, positions + 1) after 0, 1, 2, ... positions."""
    running = [np.ones(len(words))]
    for stop in range(1, codebook.positions + 1):
        prefix = Reading(reading.log_scores[:, :stop], reading.weights)
        book = Codebook(codebook.thresholds[:stop])
        running.append(10.0 ** log10_e(prefix, book, words[:, :stop]))
    return np.stack(running, axis=1)


def stopped(running: np.ndarray, stops: np.ndarray) -> np.ndarray:
    """The value at the first place where a rule says stop, or at the end."""
    at = np.where(stops.any(axis=1), stops.argmax(axis=1), running.shape[1] - 1)
    return running[np.arange(len(running)), at]


RULES = {
    "as soon as it doubled": lambda running: running >= 2,
    "as soon as it halved": lambda running: running <= 0.5,
    "when it fell from a peak": lambda running: running < 0.7 * np.maximum.accumulate(running, axis=1),
    "when it left a band": lambda running: (running > 1.5) | (running < 0.6),
    "never": lambda running: np.zeros(running.shape, dtype=bool),
    "at once": lambda running: np.ones(running.shape, dtype=bool),
}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES.keys())
@pytest.mark.parametrize("alphabet", [2, 3])
def test_the_mean_stays_one_after_optional_stopping(rule, alphabet):
    positions = {2: 10, 3: 7}[alphabet]
    words = all_words(positions, alphabet)
    for seed in range(3):
        codebook = biased(positions, alphabet, seed)
        running = capital(reading_of(quiet, positions, alphabet, seed), codebook, words)
        ended = stopped(running, rule(running))
        assert float(probabilities(codebook, words) @ ended) == pytest.approx(1, abs=1e-9)


def test_picking_the_best_moment_afterwards_is_no_stopping_rule_and_is_noticed():
    codebook, words = biased(10, 2, 0), all_words(10, 2)
    running = capital(reading_of(quiet, 10, 2, 0), codebook, words)
    assert float(probabilities(codebook, words) @ running.max(axis=1)) > 1.05


@pytest.mark.parametrize("level", [0.5, 0.1, 0.01])
def test_the_chance_of_ever_passing_a_level_keeps_villes_bound(level):
    words = all_words(12, 2)
    seen = 0.0
    for seed in range(5):
        codebook = biased(12, 2, seed)
        running = capital(reading_of(quiet, 12, 2, seed), codebook, words)
        chance = float(probabilities(codebook, words) @ (running.max(axis=1) >= 1 / level))
        assert chance <= level + 1e-12
        seen = max(seen, chance)
    assert seen > level / 50, "a bound that is never approached was not tested"


def test_scores_may_depend_on_earlier_symbols():
    """A better who learns from what was seen still has mean 1, as long as the next symbol is unknown."""
    codebook, words = biased(9, 2, 7), all_words(9, 2)
    e = np.ones(len(words))
    for position in range(9):
        seen = words[:, :position].sum(axis=1) - position / 2.0
        scores = np.stack([-seen, seen], axis=1)
        prior = codebook.prior[position]
        e *= np.exp(scores[np.arange(len(words)), words[:, position]]) / (np.exp(scores) @ prior)
    assert float(probabilities(codebook, words) @ e) == pytest.approx(1, abs=1e-9)


# --- tails by Monte Carlo, over words as they are really drawn --------------------------------------------------------


@pytest.mark.parametrize("spread", [0.2, 1.0, 4.0])
def test_words_of_the_keystream_keep_markovs_bound(spread):
    keystream, positions, names = Keystream(bytes(32)), 64, [f"name {at}" for at in range(20_000)]
    codebook = Tardos().codebook(keystream, positions)
    words = Tardos().words(keystream, codebook, names)
    answers = spread * DRAW(5).normal(size=positions)
    reading = Reading(
        np.stack([-answers, answers], axis=1)[None] * np.array([0.0, 0.3, 1.0])[:, None, None], np.ones(3) / 3
    )
    scores = log10_e(reading, codebook, words)
    for level in (0.1, 0.01, 0.001):
        allowed = level + 5 * np.sqrt(level / len(names))
        assert np.mean(scores >= -np.log10(level)) <= allowed
    assert (scores > 0.2).any()


def test_the_sum_over_a_grid_equals_one_word_at_a_time():
    codebook, reading = biased(40, 3, 1), reading_of(quiet, 40, 3, 3)
    words = DRAW(2).integers(0, 3, (50, 40)).astype(np.uint8)
    together = place_bet(reading, codebook).log10_e(words)
    assert together == pytest.approx([log10_e(reading, codebook, word[None])[0] for word in words], abs=1e-9)


def test_no_words_weigh_nothing():
    assert isinstance(bet := place_bet(say(np.zeros(4, dtype=np.uint8)), fair(4)), Bet)
    assert bet.log10_e(np.zeros((0, 4), dtype=np.uint8)).shape == (0,)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_refused(wrong):
    scores = np.zeros((1, 4, 2))
    scores[0, 1, 1] = wrong
    with pytest.raises(ValueError, match="not finite"):
        place_bet(Reading(scores, np.ones(1)), fair(4))


@pytest.mark.parametrize("shape", [(1, 3, 2), (1, 5, 2), (1, 4, 3), (1, 4, 1)])
def test_scores_that_do_not_fit_the_codebook_are_refused(shape):
    with pytest.raises(ValueError, match="do not fit"):
        place_bet(Reading(np.zeros(shape), np.ones(1)), fair(4))
