"""What a model's raw outputs say, and that no array of an adversary's does any harm."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from onnxfp.suspect.outputs import Unreadable, class_answers

DRAW = np.random.default_rng(0)
LOGITS = DRAW.normal(size=(4, 3)).astype(np.float32)
SOFTMAX = (np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True)).astype(np.float32)
LOGS = np.log(SOFTMAX)
LABELS = np.array([3, 0, 2, 1])


def answers(*outputs: object) -> np.ndarray:
    return class_answers([(f"out{at}", np.asarray(values)) for at, values in enumerate(outputs)], 4)


@pytest.mark.parametrize("shape", [(4,), (4, 1), (4, 1, 1)])
@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int64, np.uint64])
def test_integers_are_labels(shape, dtype):
    assert answers(LABELS.astype(dtype).reshape(shape)).tolist() == [3, 0, 2, 1]


def test_a_label_that_a_float_cannot_hold_is_no_answer():
    assert np.isnan(answers(np.array([1, 2**63, 2**53, 2], dtype=np.uint64))).tolist() == [False, True, False, False]


@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 1, 1)])
@pytest.mark.parametrize("scores", [LOGITS, SOFTMAX, LOGITS + 100, SOFTMAX.astype(np.float16)])
def test_scores_become_log_probabilities(scores, shape):
    assert np.allclose(answers(scores.reshape(shape)), LOGS, atol=5e-3)


def test_what_are_probabilities_is_decided_for_the_whole_array():
    mixed = SOFTMAX.copy()
    mixed[0] = [0.1, 0.1, 0.1]
    assert np.allclose(answers(mixed)[1], SOFTMAX[1] - np.log(np.exp(SOFTMAX[1]).sum()), atol=1e-6)


def test_a_class_of_probability_0_was_returned_all_the_same():
    certain = answers(np.eye(4))
    assert np.isfinite(certain).all()
    assert (certain.argmax(axis=1) == np.arange(4)).all()


@pytest.mark.parametrize(("scores", "second"), [([0.1, 0.5, 1.0, 0.0], [0.1, 0.5, 1, 0]), ([-2, 0, 2, 900.0], None)])
@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_one_score_is_about_the_second_of_two_classes(scores, second, shape):
    said = np.exp(answers(np.array(scores).reshape(shape)))
    expected = second if second is not None else [1 / (1 + np.exp(2)), 0.5, 1 / (1 + np.exp(-2)), 1]
    assert np.allclose(said[:, 1], expected)
    assert np.allclose(said.sum(axis=1), 1)


def test_indices_beside_scores_are_the_best_classes():
    said = answers(np.array([[0.7, 0.2]] * 4), np.array([[4, 1]] * 4))
    assert said.shape == (4, 5)
    assert np.allclose(np.exp(said[0]), [0, 0.2, 0, 0, 0.7])
    assert said[0, 0] == -np.inf


def test_logits_of_the_best_classes_share_what_there_is():
    said = answers(np.array([[9.0, 8.0]] * 4), np.array([[0, 1]] * 4))
    assert np.allclose(np.exp(said).sum(axis=1), 1)


def test_an_empty_place_among_the_best_is_left_out():
    said = answers(np.array([[0.7, 0.2]] * 4), np.array([[1, -1], [-1, -1], [2, 2], [0, 2]]))
    assert np.allclose(np.exp(said[0]), [0, 0.7, 0])
    assert np.isnan(said[1:3]).all()
    assert np.allclose(np.exp(said[3]), [0.7, 0, 0.2])


def test_indices_alone_are_read_as_their_first_column():
    assert answers(np.stack([LABELS, LABELS + 9], axis=1)).tolist() == LABELS.tolist()


def test_scores_are_preferred_to_labels_and_probabilities_to_logits():
    assert np.allclose(answers(LABELS, LOGITS[:, :2] * 3, SOFTMAX), LOGS, atol=1e-6)
    assert np.allclose(answers(LABELS, LOGITS), LOGS, atol=1e-6)


def test_a_label_beside_its_own_score_keeps_its_name():
    assert answers(LABELS, np.full(4, 0.9)).argmax(axis=1).tolist() == LABELS.tolist()


@pytest.mark.parametrize("nothing", [np.nan, np.inf, -np.inf])
def test_a_row_that_is_not_finite_is_no_answer(nothing):
    spoilt = SOFTMAX.copy()
    spoilt[2, 1] = nothing
    said = answers(spoilt)
    assert np.isnan(said).all(axis=1).tolist() == [False, False, True, False]
    assert np.allclose(said[0], LOGS[0], atol=1e-6)


DEFECTS = {
    "text": np.array(["a", "b", "c", "d"]),
    "objects": np.array([None] * 4, dtype=object),
    "complex": np.zeros((4, 2), dtype=complex),
    "another number of rows": np.zeros((5, 2)),
    "no column": np.zeros((4, 0)),
    "a scalar": np.float32(1),
    "an image": np.zeros((4, 2, 8, 8)),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_what_is_no_answer_is_refused_in_one_line(defect):
    with pytest.raises(Unreadable) as problem:
        class_answers([("a\nname\x1b" * 99, DEFECTS[defect])], 4)
    assert "expected" in str(problem.value)
    assert str(problem.value).isprintable()
    assert len(str(problem.value)) < 250


def test_a_model_without_outputs_is_refused():
    with pytest.raises(Unreadable, match="returned no output"):
        answers()


def test_an_output_beside_unreadable_ones_is_read():
    assert answers(np.array(["x"] * 4), LABELS, np.zeros((4, 2, 2))).tolist() == LABELS.tolist()


@pytest.mark.parametrize("index", [65_536, 2**62])
def test_an_absurd_class_does_not_take_the_memory(index):
    with pytest.raises(Unreadable, match="fewer than 65536"):
        answers(np.full((4, 2), 0.5), np.array([[index, 1]] * 4))


def test_many_samples_of_wide_classes_do_not_take_the_memory():
    with pytest.raises(Unreadable, match="fewer than"):
        class_answers([("i", np.full((5000, 2), 60_000)), ("s", np.full((5000, 2), 0.5))], 5000)


NUMBERS = st.one_of(
    arrays.integer_dtypes(),
    arrays.unsigned_integer_dtypes(),
    arrays.floating_dtypes(),
    arrays.boolean_dtypes(),
    arrays.complex_number_dtypes(),
    arrays.unicode_string_dtypes(),
)
SHAPES = st.one_of(
    arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
    st.integers(1, 4).map(lambda classes: (3, classes)),
)
OUTPUT = st.tuples(st.text(max_size=5), NUMBERS.flatmap(lambda dtype: arrays.arrays(dtype, SHAPES)))
BEST = st.tuples(
    st.just("best"), arrays.arrays(np.int64, (3, 2), elements=st.sampled_from([-1, 0, 1, 2, 70, 65_535, 65_536, 2**62]))
)
UNIT = st.tuples(st.just("unit"), arrays.arrays(np.float64, (3, 2), elements=st.sampled_from([0.0, 0.5, 1.0, 1e-320])))


def check(outputs: list[tuple[str, np.ndarray]]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            said = class_answers(outputs, 3)
        except Unreadable:
            return
    assert said.dtype == np.float64
    assert len(said) == 3
    if said.ndim == 1:
        assert not np.isinf(said).any()
        return
    silent = np.isnan(said)
    assert (silent.all(axis=1) == silent.any(axis=1)).all()
    heard = said[~silent.any(axis=1)]
    assert not np.isposinf(heard).any()
    assert (np.exp(heard).sum(axis=1) <= 1 + 1e-9).all()
    assert (heard > -np.inf).any(axis=1).all()


@given(st.lists(st.one_of(OUTPUT, BEST, UNIT), max_size=3))
@settings(max_examples=400, deadline=None)
def test_no_output_of_any_kind_does_harm(outputs):
    check(outputs)


@given(st.integers(1, 6).flatmap(lambda classes: arrays.arrays(np.float64, (3, classes))))
@settings(max_examples=300, deadline=None)
def test_no_scores_of_any_size_do_harm(scores):
    check([("scores", scores)])
