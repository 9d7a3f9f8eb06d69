"""The averaged Gaussian projection: linear, exact, minimal, and blind to everything but the average filter."""

import numpy as np
import pytest

from onnxfp.keys.keystream import Keystream
from onnxfp.projections.gaussian import Gaussian

KEY = Keystream(bytes(range(32)))
GENERATOR = np.random.default_rng(3)
SHAPES = [((16, 8, 3, 3), 0), ((8, 16, 3, 3), 1), ((64, 24), 0), ((40, 64), -1)]


def normals(count):
    return GENERATOR.standard_normal(count).astype(np.float32)


@pytest.mark.parametrize(("shape", "axis"), SHAPES)
def test_the_adjoint_is_the_transpose(shape, axis):
    projection = Gaussian(KEY, shape, axis, 13)
    weights, values = normals(projection.size), normals(13).astype(np.float64)
    assert projection.apply(weights) @ values == pytest.approx(float(weights @ projection.adjoint(values)), rel=1e-4)


@pytest.mark.parametrize(("shape", "axis"), SHAPES)
def test_an_update_reads_as_asked_and_no_smaller_one_does(shape, axis):
    projection = Gaussian(KEY, shape, axis, 13)
    values = normals(13).astype(np.float64)
    update = projection.min_norm_update(values)
    assert np.abs(projection.apply(update) - values).max() < 1e-5
    # The smallest solution lies in the row space: it is orthogonal to every change that reads as nothing.
    other = normals(projection.size)
    silent = other - projection.min_norm_update(projection.apply(other))
    assert np.abs(projection.apply(silent)).max() < 1e-5
    assert abs(float(silent @ update)) < 1e-4 * float(np.linalg.norm(silent) * np.linalg.norm(update))


def test_only_the_average_over_the_output_axis_is_read():
    projection = Gaussian(KEY, (16, 8, 3, 3), 0, 13)
    weights = normals(projection.size).reshape(16, 72)
    shuffled = weights[GENERATOR.permutation(16)]
    assert projection.apply(shuffled.reshape(-1)) == pytest.approx(projection.apply(weights.reshape(-1)), abs=1e-6)


def test_a_unit_coefficient_moves_each_weight_by_about_one():
    projection = Gaussian(KEY, (4, 2048), 0, 31)
    update = projection.min_norm_update(np.where(normals(31) < 0, -1.0, 1.0))
    assert np.sqrt(np.mean(update**2)) == pytest.approx(1.0, rel=0.05)


def test_coefficients_of_foreign_weights_are_normal_over_the_keys():
    # Random: the key, on one fixed carrier. Each coefficient has mean 0 and the standard deviation
    # scale * |average filter|; 300 keys, 13 coefficients each; 4.5 standard errors allowed.
    weights = normals(16 * 72) + np.float32(0.2)
    length = float(np.linalg.norm(weights.reshape(16, 72).mean(axis=0)))
    read = np.concatenate(
        [Gaussian(KEY.derive(str(index)), (16, 8, 3, 3), 0, 13).apply(weights) for index in range(300)]
    )
    read /= length * Gaussian(KEY, (16, 8, 3, 3), 0, 13).scale
    assert abs(read.mean()) < 4.5 / np.sqrt(3900)
    assert abs(read.std() - 1) < 4.5 / np.sqrt(2 * 3900)


def test_the_same_key_gives_the_same_map_and_another_key_another():
    weights = normals(16 * 72)
    first, again, other = (Gaussian(key, (16, 8, 3, 3), 0, 13).apply(weights) for key in (KEY, KEY, KEY.derive("x")))
    assert (first == again).all()
    assert np.abs(first - other).max() > 1e-3


def test_more_positions_than_averaged_weights_are_refused():
    # 100 rows on the 27 averaged weights of a first layer have rank 27: most of the message could not be read.
    with pytest.raises(ValueError, match="100 positions cannot be told apart in 27 averaged weights"):
        Gaussian(KEY, (16, 3, 3, 3), 0, 100)


def test_as_many_positions_as_averaged_weights_still_read_exactly():
    projection = Gaussian(KEY, (16, 3, 3, 3), 0, 27)
    values = normals(27).astype(np.float64)
    assert np.abs(projection.apply(projection.min_norm_update(values)) - values).max() < 1e-3
