"""The weight digest: the same weights give the same digest however the file is written; other weights do not."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from artifact_models import REAL, floats, make_model, save, save_external
from onnx import TensorProto, helper, numpy_helper

from onnxfp.artifact import digest as module
from onnxfp.artifact import open_artifact, profile, weight_digest

FIRST, SECOND = floats(0, 40, 40), floats(1, 64)


def digest_of(path) -> str:
    with open_artifact(path) as artifact:
        return weight_digest(artifact)


def model(first="w", second="v", typed=False, constant=False, reverse=False, weight=FIRST):
    tensors = [numpy_helper.from_array(weight, first), numpy_helper.from_array(SECOND, second)]
    if typed:
        tensors = [
            helper.make_tensor(t.name, TensorProto.FLOAT, t.dims, numpy_helper.to_array(t).ravel()) for t in tensors
        ]
    nodes = [helper.make_node("MatMul", ["x", first], ["y"])]
    if constant:
        nodes.insert(0, helper.make_node("Constant", [], [first], value=tensors.pop(0)))
    return make_model(nodes, tensors[::-1] if reverse else tensors)


RESERIALISED = {
    "typed fields": model(typed=True),
    "a Constant node": model(constant=True),
    "a typed Constant node": model(constant=True, typed=True),
    "another order": model(reverse=True),
    "other names": model("onnx::MatMul_12", "bias"),
}


@pytest.mark.parametrize("change", RESERIALISED)
def test_the_digest_survives_reserialisation(tmp_path, change):
    assert digest_of(save(tmp_path, model())) == digest_of(save(tmp_path, RESERIALISED[change], "other.onnx"))


def test_the_digest_survives_external_data(tmp_path):
    assert digest_of(save(tmp_path, model())) == digest_of(save_external(tmp_path / "external", model()))


def test_the_digest_sees_one_bit_and_the_shape_and_the_type(tmp_path):
    bit = FIRST.copy()
    bit.view(np.uint32)[3, 4] ^= 1
    others = [bit, FIRST.reshape(20, 80), FIRST.view(np.int32), FIRST[:39]]
    digests = {digest_of(save(tmp_path, model(weight=weight))) for weight in (FIRST, *others)}
    assert len(digests) == 5


def test_padding_bits_of_small_types_do_not_enter(tmp_path):
    digests = set()
    for padding in (0x00, 0xF0):
        tensor = TensorProto(name="w", dims=[3], data_type=TensorProto.INT4, raw_data=bytes([0x21, 0x03 | padding]))
        digests.add(digest_of(save(tmp_path, make_model([], [tensor]))))
    assert len(digests) == 1


def test_small_types_have_one_digest_in_every_storage(tmp_path):
    for code, raw in ((TensorProto.INT4, bytes([0x21, 0xF3])), (TensorProto.UINT2, bytes([0b11100100]))):
        typed = TensorProto(name="w", dims=[4], data_type=code)
        typed.int32_data.extend(raw)
        stored = TensorProto(name="w", dims=[4], data_type=code, raw_data=raw)
        paths = [save(tmp_path, make_model([], [t]), f"{i}.onnx") for i, t in enumerate((typed, stored))]
        assert digest_of(paths[0]) == digest_of(paths[1])


def test_numbers_of_constant_nodes_have_the_digest_of_their_tensors(tmp_path):
    tensor = numpy_helper.from_array(np.float32([1, 2.5]))
    ways = [{"value": tensor}, {"value_floats": [1.0, 2.5]}]
    paths = [
        save(tmp_path, make_model([helper.make_node("Constant", [], ["k"], **way)]), f"{i}.onnx")
        for i, way in enumerate(ways)
    ]
    assert digest_of(paths[0]) == digest_of(paths[1])


def test_large_tensors_are_hashed_in_leaves_and_small_pieces(tmp_path, monkeypatch):
    whole = digest_of(save(tmp_path, model()))
    monkeypatch.setattr("onnxfp.artifact.reader._CHUNK", 100)
    assert digest_of(save(tmp_path, model())) == whole
    monkeypatch.setattr(module, "_BLOCK", 512)
    leaves = [digest_of(save(tmp_path, built)) for built in (model(), model(typed=True), model(constant=True))]
    assert len(set(leaves)) == 1


def test_string_tensors_enter_the_digest(tmp_path):
    texts = [[b"ab", b"c"], [b"a", b"bc"], [b"ab", b"d"]]
    built = [make_model([], [helper.make_tensor("s", TensorProto.STRING, [2], text)]) for text in texts]
    assert len({digest_of(save(tmp_path, m, f"{i}.onnx")) for i, m in enumerate(built)}) == 3


@pytest.mark.skipif(not REAL, reason="the shared real models are not beside this checkout")
@pytest.mark.parametrize("path", REAL, ids=lambda path: path.name)
def test_real_models_keep_their_digest_when_onnx_saves_them_again(path, tmp_path):
    loaded = onnx.load(path)
    for tensor in loaded.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.dtype == np.float32 and array.ndim:
            tensor.CopyFrom(helper.make_tensor(tensor.name, tensor.data_type, array.shape, array.ravel()))
    again = save(tmp_path, loaded, "typed.onnx")
    for tensor in loaded.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor), tensor.name))
    loaded.graph.initializer.sort(key=lambda tensor: tensor.name, reverse=True)
    outside = save_external(tmp_path / "external", loaded)
    assert digest_of(path) == digest_of(again) == digest_of(outside)


def test_the_profile_of_a_reference_is_its_digest_and_carriers(tmp_path):
    with open_artifact(save(tmp_path, model())) as artifact:
        found = profile(artifact)
        assert found.digest == weight_digest(artifact)
        assert [(c.name, c.shape, c.dtype, c.operator) for c in found.carriers] == [("w", (40, 40), "float", "MatMul")]
