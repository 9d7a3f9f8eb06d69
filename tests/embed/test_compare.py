"""An interpreted graph is compared with what the artifact answers; more than rounding is refused."""

from __future__ import annotations

import numpy as np
import pytest

from onnxfp.embed.compare import TOLERANCE, difference, outputs_of
from onnxfp.errors import UsageError

torch = pytest.importorskip("torch")


def module(outputs: np.ndarray):
    """A module that answers so, whatever it is asked."""
    return lambda inputs: (torch.from_numpy(outputs),)


INPUTS = np.zeros((4, 3), dtype=np.float32)


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e4])
@pytest.mark.parametrize(("share", "passes"), [(0.0, True), (0.5, True), (0.99, True), (1.01, False), (100.0, False)])
def test_what_rounding_explains_passes_and_more_does_not(share, passes, size):
    expected = np.full((4, 2), size)
    found = expected.copy()
    apart = share * TOLERANCE
    found[2, 1] += apart * max(1.0, size)
    if passes:
        assert difference(module(found), INPUTS, expected) == pytest.approx(apart, abs=1e-9)
    else:
        with pytest.raises(UsageError, match=r"more than the 0\.0001 that rounding explains") as refusal:
            difference(module(found), INPUTS, expected)
        assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["found", "expected"])
def test_what_is_not_finite_never_passes(where, value):
    arrays = {"found": np.zeros((4, 2)), "expected": np.zeros((4, 2))}
    arrays[where][1, 1] = value
    with pytest.raises(UsageError, match="cannot be tuned"):
        difference(module(arrays["found"]), INPUTS, arrays["expected"])


def test_another_shape_is_refused_with_both():
    with pytest.raises(UsageError, match=r"answers \(4, 3\), onnxruntime \(4, 2\)"):
        difference(module(np.zeros((4, 3))), INPUTS, np.zeros((4, 2)))


def test_outputs_are_matrices_of_double_precision():
    half = module(np.arange(24, dtype=np.float16).reshape(4, 2, 3))
    found = outputs_of(half, INPUTS[:, ::-1])
    assert (found.dtype, found.shape) == (np.float64, (4, 6))
    assert found[1].tolist() == [6, 7, 8, 9, 10, 11]


def test_what_the_interpreter_learns_only_when_it_runs_is_one_line():
    def broken(inputs):
        raise NotImplementedError("no such thing\nand more")

    with pytest.raises(UsageError, match="cannot be interpreted") as refusal:
        difference(broken, INPUTS, np.zeros((4, 2)))
    assert "\n" not in str(refusal.value)
