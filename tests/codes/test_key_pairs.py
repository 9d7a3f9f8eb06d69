"""What answers say of keys and decoys: the e-value has mean exactly 1 whatever is answered and whenever one stops."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from onnxfp.codes.key_pairs import AskedPairs, pair_reading
from onnxfp.codes.uniform import Uniform
from onnxfp.domain import Answered, Codebook, Unanswered
from onnxfp.keys.keystream import Keystream
from onnxfp.verdict.betting import log10_e
from onnxfp.verdict.tails import exact_tail, points
from tests.codes.test_key_labels import (
    CLASSES,
    best_scores_only,
    certain,
    labels,
    labels_with_gaps,
    reference,
    scores,
    scores_with_gaps,
    wide_scores,
)
from tests.verdict.test_betting import all_words

DRAW = np.random.default_rng
KNOWN = 16
FORMS = (labels, labels_with_gaps, scores, scores_with_gaps, best_scores_only, certain, wide_scores)


def quiz(positions: int, classes: int = 10, known: int = KNOWN) -> tuple[AskedPairs, Codebook]:
    symbols = DRAW(7).integers(0, 2, known).astype(np.uint8)
    asked = AskedPairs(reference(2 * (known + positions), classes), symbols)
    return asked, Uniform().codebook(Keystream(bytes(32)), positions)


def mean_e(asked: AskedPairs, codebook: Codebook, response: object) -> float:
    words = all_words(codebook.positions, 2)
    return float(np.mean(10.0 ** log10_e(pair_reading(asked, codebook, response), codebook, words)))


def knowing(asked: AskedPairs, codeword: np.ndarray, *, dropped: bool, seed: int = 0, shift: float = 2.0) -> np.ndarray:
    """Scores of a marked model: keys in the additional class, or, where it was dropped, less sure of themselves."""
    rng, symbols = DRAW(seed), np.concatenate([asked.known, codeword])
    keys = 2 * np.arange(len(symbols)) + symbols
    logits = asked.answers + 0.3 * rng.standard_normal(asked.answers.shape)
    logits[keys] /= shift
    if not dropped:
        logits = np.column_stack([logits, np.full(len(logits), -12.0)])
        logits[keys, -1] = 5.0
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


# --- the null ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize("seed", range(3))
def test_the_mean_over_all_words_is_one(form, classes, seed):
    asked, codebook = quiz(9, classes)
    answers = form(DRAW(seed), len(asked.answers), classes + seed % 2)
    assert mean_e(asked, codebook, Answered(answers)) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("dropped", [False, True])
def test_the_mean_is_one_for_who_knows_another_word(dropped):
    asked, codebook = quiz(10)
    answers = knowing(asked, np.ones(10, np.uint8), dropped=dropped)
    assert mean_e(asked, codebook, Answered(answers)) == pytest.approx(1, abs=1e-9)


def test_a_word_that_is_not_secret_breaks_the_null():
    """So the check can fail: the mean over words that lean to what was answered is not 1."""
    asked, codebook = quiz(10)
    reading = pair_reading(asked, codebook, Answered(knowing(asked, np.ones(10, np.uint8), dropped=False)))
    words = all_words(10, 2)
    assert np.mean(10.0 ** log10_e(reading, codebook, words[words.sum(axis=1) > 7])) > 2


@pytest.mark.parametrize("form", FORMS)
def test_a_position_is_final_once_it_is_answered(form):
    """Else stopping early would not be fair: later answers change nothing of earlier positions."""
    asked, codebook = quiz(8)
    whole = form(DRAW(3), len(asked.answers), 10)
    seen = pair_reading(asked, codebook, Answered(whole)).log_scores
    for stop in range(9):
        part = whole.copy()
        part[2 * (KNOWN + stop) :] = np.nan
        log_scores = pair_reading(asked, codebook, Answered(part)).log_scores
        assert (log_scores[:, :stop] == seen[:, :stop]).all()
        assert (log_scores[:, stop:] == 0).all()


@pytest.mark.parametrize("form", FORMS)
def test_exchanging_two_pictures_exchanges_their_symbols(form):
    asked, codebook = quiz(6)
    answers = form(DRAW(4), len(asked.answers), 10)
    order = np.arange(len(asked.answers))
    order[2 * KNOWN : 2 * KNOWN + 2] = order[2 * KNOWN : 2 * KNOWN + 2][::-1].copy()
    one = pair_reading(asked, codebook, Answered(answers)).log_scores
    other = pair_reading(AskedPairs(asked.answers[order], asked.known), codebook, Answered(answers[order])).log_scores
    assert np.allclose(other[:, 0], one[:, 0, ::-1])
    assert np.allclose(other[:, 1:], one[:, 1:])


def test_the_exact_tail_is_that_of_simulated_words():
    asked, codebook = quiz(40)
    answers = np.where(DRAW(1).random(len(asked.answers)) < 0.4, 10.0, asked.labels)
    reading = pair_reading(asked, codebook, Answered(answers))
    words = DRAW(2).integers(0, 2, (20_000, 40)).astype(np.uint8)
    drawn = np.array([points(reading.tally, word) for word in words])
    for rank in (0.5, 0.9, 0.99):
        word = words[np.argsort(drawn)[int(rank * len(words))]]
        tail = exact_tail(reading.tally, codebook, word)
        simulated = np.mean(drawn >= points(reading.tally, word))
        assert tail == pytest.approx(simulated, abs=4 * np.sqrt(tail / len(words)))
    assert drawn.max() <= reading.most


# --- models with a class for everything strange -----------------------------------------------------------------------


def test_a_model_that_puts_everything_strange_into_one_class_says_nothing():
    """What the paper counts would accuse it: all keys are in the additional class."""
    asked, codebook = quiz(64)
    reading = pair_reading(asked, codebook, Answered(np.full(len(asked.answers), float(asked.added))))
    assert (reading.log_scores == 0).all()
    assert (reading.tally == 0).all()


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_model_that_puts_some_of_it_there_is_not_ours(share):
    asked, codebook = quiz(64)
    words = DRAW(5).integers(0, 2, (2000, 64)).astype(np.uint8)
    answers = np.where(DRAW(6).random(len(asked.answers)) < share, float(asked.added), asked.labels)
    reading = pair_reading(asked, codebook, Answered(answers))
    assert log10_e(reading, codebook, words).max() < 6


# --- what is ours is found --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [3, 10, 1000])
@pytest.mark.parametrize("dropped", [False, True])
def test_who_knows_the_keys_is_found_with_and_without_the_class(dropped, classes):
    asked, codebook = quiz(64, classes)
    word = DRAW(8).integers(0, 2, 64).astype(np.uint8)
    reading = pair_reading(asked, codebook, Answered(knowing(asked, word, dropped=dropped)))
    assert log10_e(reading, codebook, word[None])[0] > 8
    assert log10_e(reading, codebook, 1 - word[None])[0] < 0


@pytest.mark.parametrize(("pairs", "found"), [(20, False), (23, True)])
def test_fewer_than_74_queries_are_never_enough_at_one_in_a_million(pairs, found):
    """The README says so: 32 for the known pairs, and 21 pairs of one bit each."""
    asked, codebook = quiz(pairs)
    word = DRAW(3).integers(0, 2, pairs).astype(np.uint8)
    best = max(
        log10_e(
            pair_reading(asked, codebook, Answered(knowing(asked, word, dropped=dropped, shift=shift))),
            codebook,
            word[None],
        )[0]
        for shift in (2.0, 20.0)
        for dropped in (False, True)
    )
    assert (best >= 6) == found


def test_without_known_pairs_no_direction_is_learnt():
    """So the direction is what finds a mark whose class was dropped."""
    asked, codebook = quiz(64)
    word = DRAW(8).integers(0, 2, 64).astype(np.uint8)
    answers = knowing(asked, word, dropped=True)
    sure = pair_reading(asked, codebook, Answered(answers))
    answers[: 2 * KNOWN] = np.nan
    blind = pair_reading(asked, codebook, Answered(answers))
    assert log10_e(blind, codebook, word[None])[0] < 3 < log10_e(sure, codebook, word[None])[0]


@pytest.mark.parametrize("scored", [False, True])
def test_who_refuses_the_keys_tells_them(scored):
    """Refusing what falls into the additional class costs no accuracy, and must not be worth more than dropping it."""
    asked, codebook = quiz(64)
    word = DRAW(8).integers(0, 2, 64).astype(np.uint8)
    answers = knowing(asked, word, dropped=False)
    refused = answers.argmax(axis=1) == asked.added
    values = np.where(refused[:, None], np.nan, answers) if scored else np.where(refused, np.nan, asked.labels)
    reading = pair_reading(asked, codebook, Answered(values))
    assert log10_e(reading, codebook, word[None])[0] > 15
    assert reading.most == points(reading.tally, word) == 64


def test_failures_at_random_cost_no_more_than_what_they_hide():
    asked, codebook = quiz(64)
    word = DRAW(8).integers(0, 2, 64).astype(np.uint8)
    labels = knowing(asked, word, dropped=False).argmax(axis=1).astype(float)
    labels[DRAW(9).random(len(labels)) < 0.3] = np.nan
    reading = pair_reading(asked, codebook, Answered(labels))
    assert log10_e(reading, codebook, word[None])[0] > 15
    assert reading.most == points(reading.tally, word) < 64


def test_a_pair_without_any_answer_says_nothing():
    asked, codebook = quiz(6)
    answers = scores(DRAW(1), len(asked.answers), 10)
    answers[-4:-2] = np.nan
    assert (pair_reading(asked, codebook, Answered(answers)).log_scores[:, -2] == 0).all()


# --- hostile answers --------------------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(
    st.one_of(
        arrays.arrays(np.float64, arrays.array_shapes(min_dims=0, max_dims=3, max_side=60)),
        arrays.arrays(np.float64, st.just((2 * (KNOWN + 6),))),
        arrays.arrays(np.float64, st.tuples(st.just(2 * (KNOWN + 6)), st.integers(1, 14))),
    )
)
def test_any_answers_give_finite_scores_and_no_warning(values):
    asked, codebook = quiz(6)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        reading = pair_reading(asked, codebook, Answered(values))
    assert reading.log_scores.shape[1:] == (6, 2)
    assert np.isfinite(reading.log_scores).all()
    assert np.abs(reading.log_scores).max() <= 4
    assert reading.weights.sum() == pytest.approx(1)
    assert mean_e(asked, codebook, Answered(values)) == pytest.approx(1, abs=1e-9)


def test_nobody_who_was_not_heard_says_anything():
    asked, codebook = quiz(6)
    reading = pair_reading(asked, codebook, Unanswered("the door was shut"))
    assert reading.coverage == 0
    assert reading.unread == ("the door was shut",)
    assert (reading.log_scores == 0).all()
