"""Inputs as pictures and back: whatever order a model takes them in, nothing is lost and nothing leaves the range."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from onnxfp.errors import UsageError
from onnxfp.triggers.canvas import canvas_of
from tests.triggers.forms import FORMS, data, ranges

EXPECTED = {  # height, width, channels, channels first
    "channels first": (8, 8, 1, True),
    "colours first": (8, 10, 3, True),
    "four planes first": (6, 6, 4, True),
    "channels last": (8, 8, 1, False),
    "colours last": (10, 8, 3, False),
    "rows and columns": (8, 9, 1, False),
    "flat squares": (8, 8, 1, False),
    "flat rows": (1, 30, 1, False),
    "bytes": (28, 28, 1, False),
    "coloured bytes": (12, 12, 3, False),
    "signed": (8, 8, 1, True),
    "halves": (12, 12, 1, True),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_form_of_the_inputs_is_recognised(form):
    canvas = canvas_of(data(form))
    assert (canvas.height, canvas.width, canvas.channels, canvas.channels_first) == EXPECTED[form]
    assert (canvas.shape, np.dtype(canvas.dtype)) == (FORMS[form][0], np.dtype(FORMS[form][1]))


@pytest.mark.parametrize("form", FORMS)
def test_inputs_become_pictures_and_inputs_again(form):
    inputs = data(form)
    canvas = canvas_of(inputs)
    pictures = canvas.pictures(inputs)
    assert pictures.shape == (len(inputs), canvas.height, canvas.width, canvas.channels)
    again = canvas.inputs(pictures)
    assert (again.dtype, again.shape) == (inputs.dtype, inputs.shape)
    assert again.flags.c_contiguous
    assert (again == inputs).all()


@pytest.mark.parametrize("form", FORMS)
def test_every_channel_has_the_range_of_its_own_data(form):
    inputs = data(form)
    canvas, (low, high) = canvas_of(inputs), ranges(inputs, form)
    assert np.array(canvas.low) == pytest.approx(low.reshape(-1))
    assert np.array(canvas.high) == pytest.approx(high.reshape(-1))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("far", [1e6, -1e6, 0.37])
def test_no_value_leaves_the_range_of_the_data(form, far):
    inputs = data(form)
    canvas = canvas_of(inputs)
    written = canvas.inputs(canvas.pictures(inputs) * 1.7 + far)
    low, high = ranges(inputs, form)
    assert (written >= low).all()
    assert (written <= high).all()


def test_a_pixel_stands_where_it_stood():
    inputs = np.zeros((2, 3, 6, 5), dtype=np.float32)
    inputs[1, 2, 5, 4] = 1.0
    assert np.argwhere(canvas_of(inputs).pictures(inputs)).tolist() == [[1, 5, 4, 2]]
    moved = np.moveaxis(inputs, 1, 3)
    assert np.argwhere(canvas_of(moved).pictures(moved)).tolist() == [[1, 5, 4, 2]]


def test_whole_numbers_are_rounded_and_not_cut_off():
    canvas = canvas_of(data("bytes"))
    pictures = np.full((1, 28, 28, 1), 99.6)
    assert (canvas.inputs(pictures) == 100).all()


@given(arrays.arrays(np.float16, (3, 4, 4), elements=st.floats(-60000, 60000, width=16)))
@settings(max_examples=40, deadline=None, derandomize=True, database=None)
def test_half_precision_stays_within_its_range(inputs):
    if (inputs == inputs.reshape(-1)[0]).all():
        return
    canvas = canvas_of(inputs)
    written = canvas.inputs(canvas.pictures(inputs) * 1.001 + 0.01)
    assert np.isfinite(written).all()
    assert inputs.min() <= written.min() <= written.max() <= inputs.max()


REFUSED = {
    "text": np.array([["a", "b"]] * 4),
    "truth": np.zeros((4, 8, 8), dtype=bool),
    "complex": np.zeros((4, 8, 8), dtype=complex),
    "not a number": np.full((4, 8, 8), np.nan),
    "one infinite": np.array([[0.0, 1.0], [np.inf, 0.0]]),
    "all alike": np.full((4, 8, 8), 0.3),
    "scalars": np.arange(4.0),
    "five axes": np.random.default_rng(0).random((4, 1, 3, 8, 8)),
    "no channels": np.random.default_rng(0).random((4, 5, 6, 7)),
    "empty pictures": np.zeros((4, 0)),
    "empty rows": np.zeros((4, 8, 0)),
    "no pictures": np.zeros((0, 8, 8)),
}


@pytest.mark.parametrize("what", REFUSED)
def test_inputs_that_are_no_pictures_are_refused_in_one_line(what):
    with pytest.raises(UsageError) as refusal:
        canvas_of(REFUSED[what])
    assert "\n" not in str(refusal.value)


def test_one_channel_that_never_changes_is_no_obstacle():
    inputs = data("colours first")
    inputs[:, 1] = 0.25
    canvas = canvas_of(inputs)
    assert (canvas.inputs(canvas.pictures(inputs) + 1.0)[:, 1] == 0.25).all()
