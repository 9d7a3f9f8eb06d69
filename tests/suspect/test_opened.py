"""Open suspects: what is read of their weights, and what they say when something cannot be."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from onnxfp.artifact import open_artifact
from onnxfp.domain import Answered, QueryProbe, Segment, Unanswered, WeightProbe
from onnxfp.keys.keystream import Keystream
from onnxfp.projections.centring import Layout
from onnxfp.projections.chips import Chips
from onnxfp.projections.gaussian import Gaussian
from onnxfp.suspect.opened import OpenedWeights
from tests.frozen import dump

SEGMENTS = (Segment("a", 0, 2048, 0.5, columns=64), Segment("b", 512, 2560, 1.0, columns=64))
CHIPS = Chips(Keystream(bytes(range(32))), Layout.of(SEGMENTS), 64, 16)
PROBE = WeightProbe(SEGMENTS, CHIPS, 4.0, 0.05)
BLIND = WeightProbe((SEGMENTS[0],), Gaussian(Keystream(bytes(32)), (32, 64), 0, 16), float("inf"), 0.1, blind=True)
SHAPES = {"a": (32, 64), "b": (64, 64)}


def weights_of(seed: int = 0) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(seed)
    spreads = {"a": 0.5, "b": 1.0}
    return {name: (spreads[name] * draw.standard_normal(shape)).astype(np.float32) for name, shape in SHAPES.items()}


REFERENCE = weights_of()
MARK = CHIPS.min_norm_update(np.resize([1.0, -1.0], 64)) * np.float32(0.05)


def marked() -> dict[str, np.ndarray]:
    copy = {name: weights.copy() for name, weights in REFERENCE.items()}
    copy["a"].reshape(-1)[:2048] += MARK[:2048] * np.float32(0.5)
    copy["b"].reshape(-1)[512:2560] += MARK[2048:]
    return copy


@pytest.fixture
def opened(tmp_path):
    """Opens a suspect made of weights against the reference."""
    with ExitStack() as files:

        def artifact(name, weights):
            nodes = [onnx.helper.make_node("MatMul", [f"x{key}", key], [f"y{key}"]) for key in weights]
            values = [[onnx.helper.make_tensor_value_info(f"{side}{key}", 1, None) for key in weights] for side in "xy"]
            tensors = [numpy_helper.from_array(value, key) for key, value in weights.items()]
            graph = onnx.helper.make_graph(nodes, "g", *values, tensors)
            path = tmp_path / f"{name}.onnx"
            path.write_bytes(onnx.helper.make_model(graph).SerializeToString())
            return files.enter_context(open_artifact(path))

        def suspect(weights, reference=REFERENCE, carriers=tuple(SHAPES)):
            theirs = artifact("suspect", weights)
            tensors = {name: theirs.tensor(name) for name in carriers if name in weights}
            return OpenedWeights(theirs, artifact("reference", reference), tensors)

        yield suspect


def test_the_mark_is_read_against_the_reference(opened):
    answer = opened(marked()).answer(PROBE)
    assert isinstance(answer, Answered)
    assert (answer.coverage, answer.unread) == (1.0, ())
    assert np.corrcoef(answer.values, np.resize([1.0, -1.0], 64))[0, 1] > 0.95


def test_the_reference_itself_reads_as_nothing(opened):
    assert np.abs(opened(REFERENCE).answer(PROBE).values).max() < 1e-4


def test_a_blind_probe_reads_the_weights_alone_in_units_of_strength_times_spread(opened):
    other_reference = weights_of(5)
    answer = opened(marked(), other_reference).answer(BLIND)
    expected = BLIND.projection.apply(marked()["a"].reshape(-1) / np.float32(0.1 * 0.5))
    assert answer.values == pytest.approx(expected, rel=1e-5)


def test_a_suspect_without_a_carrier_is_read_in_the_others(opened):
    answer = opened({"a": marked()["a"]}).answer(PROBE)
    assert answer.coverage == 0.5
    assert answer.unread == ("the suspect has no tensor that answers for carrier 'b'",)
    assert np.corrcoef(answer.values, np.resize([1.0, -1.0], 64))[0, 1] > 0.5


def test_a_suspect_without_any_carrier_does_not_answer(opened):
    answer = opened({"c": REFERENCE["a"]}).answer(PROBE)
    assert isinstance(answer, Unanswered)
    assert "carrier 'a'" in answer.reason
    assert "carrier 'b'" in answer.reason


def test_a_reference_that_lost_a_tensor_is_said_so(opened):
    answer = opened(marked(), {"a": REFERENCE["a"]}).answer(PROBE)
    assert answer.unread == ("the registered reference has no tensor 'b' any more",)


def test_outputs_are_not_its_to_give(opened):
    assert isinstance(opened(REFERENCE).answer(QueryProbe(np.zeros((1, 64)))), Unanswered)


@pytest.mark.parametrize("probe", [PROBE, BLIND], ids=["residual", "blind"])
@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, 3.4e38])
def test_weights_that_are_not_finite_or_enormous_neither_warn_nor_escape(opened, probe, wrong):
    weights = marked()
    weights["a"][3, 5] = wrong
    answer = opened(weights).answer(probe)
    assert isinstance(answer, Answered)
    assert np.isfinite(answer.values).all()


def test_a_suspect_of_nothing_but_nan_says_nothing(opened):
    answer = opened({name: np.full(shape, np.nan, np.float32) for name, shape in SHAPES.items()}).answer(PROBE)
    assert isinstance(answer, Unanswered)
    assert "no finite weight" in answer.reason


def test_looking_twice_sees_the_same_and_other_chips_see_otherwise(opened):
    suspect = opened(marked())
    other = replace(PROBE, projection=Chips(Keystream(bytes(32)), Layout.of(SEGMENTS), 64, 16))
    first, second, third = suspect.answer(PROBE), suspect.answer(other), suspect.answer(PROBE)
    assert dump(first) == dump(third)
    assert dump(first) != dump(second)
    fresh = opened(marked()).answer(other)
    assert dump(second) == dump(fresh)


def test_a_probe_of_other_weights_is_not_answered_from_memory(opened):
    suspect = opened(marked())
    suspect.answer(PROBE)
    moved = tuple(replace(segment, start=segment.start + 64, stop=segment.stop + 64) for segment in SEGMENTS[1:])
    probe = WeightProbe(moved, Chips(Keystream(bytes(32)), Layout.of(moved), 64, 16), 4.0, 0.05)
    assert dump(suspect.answer(probe)) == dump(opened(marked()).answer(probe))


def test_carriers_are_read_through_the_tensor_that_answers_for_them(opened):
    weights = marked()
    suspect = opened({"renamed": weights["a"], "b": weights["b"]}, carriers=("b", "renamed"))
    tensors = {"a": suspect.tensors["renamed"], "b": suspect.tensors["b"]}
    assert dump(replace(suspect, tensors=tensors).answer(PROBE)) == dump(opened(weights).answer(PROBE))
