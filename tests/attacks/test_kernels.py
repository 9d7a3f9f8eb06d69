"""The arithmetic of every step, on arrays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from onnxfp.attacks import coalition
from onnxfp.attacks.noise import add_noise
from onnxfp.attacks.prune import apply_cut, find_cut, prune
from onnxfp.attacks.rounding import round_to_bits

KERNELS = [
    coalition.average,
    coalition.minimum,
    coalition.maximum,
    coalition.median,
    coalition.midrange,
    coalition.random_pick,
    coalition.splice,
]
WEIGHTS = arrays(np.float32, st.integers(1, 200), elements=st.floats(-(2.0**99), 2.0**99, width=32))


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# --- pruning -----------------------------------------------------------------------------------------------------


@given(WEIGHTS, st.floats(0, 1))
def test_pruning_cuts_exactly_the_smallest(weights, share):
    count = round(share * weights.size)
    kept = prune(weights, share)
    order = np.argsort(np.abs(weights), kind="stable")
    expected = weights.copy()
    expected[order[:count]] = 0
    np.testing.assert_array_equal(kept, expected)


def test_equal_magnitudes_are_cut_to_the_exact_share():
    weights = np.tile(np.array([1, -1], np.float32), 500)
    assert np.count_nonzero(prune(weights, 0.3)) == 700


def test_a_cut_over_pieces_is_the_cut_over_the_whole():
    weights = np.round(rng().standard_normal(3000), 1).astype(np.float32)
    pieces = np.split(weights, 5)
    cut, kept = find_cut(lambda: iter(pieces), 1234), []
    for piece in pieces:
        cut, part = apply_cut(piece, cut)
        kept.append(part)
    np.testing.assert_array_equal(np.concatenate(kept), prune(weights, 1234 / 3000))


# --- noise and rounding ------------------------------------------------------------------------------------------


def test_noise_is_as_loud_as_asked_and_follows_its_seed():
    weights = 3 * rng(1).standard_normal(100_000).astype(np.float32)
    noisy = add_noise(weights, 0.5, rng(2))
    assert np.std(noisy - weights) == pytest.approx(1.5, rel=0.02)
    np.testing.assert_array_equal(noisy, add_noise(weights, 0.5, rng(2)))


def test_no_noise_changes_nothing():
    weights = rng().standard_normal(100).astype(np.float32)
    np.testing.assert_array_equal(add_noise(weights, 0, rng()), weights)


@pytest.mark.parametrize("bits", [2, 3, 4, 8, 16])
def test_rounding_leaves_at_most_the_levels_of_its_bits(bits):
    weights, top = rng().uniform(-1, 1, 50_000).astype(np.float32), 2 ** (bits - 1) - 1
    rounded, step = round_to_bits(weights, bits), np.abs(weights).max() / top
    levels = np.unique(rounded)
    assert len(levels) <= 2 * top + 1
    assert bits > 8 or len(levels) == 2 * top + 1
    assert np.abs(rounded - weights).max() <= step * 0.5001 + 1e-7
    np.testing.assert_allclose(levels / step, np.rint(levels / step), atol=1e-2)


def test_rounding_twice_is_rounding_once():
    once = round_to_bits(rng().standard_normal(1000).astype(np.float32), 4)
    np.testing.assert_allclose(round_to_bits(once, 4), once, rtol=1e-6)


def test_zeros_are_rounded_to_zeros():
    np.testing.assert_array_equal(round_to_bits(np.zeros(10, np.float32), 4), np.zeros(10))


# --- coalitions --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.__name__)
@given(weights=WEIGHTS, copies=st.integers(2, 7))
def test_a_coalition_of_identical_copies_is_the_identity(kernel, weights, copies):
    np.testing.assert_array_equal(kernel(np.tile(weights, (copies, 1)), rng()), weights)


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.__name__)
def test_a_coalition_stays_within_the_range_of_its_copies(kernel):
    copies = rng().standard_normal((6, 1000)).astype(np.float32)
    combined = kernel(copies, rng())
    assert combined.dtype == np.float32
    assert combined.shape == (1000,)
    assert (combined >= copies.min(axis=0)).all()
    assert (combined <= copies.max(axis=0)).all()


def test_coalitions_combine_as_they_are_called():
    copies = np.array([[1], [2], [4], [9]], np.float32)
    values = {kernel.__name__: float(kernel(copies, rng())[0]) for kernel in KERNELS[:5]}
    assert values == {"average": 4, "minimum": 1, "maximum": 9, "median": 3, "midrange": 5}


def test_random_pick_takes_every_copy_about_equally():
    copies = np.repeat(np.arange(4, dtype=np.float32)[:, None], 40_000, axis=1)
    np.testing.assert_allclose(np.bincount(coalition.random_pick(copies, rng()).astype(int)), 10_000, rtol=0.05)


def test_splice_takes_one_copy_whole():
    copies = rng().standard_normal((5, 100)).astype(np.float32)
    assert any((coalition.splice(copies, rng()) == copy).all() for copy in copies)
