"""Views: what a suspect is asked is made when it is taken, and is the same however it is taken."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxfp.membership.views import MOST, Views

FORMS = {
    "channels first": ((3, 12, 10), (1, 2)),
    "grey, channels first": ((1, 12, 10), (1, 2)),
    "channels last": ((12, 10, 3), (0, 1)),
    "no channels": ((12, 10), (0, 1)),
}
NEAREST = [(-1, 0), (0, -1), (0, 1), (1, 0), (-1, -1), (-1, 1), (1, -1), (1, 1)]


def inputs(shape: tuple[int, ...], dtype: type = np.float32, count: int = 30) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 200, (count, *shape)).astype(dtype)


def views(shape: tuple[int, ...], dtype: type = np.float32, moved: int = 3) -> Views:
    return Views(inputs(shape, dtype), np.array([4, 20, 4, 0, 29]), moved)


# --- how they are taken -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(7,), (2, 3), (3, 12, 10), (12, 10, 3), (2, 3, 4, 5)])
@pytest.mark.parametrize("moved", [0, 1, 5])
@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float16, np.float32, np.float64])
def test_all_of_them_are_as_many_and_of_such_a_form_as_they_say(shape, moved, dtype):
    made = views(shape, dtype, moved)
    whole = np.asarray(made)
    assert (len(made), made.each) == (5 * (1 + moved), 1 + moved)
    assert whole.shape == made.shape == (len(made), *shape)
    assert whole.dtype == made.dtype == dtype
    assert np.array_equal(whole[:: made.each], made.inputs[made.rows])


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(st.sampled_from([(7,), (12, 10), (3, 12, 10), (12, 10, 3)]), st.integers(0, 4), st.data())
def test_a_part_is_that_part_of_the_whole(shape, moved, sampled):
    made = views(shape, moved=moved)
    whole, places = np.asarray(made), st.integers(-25, 25)
    part = sampled.draw(
        st.one_of(
            st.builds(slice, places, places, st.sampled_from([None, 1, 2, -1])),
            st.lists(st.integers(0, len(made) - 1)).map(lambda found: np.array(found, dtype=int)),
            st.lists(st.booleans(), min_size=len(made), max_size=len(made)).map(np.array),
        )
    )
    assert np.array_equal(made[part], whole[part])
    assert made[part].dtype == whole.dtype


def test_what_is_taken_is_a_copy():
    made = views((12, 10))
    before = made.inputs.copy()
    made[:][:] = 0
    assert np.array_equal(made.inputs, before)


def test_an_array_of_another_kind_can_be_had():
    made = views((12, 10), np.uint8)
    assert np.asarray(made, dtype=np.float64).dtype == np.float64
    assert np.array_equal(np.asarray(made, dtype=np.float64), made[:].astype(np.float64))


# --- moved copies -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("form", FORMS)
def test_a_picture_is_shifted_along_its_rows_and_columns_nearest_first(form, dtype):
    shape, axes = FORMS[form]
    made = views(shape, dtype, moved=8)
    for row in range(5):
        own = made.inputs[made.rows[row]]
        copies = made[row * 9 + 1 : row * 9 + 9]
        for copy, shift in zip(copies, NEAREST, strict=True):
            assert np.array_equal(copy, np.roll(own, shift, axis=axes))


@pytest.mark.parametrize("shape", [(7,), (3, 12, 10), (12, 10, 3), (12, 10), (3, 4, 5), (2, 3, 4, 5)])
def test_no_two_copies_are_alike(shape):
    made = views(shape, moved=MOST)
    own = made[: made.each].reshape(made.each, -1)
    assert len(np.unique(own, axis=0)) == 1 + MOST


@pytest.mark.parametrize("shape", [(64,), (7, 7), (3, 7, 12), (2, 3, 4, 5)])
def test_what_is_no_picture_is_disturbed_by_a_small_part_of_its_own_deviation(shape):
    made = views(shape, np.float64, moved=MOST)
    for row in range(5):
        own = made.inputs[made.rows[row]]
        change = made[row * 33 + 1 : row * 33 + 33] - own
        assert change.std() == pytest.approx(0.05 * own.std(), rel=0.15)
        assert np.abs(change.mean(axis=0)).max() < 0.05 * own.std()


def test_rows_are_disturbed_in_proportion_and_all_alike():
    known = inputs((40,), np.float64)
    known[1] = 10 * known[0]
    made = Views(known, np.array([0, 1]), 2)
    assert made[4] == pytest.approx(10 * made[1])
    assert made[5] == pytest.approx(10 * made[2])


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
@pytest.mark.parametrize("shape", [(7,), (3, 4), (7, 7, 3)])
def test_whole_numbers_that_are_no_picture_stay_as_they_are(shape, dtype):
    made = views(shape, dtype, moved=3)
    assert np.array_equal(made[:], np.repeat(made.inputs[made.rows], 4, axis=0))


def test_a_row_of_one_number_has_nothing_to_be_disturbed_by():
    made = Views(np.full((3, 9), 2.5, dtype=np.float32), np.arange(3), 2)
    assert (made[:] == 2.5).all()


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, 1e300])
def test_a_row_with_what_is_no_number_stays_as_it_is_and_spoils_no_other(wrong):
    known = inputs((9,), np.float64)
    known[1, 4] = wrong
    made = Views(known, np.array([0, 1, 2]), 2)
    assert np.array_equal(made[3:6], np.repeat(known[1:2], 3, axis=0), equal_nan=True)
    assert np.array_equal(made[[0, 1, 2, 6, 7, 8]], Views(known, np.array([0, 2]), 2)[:])


def test_copies_are_the_same_at_every_look():
    assert np.array_equal(views((9,))[:], views((9,))[:])
