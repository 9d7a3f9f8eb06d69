"""Residuals: the mark shines through what transforms do to every weight, and nothing that is not finite leaves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from onnxfp.projections.residual import Unit, residual

SPREAD = 0.05
AMPLITUDE = 0.05
UNIT = Unit(SPREAD, AMPLITUDE)
SIZE = 20_000
DRAW = np.random.default_rng(1)
REFERENCE = (SPREAD * DRAW.standard_normal(SIZE)).astype(np.float32)
MARK = (AMPLITUDE * SPREAD * DRAW.standard_normal(SIZE)).astype(np.float32)
COPY = REFERENCE + MARK


def heard(suspect: np.ndarray, clip: float = 4.0, reference: np.ndarray = REFERENCE) -> float:
    """How well the residual shows the mark: their correlation."""
    rest = residual(suspect.astype(np.float32), reference, UNIT, clip).astype(np.float64)
    return float(rest @ MARK / np.linalg.norm(rest) / np.linalg.norm(MARK))


def pruned(weights: np.ndarray, share: float) -> np.ndarray:
    return np.where(np.abs(weights) < np.quantile(np.abs(weights), share), 0, weights)


def rounded(weights: np.ndarray, bits: int) -> np.ndarray:
    step = np.abs(weights).max() / (2 ** (bits - 1) - 1)
    return np.round(weights / step) * step


def noisy(weights: np.ndarray, spreads: float) -> np.ndarray:
    return weights + spreads * SPREAD * np.random.default_rng(2).standard_normal(SIZE)


TRANSFORMS = {
    "nothing": (COPY, 0.98),
    "half pruned": (pruned(COPY, 0.5), 0.6),
    "90 % pruned": (pruned(COPY, 0.9), 0.15),
    "rounded to 8 bits": (rounded(COPY, 8), 0.9),
    "rounded to 4 bits": (rounded(COPY, 4), 0.2),
    "through float16": (COPY.astype(np.float16), 0.98),
    "scaled up": (3.7 * COPY, 0.98),
    "scaled down": (0.02 * COPY, 0.97),
    "decayed": (np.sign(COPY) * np.maximum(0, np.abs(COPY) - 0.3 * SPREAD), 0.8),
    "clipped": (np.clip(COPY, -1.5 * SPREAD, 1.5 * SPREAD), 0.8),
    "bent": (SPREAD * np.tanh(COPY / SPREAD), 0.6),
    "as noisy as the mark": (noisy(COPY, AMPLITUDE), 0.65),
    "shifted": (COPY + SPREAD, 0.97),
}


@pytest.mark.parametrize(("suspect", "least"), TRANSFORMS.values(), ids=TRANSFORMS.keys())
def test_the_mark_shines_through(suspect, least):
    assert heard(suspect) > least


def test_a_carrier_that_was_turned_around_shows_the_mark_as_it_was():
    assert heard(-COPY) > 0.98


@pytest.mark.parametrize("suspect", [suspect for suspect, _ in TRANSFORMS.values()], ids=TRANSFORMS.keys())
def test_a_plain_difference_hears_hardly_more_and_mostly_far_less(suspect):
    plain = (suspect - REFERENCE).astype(np.float64)
    correlation = abs(float(plain @ MARK / np.linalg.norm(plain) / np.linalg.norm(MARK)))
    assert abs(heard(suspect)) > correlation - 0.06


def test_without_a_mark_nothing_correlates_with_it():
    for suspect in (pruned(REFERENCE, 0.5), rounded(REFERENCE, 6), noisy(REFERENCE, 0.1)):
        assert abs(heard(suspect)) < 5 / np.sqrt(SIZE)


# --- what says nothing ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [1.0, 2.5, 0.0, -1.0])
def test_the_reference_itself_scaled_or_not_leaves_nothing(factor):
    rest = residual(np.float32(factor) * REFERENCE, REFERENCE, UNIT, 4.0)
    assert np.abs(rest).max() < 1e-3


def test_weights_that_are_zero_in_the_reference_say_nothing():
    reference = np.where(np.arange(SIZE) % 3 == 0, np.float32(0), REFERENCE)
    rest = residual(COPY, reference, UNIT, 4.0)
    assert not rest[::3].any()
    assert heard(np.where(reference == 0, 9.0, COPY), reference=reference) > 0.75


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_say_nothing_and_spoil_nothing(wrong):
    suspect = COPY.copy()
    suspect[::5] = wrong
    rest = residual(suspect, REFERENCE, UNIT, 4.0)
    assert np.isfinite(rest).all()
    assert not rest[::5].any()
    assert heard(suspect) > 0.85


def test_a_suspect_without_one_finite_weight_says_nothing():
    assert not residual(np.full(SIZE, np.nan, dtype=np.float32), REFERENCE, UNIT, 4.0).any()


def test_a_reference_of_zeros_says_nothing():
    assert not residual(COPY, np.zeros(SIZE, dtype=np.float32), UNIT, 4.0).any()


@pytest.mark.parametrize("loud", [10.0, 1e6, 3e38])
def test_a_few_enormous_weights_do_not_drown_the_rest(loud):
    suspect = COPY.astype(np.float32)
    suspect[:: SIZE // 5] = loud
    assert np.isfinite(residual(suspect, REFERENCE, UNIT, 4.0)).all()


def test_heavy_tails_are_cut_where_it_was_asked():
    suspect = COPY + np.where(np.arange(SIZE) % 100 == 0, 20 * SPREAD, 0).astype(np.float32)
    assert heard(suspect, clip=4.0) > 2 * heard(suspect, clip=np.inf)


def test_an_empty_carrier_has_an_empty_residual():
    empty = np.zeros(0, dtype=np.float32)
    assert residual(empty, empty, UNIT, 4.0).shape == (0,)


wild = st.one_of(
    st.floats(width=32),
    st.sampled_from([0.0, -0.0, 1.0, 3.4e38, -3.4e38, 1e-45, float("nan"), float("inf"), float("-inf")]),
)
tame = st.floats(-3.0000000054977558e38, 3.0000000054977558e38, width=32)


@given(
    arrays(np.float32, st.shared(st.integers(1, 80), key="n"), elements=wild),
    arrays(np.float32, st.shared(st.integers(1, 80), key="n"), elements=tame),
    st.floats(1e-30, 1e30),
    st.floats(1e-3, 1),
    st.sampled_from([1.0, 4.0, float("inf")]),
)
@settings(max_examples=150, deadline=None, derandomize=True, database=None)
def test_nothing_that_is_not_finite_ever_leaves(suspect, reference, spread, amplitude, clip):
    rest = residual(suspect, reference, Unit(spread, amplitude), clip)
    assert rest.dtype == np.float32
    assert rest.shape == suspect.shape
    assert np.isfinite(rest).all()
    assert not rest[~np.isfinite(suspect) | (reference == 0)].any()


@pytest.mark.parametrize("scale", [1000.0, 0.001, -1.0, -40.0])
def test_a_carrier_that_was_rescaled_or_turned_round_says_what_it_said(scale):
    rng = np.random.default_rng(3)
    reference = rng.standard_normal(20_000).astype(np.float32)
    suspect = reference + (0.05 * rng.standard_normal(20_000)).astype(np.float32)
    unit = Unit(1.0, 0.05)
    plain = residual(suspect, reference, unit, 4.0)
    scaled = residual((suspect * np.float32(scale)).astype(np.float32), reference, unit, 4.0)
    assert np.corrcoef(plain, scaled)[0, 1] > 0.999
    assert np.std(scaled) == pytest.approx(np.std(plain), rel=0.02)
