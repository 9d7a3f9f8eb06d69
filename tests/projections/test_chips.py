"""Chips: linear, sparse, in four strata, and embedded with the smallest change that reads as it should."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from onnxfp.keys.keystream import Keystream
from onnxfp.projections.centring import Layout
from onnxfp.projections.chips import STRATA, TILE, Chips

KEY = Keystream(bytes(range(32)))
LOOSE = 0.1  # what a mark may miss of its values, relative to their norm


def rows(size: int, columns: int = 64) -> Layout:
    return Layout(((size // columns, columns),))


def single(size: int) -> Layout:
    """Every weight a matrix of its own: nothing is centred, so that the chips themselves can be seen."""
    return Layout(((1, 1),) * size)


def chips(layout: Layout, positions: int = 16, overlap: int = 16, key: Keystream = KEY) -> Chips:
    return Chips(key, layout, positions, overlap)


def matrix(projection: Chips) -> np.ndarray:
    """The dense (positions, weights) matrix, one adjoint at a time."""
    return np.stack([projection.adjoint(unit) for unit in np.eye(projection.positions)]).astype(np.float64)


def draw(seed: int, size: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(size)


@pytest.mark.parametrize("layout", [rows(1024), single(1024), rows(65 * 64), Layout(((10, 7), (3, 100), (1, 77)))])
@pytest.mark.parametrize("positions", [4, 64])
def test_the_adjoint_is_the_transpose(layout, positions):
    projection = chips(layout, positions)
    weights, values = draw(1, layout.size).astype(np.float32), draw(2, positions)
    left, right = projection.apply(weights) @ values, weights @ projection.adjoint(values)
    scale = np.linalg.norm(projection.apply(weights)) * np.linalg.norm(values)
    assert left == pytest.approx(right, abs=1e-5 * scale)


def test_applying_is_linear():
    projection = chips(rows(4096), 64)
    a, b = (draw(seed, 4096).astype(np.float32) for seed in (1, 2))
    together = projection.apply((2 * a - b).astype(np.float32))
    assert together == pytest.approx(2 * projection.apply(a) - projection.apply(b), abs=1e-5)


@pytest.mark.parametrize(
    "layout", [rows(16_384), Layout(((64, 100), (100, 64))), Layout(((40, 33), (1, 3000), (9, 70)))]
)
def test_the_update_reads_as_the_values(layout):
    projection = chips(layout, 64)
    values = draw(3, 64)
    read = projection.apply(projection.min_norm_update(values))
    assert np.linalg.norm(read - values) < LOOSE * np.linalg.norm(values)


def test_the_update_is_the_smallest_change_that_reads_as_it_does():
    projection = chips(rows(2048), 16)
    dense = matrix(projection)
    update = projection.min_norm_update(draw(3, 16)).astype(np.float64)
    smallest = np.linalg.pinv(dense) @ (dense @ update)
    assert update == pytest.approx(smallest, abs=1e-4 * np.linalg.norm(update))
    other = smallest + (np.eye(2048) - np.linalg.pinv(dense) @ dense) @ draw(4, 2048)
    assert dense @ other == pytest.approx(dense @ update, abs=1e-4)
    assert np.linalg.norm(update) < np.linalg.norm(other)


def test_one_unit_of_strength_moves_each_weight_by_about_one():
    projection = chips(rows(1 << 14), 256)
    moved = projection.min_norm_update(np.sign(draw(5, 256)))
    assert 0.8 < np.sqrt(np.mean(moved**2)) < 1.25


def test_no_row_and_no_column_changes_its_mean():
    update = chips(Layout(((32, 64), (16, 128))), 64).min_norm_update(draw(6, 64))
    for part in (update[:2048].reshape(32, 64), update[2048:].reshape(16, 128)):
        assert np.abs(part.mean(axis=0)).max() < 1e-5
        assert np.abs(part.mean(axis=1)).max() < 1e-5


def test_what_is_the_same_in_a_row_or_column_is_not_read():
    projection = chips(rows(4096), 64)
    common = draw(1, 64)[:, None] + draw(2, 64)[None, :]
    assert projection.apply(common.reshape(-1).astype(np.float32)) == pytest.approx(np.zeros(64), abs=1e-5)


def test_nothing_reads_as_nothing():
    projection = chips(rows(1024))
    assert not projection.apply(np.zeros(1024, dtype=np.float32)).any()
    assert not projection.min_norm_update(np.zeros(16)).any()


def test_the_same_values_give_the_same_bytes():
    projection = chips(rows(4096), 64)
    assert projection.min_norm_update(draw(1, 64)).tobytes() == projection.min_norm_update(draw(1, 64)).tobytes()


# --- who is in which chip ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("overlap", [1, 4, 16])
def test_every_weight_is_in_as_many_chips_as_it_shall(overlap):
    projection = chips(single(1024), 1024, overlap)
    signed = matrix(projection) / projection.scale
    assert np.abs(signed - np.round(signed)).max() < 1e-3
    counts = np.abs(np.round(signed)).sum(axis=0).astype(int)
    assert counts.max() <= overlap  # a weight that is drawn twice with opposite signs is in neither
    assert ((overlap - counts) % 2 == 0).all()
    assert counts.mean() > 0.9 * overlap
    positive = (np.round(signed) > 0).sum() / (np.round(signed) != 0).sum()
    assert positive == pytest.approx(0.5, abs=4 / np.sqrt(1024 * overlap))


def test_a_weight_is_in_chips_of_one_stratum_only():
    size, positions = 4 * STRATA * TILE, 64
    used = matrix(chips(single(size), positions)).reshape(STRATA, positions // STRATA, size) != 0
    strata = used.any(axis=1)  # strata, weights
    assert (strata.sum(axis=0) == 1).all()
    assert strata.sum(axis=1).tolist() == [size // STRATA] * STRATA


def test_strata_have_separate_subkeys():
    """The memberships of a stratum are the words of its own subkey: whoever knows one of them knows one stratum."""
    size, positions, overlap = STRATA * TILE, 64, 8
    projection = chips(single(size), positions, overlap)
    dense = (matrix(projection) / projection.scale).reshape(STRATA, positions // STRATA, size)
    for stratum in range(STRATA):
        words = KEY.derive("stratum", str(stratum)).words16(TILE * overlap).astype(int)
        columns = words.reshape(TILE, overlap) * (2 * positions // STRATA) >> 16
        expected = np.zeros((positions // STRATA, TILE))
        for weight, drawn in enumerate(columns.tolist()):
            for column in drawn:
                expected[column // 2, weight] += 1 if column % 2 == 0 else -1
        mine = slice(stratum * TILE, (stratum + 1) * TILE)
        assert dense[stratum][:, mine] == pytest.approx(expected, abs=1e-4)


def test_another_key_draws_other_chips():
    a, b = (matrix(chips(single(512), 64, key=KEY.derive(label))) for label in "ab")
    alike = np.sum(a * b) / np.sqrt(np.sum(a**2) * np.sum(b**2))
    assert abs(alike) < 0.05


@pytest.mark.parametrize("positions", [0, 2, 6, 12, 100, 1 << 18])
def test_positions_that_do_not_fit_16_bits_of_a_stratum_are_refused(positions):
    with pytest.raises(ValueError, match="positions must be"):
        chips(rows(1024), positions)


# --- cost -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["apply", "adjoint", "min_norm_update"])
def test_there_is_never_a_dense_matrix(step):
    size, positions = 1 << 17, 4096  # dense: 2 GiB
    projection = chips(rows(size), positions)
    given = np.ones(size, dtype=np.float32) if step == "apply" else draw(1, positions)
    getattr(projection, step)(given)  # imports and caches
    tracemalloc.start()
    getattr(projection, step)(given)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 300 * size
