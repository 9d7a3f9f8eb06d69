"""What answers say of the key labels: the e-value has mean exactly 1 whatever is answered and whenever one stops."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from onnxfp.codes.allowed import Allowed
from onnxfp.codes.key_labels import Asked, answered_labels, label_reading
from onnxfp.domain import Answered, Codebook, Reading, Unanswered
from onnxfp.keys.keystream import Keystream
from onnxfp.verdict.betting import log10_e
from tests.verdict.test_betting import all_words, probabilities

KEY = Keystream(bytes(range(32)))
DRAW = np.random.default_rng
CLASSES = (2, 3, 10, 1000)


def reference(samples: int, classes: int, seed: int = 0) -> np.ndarray:
    """Log-probabilities (samples, classes) of an unmarked model that is fairly sure of itself."""
    logits = 3.0 * DRAW(seed).standard_normal((samples, classes))
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def quiz(positions: int, classes: int, each: int = 1, most: int = 64) -> tuple[Asked, Codebook]:
    """What is asked, and the prior of its key labels."""
    asked = Asked.of(reference(positions * each, classes), each, most, KEY)
    return asked, Allowed(asked.allowed()).codebook(KEY, positions)


def drawable(codebook: Codebook) -> tuple[np.ndarray, np.ndarray]:
    """Every word that can be drawn, and how probable each is."""
    words = all_words(codebook.positions, codebook.alphabet)
    chances = probabilities(codebook, words)
    return words[chances > 0], chances[chances > 0]


def mean_e(asked: Asked, codebook: Codebook, response: object) -> float:
    words, chances = drawable(codebook)
    return float(chances @ 10.0 ** log10_e(label_reading(asked, codebook, response), codebook, words))


def labels(rng, samples, classes):
    return rng.integers(0, classes, samples).astype(np.float64)


def labels_with_gaps(rng, samples, classes):
    return np.where(rng.random(samples) < 0.3, np.nan, labels(rng, samples, classes))


def scores(rng, samples, classes):
    logits = 4.0 * rng.standard_normal((samples, classes))
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def scores_with_gaps(rng, samples, classes):
    return np.where(rng.random((samples, 1)) < 0.3, np.nan, scores(rng, samples, classes))


def best_scores_only(rng, samples, classes):
    values = scores(rng, samples, classes)
    return np.where(values < np.sort(values, axis=1)[:, -2:-1], -np.inf, values)


def certain(rng, samples, classes):
    values = np.full((samples, classes), -np.inf)
    values[np.arange(samples), rng.integers(0, classes, samples)] = 0.0
    return values


def wide_scores(rng, samples, classes):
    return scores(rng, samples, classes + 3)


def narrow_scores(rng, samples, classes):
    return scores(rng, samples, classes - 1)


def nonsense(rng, samples, classes):
    pool = [np.nan, np.inf, -np.inf, -1.0, 0.5, 1e300, 2.0**31, classes, 0.0, 1.0, classes - 1.0]
    return rng.choice(pool, samples)


ANSWERS = (
    labels,
    labels_with_gaps,
    scores,
    scores_with_gaps,
    best_scores_only,
    certain,
    wide_scores,
    narrow_scores,
    nonsense,
)


# --- the mean over all codewords --------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ANSWERS)
@pytest.mark.parametrize(("positions", "classes", "each"), [(1, 2, 1), (6, 2, 3), (5, 3, 1), (4, 5, 2), (4, 8, 1)])
def test_the_mean_over_all_codewords_is_one(form, positions, classes, each):
    asked, codebook = quiz(positions, classes, each)
    for seed in range(4):
        values = form(DRAW(seed), positions * each, classes)
        assert mean_e(asked, codebook, Answered(values)) == pytest.approx(1, abs=1e-9)


def test_the_mean_is_one_where_only_some_classes_are_symbols():
    asked, codebook = quiz(4, 1000, most=5)
    assert len(asked.classes) == 5
    assert mean_e(asked, codebook, Answered(scores(DRAW(0), 4, 1000))) == pytest.approx(1, abs=1e-9)
    knowing = Answered(asked.classes[[0, 3, 3, 1]].astype(np.float64))
    assert mean_e(asked, codebook, knowing) == pytest.approx(1, abs=1e-9)


def test_a_refusal_says_nothing_of_any_word():
    asked, codebook = quiz(4, 4)
    reading = label_reading(asked, codebook, Unanswered("the door was shut"))
    assert (reading.coverage, reading.unread) == (0.0, ("the door was shut",))
    words, _ = drawable(codebook)
    assert np.abs(log10_e(reading, codebook, words)).max() < 1e-12


FLOATS = st.floats(allow_nan=True, allow_infinity=True, width=64)
SHAPES = st.one_of(
    st.tuples(st.sampled_from([4, 4, 4, 0, 3, 5])),
    st.tuples(st.sampled_from([4, 4, 4, 0, 3]), st.integers(0, 6)),
    st.tuples(st.just(4), st.integers(1, 2), st.integers(1, 2)),
    st.just(()),
)


@given(arrays.arrays(np.float64, SHAPES, elements=st.one_of(FLOATS, st.integers(-2, 6).map(float))))
@settings(max_examples=120, deadline=None, derandomize=True, database=None)
def test_whatever_numbers_come_back_the_scores_are_finite_and_the_mean_is_one(values):
    asked, codebook = quiz(4, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        reading = label_reading(asked, codebook, Answered(values))
    assert np.isfinite(reading.log_scores).all()
    assert reading.weights.sum() == pytest.approx(1, abs=1e-12)
    assert mean_e(asked, codebook, Answered(values)) == pytest.approx(1, abs=1e-9)


# --- stopping ---------------------------------------------------------------------------------------------------------


def revealed(values: np.ndarray, each: int, positions: int) -> np.ndarray:
    """What is known after some positions: nothing yet of the others."""
    known = values.copy()
    known[each * positions :] = np.nan
    return known


def running_e(asked: Asked, codebook: Codebook, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the chances of all words, and their e-values (words, positions) after 1, 2, ... positions."""
    words, chances = drawable(codebook)
    e_values = [
        10.0 ** log10_e(label_reading(asked, codebook, Answered(revealed(values, asked.each, at))), codebook, words)
        for at in range(1, codebook.positions + 1)
    ]
    return chances, np.stack(e_values, axis=1)


def at_first(e_values: np.ndarray, level: float) -> np.ndarray:
    """The e-value of each word (words,) where it first reaches a level, or else at the end."""
    passed = e_values >= level
    at = np.where(passed.any(axis=1), passed.argmax(axis=1), e_values.shape[1] - 1)
    return e_values[np.arange(len(e_values)), at]


@pytest.mark.parametrize("form", ANSWERS)
@pytest.mark.parametrize("each", [1, 2])
def test_the_mean_stays_one_whoever_stops_at_the_first_e_value_that_is_large_enough(form, each):
    asked, codebook = quiz(5, 4, each)
    for seed in range(3):
        chances, e_values = running_e(asked, codebook, form(DRAW(seed), 5 * each, 4))
        for level in (1.05, 2.0, 5.0, 20.0):
            assert chances @ at_first(e_values, level) == pytest.approx(1, abs=1e-9)
            assert chances @ (e_values >= level).any(axis=1) <= 1 / level + 1e-12


def test_that_enumeration_notices_scores_that_change_after_the_fact():
    """Scores that are taken back as soon as a label comes: each look is fair, stopping between them is not."""
    asked, codebook = quiz(3, 3)
    told, bare = certain(DRAW(1), 3, 3), labels(DRAW(5), 3, 3)
    chances, before = running_e(asked, codebook, told)
    _, after = running_e(asked, codebook, bare)
    spliced = np.concatenate([before[:, :1], after[:, 1:]], axis=1)
    means = [float(chances @ at_first(spliced, level)) for level in np.arange(1.02, 3, 0.02)]
    assert max(abs(mean - 1) for mean in means) > 1e-3


@pytest.mark.parametrize("form", ANSWERS)
def test_the_scores_of_a_position_are_final_once_it_is_complete(form):
    asked, codebook = quiz(6, 5, each=2)
    values = form(DRAW(3), 12, 5)
    whole = label_reading(asked, codebook, Answered(values)).log_scores
    for stop in range(1, 7):
        part = label_reading(asked, codebook, Answered(revealed(values, 2, stop))).log_scores
        assert (part[:, :stop] == whole[:, :stop]).all()
        assert (part[:, stop:] == 0).all()


def test_the_weights_tell_labels_from_scores_and_nothing_else():
    asked, codebook = quiz(6, 5)
    for forms in ((labels, labels_with_gaps, nonsense), (scores, scores_with_gaps, certain, wide_scores)):
        weights = [label_reading(asked, codebook, Answered(form(DRAW(1), 6, 5))).weights for form in forms]
        assert all((one == weights[0]).all() for one in weights)


# --- how much hits are worth ------------------------------------------------------------------------------------------


def knowing(asked: Asked, word: np.ndarray, positions: int, form: str) -> Answered:
    """Answers of one who knows the key labels of the first so many positions, and was not asked for the others."""
    key_labels = np.repeat(asked.classes[word], asked.each)
    values = key_labels.astype(np.float64)
    if form == "scores":
        classes = asked.answers.shape[1]
        values = np.log(np.full((len(key_labels), classes), 0.001 / classes) + 0.999 * np.eye(classes)[key_labels])
    return Answered(revealed(values, asked.each, positions))


@pytest.mark.parametrize(
    ("classes", "form", "needed"),
    [
        (2, "labels", 22),
        (3, "labels", 22),
        (3, "scores", 21),
        (10, "labels", 7),
        (10, "scores", 7),
        (1000, "labels", 4),
        (1000, "scores", 4),
    ],
)
def test_so_many_hits_are_needed_at_one_in_a_million(classes, form, needed):
    sure = np.log(np.full((64, classes), 0.1 / classes) + 0.9 * np.eye(classes)[DRAW(0).integers(0, classes, 64)])
    asked = Asked.of(sure, 1, 64, KEY)
    code = Allowed(asked.allowed())
    codebook = code.codebook(KEY, 64)
    word = code.words(KEY, codebook, ["owner"])
    scores_at = [
        log10_e(label_reading(asked, codebook, knowing(asked, word[0], at, form)), codebook, word)[0]
        for at in range(1, 65)
    ]
    assert 1 + int(np.argmax(np.array(scores_at) >= 6)) == needed
    assert (np.diff(scores_at) > 0).all()


@pytest.mark.parametrize(
    ("classes", "rate"), [(3, 0.9), (3, 0.7), (10, 0.9), (10, 0.5), (10, 0.25), (1000, 0.9), (1000, 0.25)]
)
def test_a_model_that_knows_only_some_key_labels_is_still_found(classes, rate):
    rng, found = DRAW(1), 0
    asked, codebook = quiz(256, classes)
    code = Allowed(asked.allowed())
    for name in map(str, range(20)):
        word = code.words(KEY, codebook, [name])
        hits = rng.random(256) < rate
        values = np.where(hits, asked.classes[word[0]], asked.labels).astype(np.float64)
        found += log10_e(label_reading(asked, codebook, Answered(values)), codebook, word)[0] >= 6
    assert found == 20


@pytest.mark.parametrize("classes", [2, 3, 10, 1000])
def test_the_reference_and_strangers_are_not_ours(classes):
    """Monte Carlo over words: Markov's bound at levels that 4000 words can show, and nobody near a million."""
    asked, codebook = quiz(64, classes)
    words = Allowed(asked.allowed()).words(KEY, codebook, [f"key {at}" for at in range(4000)])
    own = asked.labels.astype(np.float64)
    for values in (own, labels(DRAW(1), 64, classes), scores(DRAW(2), 64, classes), asked.answers, np.zeros(64)):
        found = log10_e(label_reading(asked, codebook, Answered(values)), codebook, words)
        for level in (0.1, 0.01):
            assert np.mean(found >= -np.log10(level)) <= level + 4 * np.sqrt(level * (1 - level) / len(words))
        assert found.max() < 6


# --- exclusions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", CLASSES[1:])
@pytest.mark.parametrize("each", [1, 2])
def test_no_key_label_is_what_the_reference_answers(classes, each):
    asked, codebook = quiz(32, classes, each)
    word = Allowed(asked.allowed()).words(KEY, codebook, ["owner"])[0]
    own = asked.labels.reshape(32, each)
    clear = np.array([len(set(row)) <= classes - 2 for row in own.tolist()])
    assert clear.any()
    assert not (asked.classes[word][:, None] == own)[clear].any()


@pytest.mark.parametrize(("classes", "each"), [(2, 1), (2, 4), (3, 6)])
def test_where_the_reference_leaves_fewer_than_two_classes_all_are_key_labels(classes, each):
    asked, _ = quiz(40, classes, each)
    answered = [set(row) for row in asked.labels.reshape(40, each).tolist()]
    crowded = np.array([len(row) > classes - 2 for row in answered])
    assert crowded.any()
    assert asked.allowed()[crowded].all()


def test_the_classes_that_are_symbols_are_a_keyed_choice():
    answers = reference(8, 1000)
    chosen = [Asked.of(answers, 1, 64, KEY.derive(label)).classes for label in ("a", "a", "b")]
    assert all(len(np.unique(classes)) == 64 and classes.dtype == np.int64 for classes in chosen)
    assert (chosen[0] == chosen[1]).all()
    assert not (chosen[0] == chosen[2]).all()
    assert (Asked.of(reference(8, 10), 1, 64, KEY).classes == np.arange(10)).all()


# --- hostile answers --------------------------------------------------------------------------------------------------

SAYS_NOTHING = {
    "none": np.zeros((0,)),
    "a number": np.array(3.0),
    "too few": np.zeros(15),
    "too many": np.zeros(17),
    "no classes": np.zeros((16, 0)),
    "three axes": np.zeros((16, 2, 2)),
    "transposed": np.full((3, 16), -1.0),
    "not a number": np.full(16, np.nan),
    "infinite labels": np.full(16, np.inf),
    "labels below none": np.full(16, -np.inf),
    "negative labels": np.full(16, -1.0),
    "halves": np.full(16, 0.5),
    "huge labels": np.full(16, 2.0**31),
    "labels of no class": np.full(16, 999_999.0),
    "probabilities above one": np.full((16, 3), 0.5),
    "one probability above one in each": np.tile([-1.0, 0.1, -2.0], (16, 1)),
    "infinite scores": np.full((16, 3), np.inf),
    "one infinite score in each": np.tile([-1.0, np.inf, -2.0], (16, 1)),
    "no class at all": np.full((16, 3), -np.inf),
    "one not a number in each": np.tile([-1.0, np.nan, -2.0], (16, 1)),
}


@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize("what", SAYS_NOTHING)
def test_answers_that_are_none_support_every_symbol_alike(what, classes):
    asked, codebook = quiz(16, classes)
    reading = label_reading(asked, codebook, Answered(SAYS_NOTHING[what]))
    assert (reading.log_scores == 0).all()
    assert not reading.tally.any()
    if what != "labels of no class":
        assert (reading.coverage, reading.most) == (0.0, 0)


@pytest.mark.parametrize("classes", CLASSES)
def test_scores_of_too_few_or_too_many_classes_are_read_as_far_as_they_go(classes):
    asked, codebook = quiz(16, classes)
    values = scores(DRAW(0), 16, classes)
    exact = label_reading(asked, codebook, Answered(values))
    for beyond in (-np.inf, -80.0):
        wide = np.concatenate([values, np.full((16, 5), beyond)], axis=1)
        assert (label_reading(asked, codebook, Answered(wide)).log_scores == exact.log_scores).all()
    cut = np.where(np.arange(classes) < max(1, classes - 1), values, -np.inf)
    narrow = label_reading(asked, codebook, Answered(values[:, : max(1, classes - 1)]))
    assert (narrow.log_scores == label_reading(asked, codebook, Answered(cut)).log_scores).all()


def test_what_was_said_of_the_answers_is_passed_on():
    asked, codebook = quiz(4, 5)
    response = Answered(np.array([0.0, np.nan, 4.0, 9.0]), 0.75, ("one is missing",), ("rescaled",), "somewhere")
    reading = label_reading(asked, codebook, response)
    assert (reading.coverage, reading.unread, reading.transforms) == (0.75, ("one is missing",), ("rescaled",))
    assert (reading.most, reading.provider) == (3, "somewhere")
    wrong = label_reading(asked, codebook, Answered(np.zeros(3), unread=("one is missing",)))
    assert wrong.unread == ("one is missing", "answers of shape (3,) to 4 triggers")


def test_the_tally_counts_the_triggers_of_a_position_that_were_answered_with_each_symbol():
    asked, codebook = quiz(3, 4, each=3)
    answers = np.array([[1, 1, 2], [3, np.nan, 3], [0, 9, -1]]).reshape(-1)
    reading = label_reading(asked, codebook, Answered(answers))
    assert reading.tally.tolist() == [[0, 2, 1, 0], [0, 0, 0, 2], [1, 0, 0, 0]]
    assert reading.most == 7
    by_score = np.where(np.isnan(answers)[:, None], np.nan, -5.0 * (answers[:, None] != np.arange(10)))
    by_score[-1] = np.nan
    assert (label_reading(asked, codebook, Answered(by_score)).tally == reading.tally).all()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([1.0, np.nan, -1.0]), [1, -1, -1]),
        (np.array([[-1.0, -0.5], [np.nan, -1.0], [-0.1, -3.0]]), [1, -1, 0]),
        (np.array([1.0]), None),
        (np.array([[[1.0]]] * 3), None),
    ],
)
def test_labels_of_answers(values, expected):
    found = answered_labels(Answered(values), 3)
    assert (found if found is None else found.tolist()) == expected


def test_a_reference_that_is_certain_or_silent_on_a_class_gives_finite_scores():
    answers = np.full((4, 3), -np.inf)
    answers[:, 0] = 0.0
    asked = Asked(answers, np.arange(3), 1)
    codebook = Allowed(asked.allowed()).codebook(KEY, 4)
    for values in (np.zeros(4), np.full((4, 3), -np.log(3.0)), answers):
        reading: Reading = label_reading(asked, codebook, Answered(values))
        assert np.isfinite(reading.log_scores).all()
        assert mean_e(asked, codebook, Answered(values)) == pytest.approx(1, abs=1e-9)
