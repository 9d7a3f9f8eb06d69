"""The reading of pools: e-values of mean one whatever is answered, and a member found where there is one."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from onnxfp.codes.uniform import Uniform
from onnxfp.domain import Answered, Reading, Unanswered
from onnxfp.membership.reading import SHIFTS, AskedPools, alone, pool_reading, pooled
from onnxfp.membership.scores import Shadow
from onnxfp.verdict.betting import log10_e
from tests.membership.simulated import (
    CLASSES,
    KEY,
    asking,
    codebook_of,
    every_word,
    keep_markovs_bound,
    labelled,
    scored,
    shadow_of,
    trained_on,
    words_of,
)


def weighed(asked: AskedPools, response: Answered, words: np.ndarray) -> np.ndarray:
    book = codebook_of(asked)
    return log10_e(pool_reading(asked, book, response), book, words)


def some_shadows(asked: AskedPools, count: int = 3) -> tuple[Shadow, ...]:
    draw = np.random.default_rng(7)
    return tuple(shadow_of(asked, draw.random(len(asked.labels)) < 0.5, 50 + at) for at in range(count))


# --- the mean of an e-value is one ------------------------------------------------------------------------------------

SMALL = {
    "pairs": asking(10),
    "pairs of pools of three, in two copies": asking(8, size=3, copies=2),
    "one of three": asking(6, pools=3),
    "one of three, of two": asking(5, pools=3, size=2),
    "beside shadow models": replace(asking(9), shadows=some_shadows(asking(9))),
}
NUMBERS = st.one_of(
    st.floats(),
    st.floats(-20, 0),
    st.integers(-1, 6).map(float),
    st.sampled_from([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e300, -1e300, 1e-7, 5e-324]),
)


def samples_of(asked: AskedPools) -> int:
    return len(asked.labels) * asked.copies


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(st.data())
@pytest.mark.parametrize("asked", SMALL.values(), ids=SMALL.keys())
def test_whatever_is_answered_the_e_value_of_all_words_is_one_on_average(asked, sampled):
    count = samples_of(asked)
    shapes = st.one_of(
        st.just((count,)),
        st.tuples(st.just(count), st.integers(1, 6)),
        st_numpy.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=6),
    )
    values = sampled.draw(st_numpy.arrays(np.float64, shapes, elements=NUMBERS, fill=NUMBERS))
    book = codebook_of(asked)
    reading = pool_reading(asked, book, Answered(values))
    assert reading.log_scores.shape[1:] == (book.positions, book.alphabet)
    assert np.isfinite(reading.log_scores).all()
    assert np.abs(reading.log_scores).max() <= 8
    assert reading.weights.sum() == pytest.approx(1, abs=1e-12)
    words, probability = every_word(book)
    assert probability @ 10.0 ** log10_e(reading, book, words) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("asked", SMALL.values(), ids=SMALL.keys())
def test_also_of_what_a_model_answers_that_was_trained_on_a_word(asked):
    book = codebook_of(asked)
    words, probability = every_word(book)
    member = trained_on(asked, words[len(words) // 3])
    for response in (scored(asked, 8.0 * member, 1), labelled(asked, 8.0 * member, 1)):
        found = log10_e(pool_reading(asked, book, response), book, words)
        assert probability @ 10.0**found == pytest.approx(1, abs=1e-9)
        assert found.std() > 0.1, "a bet that says the same to every word proves nothing"
    found = weighed(asked, scored(asked, 8.0 * member, 1), words)
    assert found.argmax() == len(words) // 3
    assert found.max() > 0.5, "a bet that nobody can win proves nothing"


@pytest.mark.parametrize("asked", [SMALL["pairs"], SMALL["one of three"]], ids=["pairs", "one of three"])
def test_an_average_that_is_not_one_would_be_noticed(asked):
    """The average over the words that lean to symbol 0, as a code would draw them that is not uniform."""
    book = codebook_of(asked)
    words, _ = every_word(book)
    share = np.where(words == 0, 0.5, 0.5 / (book.alphabet - 1) + 0.01).prod(axis=1)
    found = weighed(asked, scored(asked, 2.0 * trained_on(asked, words[0]), 1), words)
    assert share / share.sum() @ 10.0**found != pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("alphabet", [256, 257, 300, 1000])
def test_one_of_hundreds_of_pools_has_mean_one_too(alphabet):
    asked = asking(1, pools=alphabet)
    book = codebook_of(asked)
    member = np.arange(alphabet) == alphabet - 1
    words = np.arange(alphabet, dtype=np.uint16)[:, None]
    for response in (scored(asked, 8.0 * member, 1), labelled(asked, 8.0 * member, 1)):
        found = log10_e(pool_reading(asked, book, response), book, words)
        assert book.prior[0] @ 10.0**found == pytest.approx(1, abs=1e-9)
        assert found.std() > 0.01
    found = weighed(asked, labelled(asked, np.where(member, 8.0, -8.0), 1), words)
    assert found.argmax() == alphabet - 1
    assert found[-1] > 0.6 * np.log10(alphabet)


def test_symbols_beyond_a_byte_are_drawn_and_weighed():
    asked = asking(200, pools=300)
    words = words_of(asked, 40)
    assert words.dtype == np.uint16
    assert words.max() > 255
    assert len(np.unique(words)) > 290
    found = weighed(asked, scored(asked, 3.0 * trained_on(asked, words[5]), 1), words)
    assert found.argmax() == 5
    assert found[5] > 50
    assert np.delete(found, 5).max() < 3


# --- who is a member is found -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("pools", "size", "copies"), [(2, 1, 1), (2, 4, 1), (5, 1, 1), (2, 1, 3)])
@pytest.mark.parametrize("answers", [scored, labelled])
def test_a_model_that_was_trained_on_a_word_is_found_by_it_alone(answers, pools, size, copies):
    asked = asking(600, pools, size, copies)
    words = words_of(asked, 30)
    found = weighed(asked, answers(asked, 1.0 * trained_on(asked, words[3]), 1), words)
    assert found[3] > 6
    assert np.delete(found, 3).max() < 2


def test_a_larger_effect_is_stronger_evidence():
    asked = asking(600)
    words = words_of(asked, 1)
    member = trained_on(asked, words[0])
    found = [weighed(asked, scored(asked, effect * member, 1), words)[0] for effect in (0.0, 0.4, 0.8, 1.6, 8.0)]
    assert found == sorted(found)
    assert found[0] < 1
    most = 600 * np.log10(2)
    assert 0.9 * most < found[-1] <= most


def test_shadow_models_raise_the_evidence():
    asked = asking(400)
    draw = np.random.default_rng(4)
    hardness = 3 * draw.standard_normal(800)
    words = words_of(asked, 1)
    answered = scored(asked, 1.0 * trained_on(asked, words[0]), 9, hardness)
    beside = tuple(shadow_of(asked, draw.random(800) < 0.5, 20 + at, hardness) for at in range(6))
    alone, calibrated = (weighed(replace(asked, shadows=one), answered, words)[0] for one in ((), beside))
    assert calibrated > alone + 5


def test_members_that_are_answered_worse_are_not_found():
    """Only what is said in favour of a pool counts: evidence of the contrary is no evidence of another word."""
    asked = asking(600)
    words = words_of(asked, 1)
    assert weighed(asked, scored(asked, -1.0 * trained_on(asked, words[0]), 1), words)[0] < -1


# --- who is none is not -----------------------------------------------------------------------------------------------

OWNERS = 6000
NO_LEAD = asking(150)


def heavy_tailed(asked: AskedPools) -> Answered:
    """A few answers are far off: they alone would carry a bet that believed them."""
    draw = np.random.default_rng(8)
    values = scored(asked, np.zeros(len(asked.labels)), 8).values
    values[draw.random(len(values)) < 0.02] -= 300.0
    return Answered(values)


def one_sided(asked: AskedPools) -> Answered:
    """Trained on the first pool of every position: independent of the word all the same."""
    member = trained_on(asked, np.zeros(asked.form[0], dtype=np.uint8))
    return scored(asked, 1.0 * member, 1)


INDEPENDENT = {
    "scores": (NO_LEAD, scored(NO_LEAD, np.zeros(300), 1)),
    "labels": (NO_LEAD, labelled(NO_LEAD, np.zeros(300), 2)),
    "far off now and then": (NO_LEAD, heavy_tailed(NO_LEAD)),
    "trained on another word": (NO_LEAD, one_sided(NO_LEAD)),
    "one of four": (asking(60, pools=4), one_sided(asking(60, pools=4))),
    "shadow models": (replace(NO_LEAD, shadows=some_shadows(NO_LEAD)), one_sided(NO_LEAD)),
}


@pytest.mark.parametrize(("asked", "response"), INDEPENDENT.values(), ids=INDEPENDENT.keys())
def test_an_independent_suspect_keeps_markovs_bound(asked, response):
    """Random is the word alone: the suspect is one and the same throughout."""
    scores = weighed(asked, response, words_of(asked, OWNERS))
    keep_markovs_bound(scores)
    assert scores.std() > 0.01, "a bet that says the same to every word proves nothing"


def peeking(asked: AskedPools, response: Answered, word: np.ndarray) -> Reading:
    """What leaves out the positions that speak against the word, as if they were out of bounds."""
    reading = pool_reading(asked, codebook_of(asked), response)
    own = np.take_along_axis(reading.log_scores, word[None, :, None].astype(np.int64), axis=2)
    against = own < reading.log_scores.max(axis=2, keepdims=True)
    return replace(reading, log_scores=np.where(against, 0.0, reading.log_scores))


def test_a_reading_that_peeks_at_the_word_breaks_the_bound():
    asked, response = INDEPENDENT["scores"]
    book, words = codebook_of(asked), words_of(asked, 300)
    found = [log10_e(peeking(asked, response, word), book, word[None])[0] for word in words]
    with pytest.raises(AssertionError, match=r"e-values pass 1/0\.1 too often"):
        keep_markovs_bound(np.array(found))


def test_shadow_models_that_know_the_word_break_the_bound():
    """So they have to be made without it: two that were trained as the plan says accuse who is independent."""
    asked = NO_LEAD
    response, words, found = scored(asked, np.zeros(300), 1), words_of(asked, 40), []
    for word in words:
        member = trained_on(asked, word)
        knowing = tuple(shadow_of(asked, member, 90 + at, effect=2.0) for at in range(2))
        found.append(weighed(replace(asked, shadows=knowing), response, word[None])[0])
    with pytest.raises(AssertionError, match="too often"):
        keep_markovs_bound(np.array(found))


# --- what is made of answers ------------------------------------------------------------------------------------------


def test_every_score_is_a_hypothesis_at_every_strength_and_one_says_nothing():
    asked = asking(200)
    beside = replace(asked, shadows=some_shadows(asked))
    answered, book = scored(asked, np.zeros(400), 1), codebook_of(asked)
    for one, response, count in (
        (asked, answered, 2),
        (asked, labelled(asked, np.zeros(400), 1), 1),
        (beside, answered, 7),
        (beside, labelled(asked, np.zeros(400), 1), 1),
    ):
        reading = pool_reading(one, book, response)
        assert len(reading.log_scores) == len(reading.weights) == 1 + count * len(SHIFTS)
        assert (reading.log_scores[0] == 0).all()
        assert reading.weights[0] == 0.05
        assert reading.weights[1:] == pytest.approx(np.full(count * len(SHIFTS), 0.95 / count / len(SHIFTS)))


def test_a_log_score_is_its_strength_times_the_pools_standing():
    asked = asking(50)
    answered, book = scored(asked, np.zeros(100), 1), codebook_of(asked)
    reading = pool_reading(asked, book, answered)
    loss = pooled(asked.told(answered.values).loss(), asked.form)
    for at, strength in enumerate(SHIFTS, start=1):
        assert reading.log_scores[at] == pytest.approx(np.clip(strength * loss, -8, 8))


@pytest.mark.parametrize("size", [1, 4, 25])
def test_the_standing_of_pools_is_counted_in_deviations_of_such_pools(size):
    score = 5 + 3 * np.random.default_rng(0).standard_normal(400 * 2 * size)
    standing = pooled(score, (400, 2, size))
    assert standing.shape == (400, 2)
    assert standing.mean() == pytest.approx(0, abs=0.01)
    assert standing.std() == pytest.approx(1, abs=0.06)
    assert pooled(-7 * score + 2, (400, 2, size)) == pytest.approx(-standing)


def test_a_row_that_was_not_answered_stands_in_the_middle():
    score = np.random.default_rng(0).standard_normal(200)
    score[[3, 8, 9]] = np.nan
    standing = pooled(score, (100, 2, 1)).reshape(-1)
    assert standing[[3, 8, 9]].tolist() == [0, 0, 0]
    heard = np.isfinite(score)
    bounded = np.clip(score[heard], *np.quantile(score[heard], [0.005, 0.995]))
    assert standing[heard] == pytest.approx((bounded - bounded.mean()) / bounded.std())
    assert (pooled(np.full(200, np.nan), (100, 2, 1)) == 0).all()


@pytest.mark.parametrize("pools", [2, 20, 300, 1024])
def test_members_are_not_cut_off_where_they_are_few(pools):
    """Of a thousand pools one is trained on: members are fewer than what counts as extreme in pairs."""
    score = np.zeros((20, pools, 1))
    score[:, 3 % pools] = 1.0
    standing = pooled(score.reshape(-1), (20, pools, 1))
    assert standing[:, 3 % pools] == pytest.approx(np.full(20, np.sqrt(pools - 1)), rel=1e-6)


def test_scores_that_are_all_the_same_say_nothing():
    assert np.abs(pooled(np.full(200, 0.1), (100, 2, 1))).max() < 1e-6


def test_the_most_extreme_rows_count_as_the_ones_before_them():
    score = np.random.default_rng(0).standard_normal(1000)
    wild = score.copy()
    wild[[4, 5]] = [1e12, -1e12]
    assert np.abs(pooled(wild, (500, 2, 1))).max() < 5
    assert (
        np.corrcoef(np.delete(pooled(wild, (500, 2, 1)), [2], axis=0)[:, 0], np.delete(score, [4, 5])[::2])[0, 1] > 0.99
    )


@pytest.mark.parametrize(
    ("values", "shape"),
    [
        (np.zeros(19), "(19,)"),
        (np.zeros(0), "(0,)"),
        (np.zeros((20, 0)), "(20, 0)"),
        (np.zeros((21, 3)), "(21, 3)"),
        (np.zeros((10, 2, 3)), "(10, 2, 3)"),
        (np.zeros(()), "()"),
    ],
)
def test_answers_of_another_form_say_nothing_and_why(values, shape):
    asked = asking(10)
    reading = pool_reading(asked, codebook_of(asked), Answered(values, unread=("what the session said",)))
    assert (reading.log_scores == 0).all()
    assert (reading.coverage, reading.weights.tolist()) == (0.0, [1.0])
    assert reading.unread == ("what the session said", f"answers of shape {shape} to 20 inputs")


def test_no_answer_says_nothing_and_why():
    asked = asking(10)
    reading = pool_reading(asked, codebook_of(asked), Unanswered("the door was shut"))
    assert (reading.log_scores == 0).all()
    assert (reading.coverage, reading.unread) == (0.0, ("the door was shut",))


def test_what_a_session_tells_of_answers_is_passed_on():
    asked = asking(10)
    said = replace(scored(asked, np.zeros(20), 1), coverage=0.75, unread=("a",), transforms=("b",), provider="c")
    reading = pool_reading(asked, codebook_of(asked), said)
    assert (reading.coverage, reading.unread, reading.transforms, reading.provider) == (0.75, ("a",), ("b",), "c")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 0.5, -1.0, 65536.0, 1e300])
def test_what_is_no_label_is_no_answer(value):
    asked = asking(10)
    reading = pool_reading(asked, codebook_of(asked), Answered(np.full(20, value)))
    assert reading.coverage == 0.0
    assert (reading.log_scores == 0).all()


@pytest.mark.parametrize(
    "row",
    [[np.nan] * 3, [0.1, -3.0, -3.0], [np.inf, -1.0, -1.0], [-np.inf] * 3, [np.nan, -1.0, -1.0]],
    ids=["nothing", "above one", "infinite", "no class", "partly nothing"],
)
def test_what_are_no_log_probabilities_is_no_answer(row):
    asked = asking(10)
    reading = pool_reading(asked, codebook_of(asked), Answered(np.full((20, 3), row)))
    assert reading.coverage == 0.0
    assert (reading.log_scores == 0).all()


def test_a_row_that_is_no_answer_changes_no_other():
    """Beside the deviation that all are counted in."""
    asked = asking(10)
    values = scored(asked, np.zeros(20), 1).values
    values[4] = 3.0
    told = asked.told(values)
    assert np.isnan(told.loss()).tolist() == [at == 4 for at in range(20)]
    others = np.delete(np.arange(20), 4)
    assert told.loss()[others] == pytest.approx(values[others, asked.labels[others]])


def test_copies_of_a_row_belong_to_it():
    asked = asking(10, copies=3)
    told = asked.told(scored(asked, np.zeros(20), 1).values)
    assert told.values.shape == (20, 3, CLASSES)
    assert asked.told(np.repeat(asked.labels, 3).astype(float)).right().tolist() == [1.0] * 20


def test_the_word_is_drawn_as_the_codebook_says():
    asked = asking(4000, pools=3)
    shares = np.bincount(words_of(asked, 1)[0], minlength=3) / 4000
    assert shares == pytest.approx(Uniform(3).codebook(KEY, 1).prior[0], abs=0.04)


# --- one score by itself ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pools", [2, 3])
def test_the_evidence_of_one_score_alone_has_mean_one_over_all_words(pools):
    standing = 3.0 * np.random.default_rng(pools).standard_normal((6, pools))
    words = itertools.product(range(pools), repeat=6)
    mean = np.mean([10.0 ** alone(standing, np.asarray(word, dtype=np.uint8)) for word in words])
    assert mean == pytest.approx(1.0, abs=1e-9)
    assert alone(standing, standing.argmax(axis=1).astype(np.uint8)) > 0.5
