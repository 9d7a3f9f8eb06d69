"""Half precision: the file is smaller, runs, and answers nearly the same, wherever its weights were stored."""

from __future__ import annotations

import os
import stat

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxfp.artifact import carriers, open_artifact
from onnxfp.attacks import parse, run
from onnxfp.errors import UsageError
from tests.attacks.small_models import floats, model, outputs, save, tensors, two_layers


@pytest.fixture
def out(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "half.onnx"


def constant_weights() -> onnx.ModelProto:
    value = numpy_helper.from_array(floats(0, 32, 48))
    nodes = [helper.make_node("Constant", [], ["w"], value=value), helper.make_node("MatMul", ["x", "w"], ["y"])]
    return model(nodes, {})


def weights_in_a_branch() -> onnx.ModelProto:
    def branch(name: str, seed: int) -> onnx.GraphProto:
        weight = numpy_helper.from_array(floats(seed, 32, 48), f"w_{name}")
        result = helper.make_tensor_value_info(f"y_{name}", TensorProto.FLOAT, ["n", 48])
        return helper.make_graph(
            [helper.make_node("MatMul", ["x", weight.name], [result.name])], name, [], [result], [weight]
        )

    choose = helper.make_node("If", ["which"], ["y"], then_branch=branch("then", 0), else_branch=branch("else", 1))
    return model([choose], {"which": np.array(True)})


def weights_in_a_branch_and_outside() -> onnx.ModelProto:
    proto = weights_in_a_branch()
    proto.graph.node.insert(0, helper.make_node("MatMul", ["x", "square"], ["turned"]))
    proto.graph.initializer.append(numpy_helper.from_array(floats(4, 32, 32), "square"))
    for attribute in proto.graph.node[1].attribute:
        attribute.g.node[0].input[0] = "turned"
    return proto


def weights_in_a_function() -> onnx.ModelProto:
    value = numpy_helper.from_array(floats(0, 32, 48))
    body = [helper.make_node("Constant", [], ["w"], value=value), helper.make_node("MatMul", ["i", "w"], ["o"])]
    function = helper.make_function("local", "Layer", ["i"], ["o"], body, [helper.make_opsetid("", 20)])
    proto = model([helper.make_node("Layer", ["x"], ["y"], domain="local")], {}, functions=[function])
    proto.opset_import.append(helper.make_opsetid("local", 1))
    return proto


def initializers_as_inputs() -> onnx.ModelProto:
    proto = two_layers()
    proto.ir_version = 3
    for tensor in proto.graph.initializer:
        proto.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    return proto


def a_name_that_is_taken() -> onnx.ModelProto:
    proto = two_layers()
    proto.graph.node[0].output[0] = proto.graph.node[1].input[0] = "first_fp16"
    return proto


MODELS = {
    "initializers": two_layers,
    "constant nodes": constant_weights,
    "a branch": weights_in_a_branch,
    "a branch and outside": weights_in_a_branch_and_outside,
    "a function": weights_in_a_function,
    "initializers as inputs": initializers_as_inputs,
    "a name that is taken": a_name_that_is_taken,
}


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("external", [False, True], ids=["inline", "external"])
def test_a_half_precision_file_runs_and_answers_nearly_the_same(tmp_path, out, kind, external):
    source = save(tmp_path / "a.onnx", MODELS[kind](), external=external)
    run(parse("fp16"), [source], out, 0)
    onnx.checker.check_model(str(out))
    x = floats(3, 5, 32)
    expected = outputs(save(tmp_path / "twin.onnx", MODELS[kind]()), x)
    np.testing.assert_allclose(outputs(out, x), expected, atol=1e-2 * np.abs(expected).max())


@pytest.mark.parametrize("kind", MODELS)
def test_every_carrier_is_stored_in_half_precision_and_stays_a_carrier(tmp_path, out, kind):
    source = save(tmp_path / "a.onnx", MODELS[kind]())
    run(parse("fp16"), [source], out, 0)
    with open_artifact(source) as before, open_artifact(out) as after:
        assert {carrier.dtype for carrier in carriers(after)} == {"float16"}
        assert sorted(c.shape for c in carriers(after)) == sorted(c.shape for c in carriers(before))
        for old, new in zip(carriers(before), carriers(after), strict=True):
            expected = before.read(before.tensor(old.name)).astype(np.float16).astype(np.float32)
            np.testing.assert_array_equal(after.read(after.tensor(new.name)), expected)


def test_what_is_no_carrier_stays_single_precision(tmp_path, out):
    run(parse("fp16"), [save(tmp_path / "a.onnx", two_layers())], out, 0)
    np.testing.assert_array_equal(tensors(out)["bias"], floats(9, 64))


def test_external_data_come_out_in_one_file_half_as_large(tmp_path, out):
    source = save(tmp_path / "a.onnx", two_layers(), external=True)
    run(parse("fp16"), [source], out, 0)
    assert sorted(path.name for path in out.parent.iterdir()) == ["half.onnx", "half.onnx.data"]
    assert (out.parent / "half.onnx.data").stat().st_size == 2 * (32 * 64 + 64 * 48)
    with open_artifact(out) as artifact:
        assert artifact.orphan_bytes == 0


def test_the_sources_own_data_are_never_replaced(tmp_path):
    source = save(tmp_path / "b.onnx.onnx", two_layers(), external=True)
    os.rename(source, tmp_path / "a.onnx")
    proto = onnx.load(str(tmp_path / "a.onnx"), load_external_data=False)
    for tensor in proto.graph.initializer:
        tensor.external_data[0].value = "b.onnx.data"
    (tmp_path / "a.onnx").write_bytes(proto.SerializeToString())
    os.rename(tmp_path / "b.onnx.bin", tmp_path / "b.onnx.data")
    before = (tmp_path / "b.onnx.data").read_bytes()
    with pytest.raises(UsageError, match="another file"):
        run(parse("fp16"), [tmp_path / "a.onnx"], tmp_path / "b.onnx", 0, force=True)
    assert (tmp_path / "b.onnx.data").read_bytes() == before


def test_no_data_file_stays_when_the_model_cannot_be_written(tmp_path, out):
    source = save(tmp_path / "a.onnx", two_layers(), external=True)
    out.mkdir()
    with pytest.raises(UsageError):
        run(parse("fp16"), [source], out, 0, force=True)
    assert list(out.parent.iterdir()) == [out]


def test_values_out_of_range_become_the_largest_half(tmp_path, out):
    weights = floats(0, 32, 64)
    weights[0, 0] = 1e9
    run(parse("fp16"), [save(tmp_path / "a.onnx", two_layers(first=weights))], out, 0)
    assert max(w.max() for w in tensors(out).values()) == 65504


def test_a_model_in_half_precision_already_is_refused(tmp_path, out):
    with pytest.raises(UsageError, match="half precision already"):
        run(parse("fp16"), [save(tmp_path / "a.onnx", two_layers(dtype=np.float16))], out, 0)


def test_the_files_mode_is_kept(tmp_path, out):
    source = save(tmp_path / "a.onnx", two_layers())
    os.chmod(source, 0o640)
    run(parse("fp16"), [source], out, 0)
    assert stat.S_IMODE(out.stat().st_mode) == 0o640
