"""Filters before a suspect: what they keep, what they change, and which answer an auto-encoder lets through."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from onnxfp import demo
from onnxfp.attacks.filters import FILTERS, Filtered, parse_filter
from onnxfp.attacks.reconstruction import Autoencoding, divergence, threshold_of
from onnxfp.domain import Answered, Probe, QueryProbe, Response, Unanswered, WeightProbe
from onnxfp.errors import UsageError
from onnxfp.suspect.session import open_session
from onnxfp.triggers.canvas import canvas_of

TEXTS = ["jpeg:75", "blur:1", "quantise:2", "resize:0.5", "crop:2", "noise:0.1"]
SAME = ["blur:0", "resize:1", "crop:0", "noise:0"]
PROBE = WeightProbe((), None, 1.0, 1.0)


def pictures(*shape: int, dtype: str = "float32", low: float = 0.0, high: float = 1.0, seed: int = 0) -> np.ndarray:
    """Smooth pictures that reach both ends of their range."""
    from scipy.ndimage import gaussian_filter

    made = gaussian_filter(np.random.default_rng(seed).standard_normal(shape), [0] + [1.0] * (len(shape) - 1))
    made = low + (high - low) * (made - made.min()) / np.ptp(made)
    return (np.rint(made) if np.dtype(dtype).kind in "iu" else made).astype(dtype)


FORMS = {
    "channels first": pictures(9, 3, 16, 20),
    "channels last": pictures(9, 16, 20, 3),
    "grey": pictures(9, 1, 12, 12, low=-1.0, high=2.0),
    "rows and columns": pictures(9, 12, 12, dtype="float64", low=-3.0, high=5.0),
    "flat square": pictures(9, 144, dtype="float16"),
    "bytes": pictures(9, 16, 16, 3, dtype="uint8", high=255.0),
}


@dataclass(frozen=True)
class Repeats:
    """Answers the mean of an input in two columns, so that what arrived can be seen."""

    labels: bool = False

    def answer(self, probe: Probe) -> Response:
        match probe:
            case WeightProbe():
                return Unanswered("asked for weights")
            case QueryProbe(inputs):
                bright = np.clip(inputs.reshape(len(inputs), -1).mean(axis=1).astype(np.float64), 1e-9, 1 - 1e-9)
                return Answered(np.rint(bright) if self.labels else np.log(np.stack([1 - bright, bright], axis=1)))


# --- filters ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("text", TEXTS)
def test_a_filter_keeps_shape_type_and_range_and_changes_something(form, text):
    inputs = FORMS[form]
    before = inputs.copy()
    found = parse_filter(text, canvas_of(inputs), 1)(inputs)
    assert found.shape == inputs.shape
    assert found.dtype == inputs.dtype
    assert found.min() >= inputs.min()
    assert found.max() <= inputs.max()
    assert not np.array_equal(found, inputs)
    np.testing.assert_array_equal(inputs, before)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("text", SAME)
def test_a_filter_that_does_nothing_changes_nothing(form, text):
    np.testing.assert_array_equal(parse_filter(text, canvas_of(FORMS[form]), 1)(FORMS[form]), FORMS[form])


@pytest.mark.parametrize("form", FORMS)
def test_gentle_filters_stay_near(form):
    inputs = FORMS[form].astype(np.float64)
    for text, most in (("jpeg:100", 0.03), ("quantise:8", 0.003), ("noise:0.001", 0.003)):
        found = parse_filter(text, canvas_of(FORMS[form]), 1)(FORMS[form])
        assert np.abs(found - inputs).mean() <= most * np.ptp(inputs)


def test_layouts_of_the_same_pictures_are_filtered_alike():
    first = FORMS["channels first"]
    last = np.ascontiguousarray(np.moveaxis(first, 1, 3))
    for text in TEXTS:
        one, other = (parse_filter(text, canvas_of(form), 1)(form) for form in (first, last))
        np.testing.assert_array_equal(np.moveaxis(one, 1, 3), other)


@pytest.mark.parametrize("text", ["crop:2", "noise:0.1"])
def test_randomness_comes_from_the_seed_and_the_picture_alone(text):
    inputs = FORMS["grey"]
    canvas = canvas_of(inputs)
    whole = parse_filter(text, canvas, 1)(inputs)
    one_by_one = [parse_filter(text, canvas, 1)(inputs[at : at + 1])[0] for at in range(len(inputs))]
    np.testing.assert_array_equal(whole, one_by_one)
    assert not np.array_equal(whole, parse_filter(text, canvas, 2)(inputs))
    changes = {(after - before).tobytes() for before, after in zip(inputs, whole, strict=True)}
    assert len(changes) == len(inputs)


def test_crop_moves_by_whole_pixels():
    inputs = pictures(40, 1, 9, 9)
    found = parse_filter("crop:1", canvas_of(inputs), 3)(inputs)
    inner = found[:, 0, 1:-1, 1:-1]
    moves = [[inputs[:, 0, 1 + d : 8 + d, 1 + r : 8 + r] for r in (-1, 0, 1)] for d in (-1, 0, 1)]
    hits = np.array([[np.isclose(inner, move).all(axis=(1, 2)) for move in row] for row in moves])
    assert (hits.sum(axis=(0, 1)) == 1).all()
    assert hits.any(axis=2).sum() >= 7


def test_a_filter_of_no_inputs_gives_none():
    for text in TEXTS:
        inputs = FORMS["channels first"]
        assert parse_filter(text, canvas_of(inputs), 0)(inputs[:0]).shape == (0, 3, 16, 20)


@pytest.mark.parametrize(
    "text",
    [
        *("", "sharpen", "blur", "blur:", "blur:x", "blur:-1", "blur:nan", "jpeg:0", "jpeg:101", "quantise:0"),
        *("crop:-1", "crop:1.5", "noise:inf", "resize:2", "jpeg\n:3"),
    ],
)
def test_a_bad_text_is_refused_in_one_line(text):
    with pytest.raises(UsageError, match="expected") as refusal:
        parse_filter(text, canvas_of(FORMS["grey"]), 0)
    assert "\n" not in str(refusal.value)


def test_every_filter_is_called_by_its_own_name():
    assert all(kind.usage.startswith(f"{name}:") for name, kind in FILTERS.items())
    assert {text.partition(":")[0] for text in TEXTS} == set(FILTERS)


# --- a suspect behind one ---------------------------------------------------------------------------------------------


def test_a_suspect_behind_a_filter_answers_what_the_filter_made():
    inputs = FORMS["grey"]
    change = parse_filter("noise:0.5", canvas_of(inputs), 1)
    found = Filtered(Repeats(), change).answer(QueryProbe(inputs, each=3, classes=2))
    assert isinstance(found, Answered)
    np.testing.assert_array_equal(found.values, Repeats().answer(QueryProbe(change(inputs))).values)


def test_other_probes_pass_through():
    behind = (Filtered(Repeats(), np.flip), Autoencoding(Repeats(), np.flip, 0.1))
    assert [suspect.answer(PROBE) for suspect in behind] == [Unanswered("asked for weights")] * 2


def test_inputs_of_another_form_are_unfit_and_not_an_error():
    behind = Filtered(Repeats(), parse_filter("blur:1", canvas_of(FORMS["grey"]), 1))
    found = behind.answer(QueryProbe(FORMS["bytes"]))
    assert isinstance(found, Unanswered)
    assert found.unfit


def test_the_demo_model_still_answers_behind_gentle_filters():
    with np.load(demo.path("digits_test.npz")) as arrays:
        inputs = arrays["inputs"][:300] if "inputs" in arrays else arrays[arrays.files[0]][:300]
    canvas = canvas_of(inputs)
    with open_session(demo.path("digits.onnx")) as session:
        clean = session.answer(QueryProbe(inputs)).values.argmax(axis=1)
        for text, least in (("noise:0", 1.0), ("quantise:3", 0.9), ("blur:0.4", 0.9), ("noise:0.05", 0.9)):
            found = Filtered(session, parse_filter(text, canvas, 1)).answer(QueryProbe(inputs))
            assert isinstance(found, Answered)
            assert np.mean(found.values.argmax(axis=1) == clean) >= least


# --- an auto-encoder --------------------------------------------------------------------------------------------------


def half_dark(inputs: np.ndarray) -> np.ndarray:
    """A reconstruction that loses whatever is brighter than a half: its key samples."""
    return np.where(inputs > 0.5, np.float32(0.1), inputs).astype(inputs.dtype)


INPUTS = np.repeat(np.float32([0.2, 0.9, 0.4, 0.7])[:, None], 6, axis=1)


@pytest.mark.parametrize("labels", [False, True])
def test_only_where_the_two_answers_diverge_the_reconstruction_is_answered(labels):
    found = Autoencoding(Repeats(labels), half_dark, 0.05).answer(QueryProbe(INPUTS))
    assert isinstance(found, Answered)
    expected = Repeats(labels).answer(QueryProbe(half_dark(INPUTS)))
    np.testing.assert_array_equal(found.values, expected.values)
    trusting = Autoencoding(Repeats(labels), half_dark, 0.7).answer(QueryProbe(INPUTS))
    np.testing.assert_array_equal(trusting.values, Repeats(labels).answer(QueryProbe(INPUTS)).values)


def test_a_threshold_parts_the_inputs():
    at = divergence(Repeats().answer(QueryProbe(INPUTS)).values, Repeats().answer(QueryProbe(half_dark(INPUTS))).values)
    between = (at[1] + at[3]) / 2
    found = Autoencoding(Repeats(), half_dark, float(between)).answer(QueryProbe(INPUTS)).values
    wanted = np.float32([0.2, 0.1, 0.4, 0.7])
    np.testing.assert_allclose(np.exp(found[:, 1]), wanted, rtol=1e-6)


def test_a_filter_that_reconstructs_always_answers_the_reconstruction():
    found = Filtered(Repeats(), half_dark).answer(QueryProbe(INPUTS)).values
    np.testing.assert_allclose(np.exp(found[:, 1]), [0.2, 0.1, 0.4, 0.1], rtol=1e-6)


def test_the_divergence_lies_between_none_and_log_two():
    rng = np.random.default_rng(0)
    one, other = (np.log(rng.dirichlet(np.ones(5), 50)) for _ in range(2))
    found = divergence(one, other)
    mean = (np.exp(one) + np.exp(other)) / 2
    plain = sum((np.exp(logs) * (logs - np.log(mean))).sum(axis=1) for logs in (one, other)) / 2
    np.testing.assert_allclose(found, plain, atol=1e-12)
    np.testing.assert_allclose(found, divergence(other, one))
    np.testing.assert_allclose(divergence(one, one), 0, atol=1e-15)
    apart = np.array([[0.0, -np.inf]])
    np.testing.assert_allclose(divergence(apart, apart[:, ::-1]), np.log(2))


def test_no_answer_stays_no_answer():
    @dataclass(frozen=True)
    class Silent:
        def answer(self, probe: Probe) -> Response:
            return replace(Repeats().answer(probe), values=np.full((len(probe.inputs), 2), np.nan))

    found = Autoencoding(Silent(), half_dark, 0.05).answer(QueryProbe(INPUTS))
    assert isinstance(found, Answered)
    assert np.isnan(found.values).all()


def test_a_suspect_that_cannot_be_asked_says_why():
    @dataclass(frozen=True)
    class Gone:
        def answer(self, probe: Probe) -> Response:
            return Unanswered("gone")

    assert Autoencoding(Gone(), half_dark, 0.05).answer(QueryProbe(INPUTS)) == Unanswered("gone")
    with pytest.raises(UsageError, match="ordinary inputs"):
        threshold_of(Gone(), half_dark, INPUTS, 0.05)


def test_the_threshold_is_exceeded_by_the_share_that_was_asked_for():
    inputs = np.random.default_rng(0).uniform(0, 1, (1000, 1)).astype(np.float32)
    threshold = threshold_of(Repeats(), half_dark, inputs, 0.1)
    answers = [Repeats().answer(QueryProbe(one)).values for one in (inputs, half_dark(inputs))]
    assert np.mean(divergence(*answers) > threshold) == pytest.approx(0.1, abs=0.005)
