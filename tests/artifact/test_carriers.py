"""Which tensors can bear a mark, which model they came from, and which tensor of a suspect answers for which."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from artifact_models import REAL, floats, layered_model, make_model, matmul_model, save, save_external
from onnx import helper, numpy_helper

from onnxfp.artifact import (
    Sketch,
    carriers,
    inspect_artifact,
    open_artifact,
    resolve,
    similarity,
    sketch,
    why_unmarkable,
)

NODE = helper.make_node


def found(tmp_path, nodes, arrays, **kwargs):
    tensors = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    with open_artifact(save(tmp_path, make_model(nodes, tensors, **kwargs))) as artifact:
        return {carrier.name: carrier.operator for carrier in carriers(artifact)}


@pytest.mark.parametrize(
    ("operator", "inputs"),
    [
        ("Conv", ["x", "w"]),
        ("ConvTranspose", ["x", "w"]),
        ("Gemm", ["x", "w"]),
        ("Gemm", ["w", "x"]),
        ("MatMul", ["x", "w"]),
        ("MatMul", ["w", "x"]),
        ("LSTM", ["x", "w", "x"]),
        ("GRU", ["x", "x", "w"]),
        ("RNN", ["x", "w", "x"]),
        ("QLinearConv", ["x", "s", "z", "w"]),
        ("ConvInteger", ["x", "w"]),
        ("MatMulInteger", ["x", "w"]),
        ("QLinearMatMul", ["x", "s", "z", "w"]),
    ],
)
def test_weights_of_products_and_recurrences_are_carriers(tmp_path, operator, inputs):
    assert found(tmp_path, [NODE(operator, inputs, ["y"])], {"w": floats(0, 32, 32)}) == {"w": operator}


@pytest.mark.parametrize("operator", ["FusedConv", "FusedGemm", "FusedMatMul", "QGemm"])
def test_weights_of_fused_operators_are_carriers(tmp_path, operator):
    inputs = ["x", "s", "z", "w"] if operator == "QGemm" else ["x", "w"]
    nodes = [NODE(operator, inputs, ["y"], domain="com.microsoft")]
    assert found(tmp_path, nodes, {"w": floats(0, 32, 32)}) == {"w": operator}


def test_biases_small_tensors_and_foreign_operators_are_not_carriers(tmp_path):
    nodes = [
        NODE("Gemm", ["x", "small", "bias"], ["a"]),
        NODE("Add", ["a", "table"], ["b"]),
        NODE("MatMul", ["b", "foreign"], ["y"], domain="somebody"),
    ]
    arrays = {name: floats(0, 2048) for name in ("bias", "table", "foreign")} | {"small": floats(1, 1023)}
    assert found(tmp_path, nodes, arrays) == {}


def test_weights_are_seen_through_views_and_quantisation(tmp_path):
    nodes = [
        NODE("QuantizeLinear", ["w", "s", "z"], ["q"]),
        NODE("DequantizeLinear", ["q", "s", "z"], ["d"]),
        NODE("Cast", ["d"], ["c"], to=1),
        NODE("Reshape", ["c", "shape"], ["r"]),
        NODE("Transpose", ["r"], ["t"]),
        NODE("Unsqueeze", ["t", "axes"], ["u"]),
        NODE("Squeeze", ["u", "axes"], ["v"]),
        NODE("Identity", ["v"], ["i"]),
        NODE("MatMul", ["x", "i"], ["y"]),
    ]
    assert found(tmp_path, nodes, {"w": floats(0, 32, 32)}) == {"w": "MatMul"}


def test_a_weight_joined_with_an_activation_is_computed_and_not_a_carrier(tmp_path):
    nodes = [NODE("Concat", ["w", "v"], ["j"], axis=0), NODE("MatMul", ["x", "j"], ["y"])]
    weights = {"w": floats(0, 32, 32), "v": floats(1, 32, 32)}
    assert found(tmp_path, nodes, weights) == {"w": "MatMul", "v": "MatMul"}
    nodes[0] = NODE("Concat", ["w", "x"], ["j"], axis=0)
    assert found(tmp_path, nodes, weights) == {}


def test_a_shared_tensor_is_one_carrier(tmp_path):
    nodes = [NODE("Conv", ["x", "w"], ["a"]), NODE("MatMul", ["a", "w"], ["y"])]
    assert found(tmp_path, nodes, {"w": floats(0, 32, 32)}) == {"w": "Conv"}


def test_scopes_functions_and_outer_names_are_followed(tmp_path):
    with open_artifact(save(tmp_path, layered_model())) as artifact:
        assert {carrier.name: carrier.operator for carrier in carriers(artifact)} == {
            "linear": "MatMul",
            "outer": "MatMul",
            "#3.then_branch/k": "MatMul",
            "#3.else_branch/k": "MatMul",
        }


def test_functions_that_call_functions_are_followed_and_recursion_ends(tmp_path):
    def function(name, body):
        return helper.make_function("local", name, ["a", "b"], ["c"], body, [helper.make_opsetid("", 20)])

    functions = [
        function("Outer", [NODE("Inner", ["a", "b"], ["c"], domain="local")]),
        function("Inner", [NODE("MatMul", ["a", "b"], ["d"]), NODE("Outer", ["d", "b"], ["c"], domain="local")]),
    ]
    nodes = [NODE("Outer", ["x", "w"], ["y"], domain="local")]
    assert found(tmp_path, nodes, {"w": floats(0, 32, 32)}, functions=functions) == {"w": "MatMul"}


@pytest.mark.parametrize(
    ("weight", "low", "high"),
    [
        (floats(0, 700, 700) * 3, 2.9, 3.1),
        (np.where(floats(1, 700, 700) > 0, 0, floats(2, 700, 700)).astype(np.float32), 0.9, 1.1),
        (np.zeros((64, 64), np.float32), 0, 0),
        (np.append(floats(3, 4095), np.float32(1e20)).reshape(64, 64), 0.9, 1.1),
        (np.full((64, 64), 2, np.float32), 0, 0),
        (np.append(np.full(4000, 2), np.arange(96)).astype(np.float32).reshape(64, 64), 0, 20),
    ],
)
def test_the_spread_is_a_robust_deviation_of_what_is_not_zero(tmp_path, weight, low, high):
    with open_artifact(save(tmp_path, matmul_model(weight))) as artifact:
        assert low <= carriers(artifact)[0].spread <= high


def test_the_inspection_counts_what_is_there(tmp_path):
    with open_artifact(save(tmp_path, layered_model())) as artifact:
        facts = inspect_artifact(artifact)
    assert (facts.carrier_weights, facts.writable_weights) == (4096, 4096)
    assert facts.other_weights == 3 + 3 + 1 + 3 + 32
    assert (facts.sparse_tensors, facts.string_tensors, facts.orphan_bytes) == (1, 0, 0)
    assert facts.dtypes == (("float", 7, 4134), ("int64", 2, 4))
    assert (facts.ir_version, dict(facts.opsets)) == (10, {"": 20, "local": 1})


def test_bytes_of_external_data_that_nothing_refers_to_are_counted(tmp_path):
    path = save_external(tmp_path, matmul_model(floats(0, 64, 64)))
    with (tmp_path / "m.data").open("ab") as file:
        file.write(bytes(1000))
    with open_artifact(path) as artifact:
        facts = inspect_artifact(artifact)
    assert facts.orphan_bytes == 1000
    assert facts.external_files == ("m.data",)
    assert facts.size == path.stat().st_size + 64 * 64 * 4 + 1000


def two_layers(first, second, names=("a", "b")):
    nodes = [NODE("MatMul", ["x", names[0]], ["h"]), NODE("MatMul", ["h", names[1]], ["y"])]
    return make_model(nodes, [numpy_helper.from_array(w, n) for w, n in zip((first, second), names, strict=True)])


REFERENCE = floats(0, 48, 48), floats(1, 48, 48)


@pytest.fixture
def reference(tmp_path):
    with open_artifact(save(tmp_path, two_layers(*REFERENCE), "reference.onnx")) as artifact:
        found = carriers(artifact)
        yield found, Sketch.from_dict(json.loads(json.dumps(sketch(artifact, found).as_dict())))


def test_descendants_resemble_the_reference_and_strangers_do_not(tmp_path, reference):
    noisy = [weight + 0.3 * floats(7, 48, 48) for weight in REFERENCE]
    eighths = [np.round(weight * 8).astype(np.int8) for weight in REFERENCE]
    likeness = {}
    for name, model in {
        "itself": two_layers(*REFERENCE),
        "renamed": two_layers(*REFERENCE, ("onnx::1", "onnx::2")),
        "noisy": two_layers(*noisy),
        "swapped": two_layers(*REFERENCE[::-1], ("p", "q")),
        "rounded": two_layers(*eighths, ("a_quantized", "b_quantized")),
        "stranger": two_layers(floats(8, 48, 48), floats(9, 48, 48)),
        "other shape": two_layers(floats(0, 48, 50), floats(1, 50, 48)),
        "nothing": make_model([]),
    }.items():
        with open_artifact(save(tmp_path, model)) as artifact:
            likeness[name] = similarity(reference[1], artifact)
    assert likeness["itself"] == pytest.approx(1)
    assert min(likeness[name] for name in ("renamed", "noisy", "swapped", "rounded")) > 0.9
    assert likeness["stranger"] < 0.4
    assert likeness["other shape"] == likeness["nothing"] == 0


def test_the_sketch_is_small_and_public(tmp_path):
    layers = 40
    nodes = [NODE("MatMul", ["x", f"w{i}"], [f"y{i}"]) for i in range(layers)]
    model = make_model(nodes, [numpy_helper.from_array(floats(i, 40, 40), f"w{i}") for i in range(layers)])
    with open_artifact(save(tmp_path, model)) as artifact:
        text = json.dumps(sketch(artifact, carriers(artifact)).as_dict())
        assert len(text) < 25_000
        assert text == json.dumps(sketch(artifact, carriers(artifact)).as_dict())


def test_carriers_are_resolved_by_name_then_by_likeness(tmp_path, reference):
    found, likeness = reference
    cases = {
        "same names": (two_layers(*REFERENCE), {"a": "a", "b": "b"}),
        "renamed": (two_layers(*REFERENCE, ("p", "q")), {"a": "p", "b": "q"}),
        "swapped": (two_layers(*REFERENCE[::-1], ("p", "q")), {"a": "q", "b": "p"}),
        "one renamed": (two_layers(*REFERENCE, ("a", "q")), {"a": "a", "b": "q"}),
        "twice the same": (two_layers(REFERENCE[0], REFERENCE[0], ("p", "q")), {"a": "p"}),
        "swapped under their names": (two_layers(*REFERENCE[::-1]), {"a": "b", "b": "a"}),
        "independent": (two_layers(floats(8, 48, 48), floats(9, 48, 48)), {"a": "a", "b": "b"}),
        "strangers": (two_layers(floats(8, 48, 48), floats(9, 48, 48), ("p", "q")), {}),
    }
    for name, (model, wanted) in cases.items():
        with open_artifact(save(tmp_path, model)) as artifact:
            assert {key: record.name for key, record in resolve(found, artifact, likeness).items()} == wanted, name
            by_name = {record.name: record.name for record in artifact.tensors if record.name in ("a", "b")}
            assert {key: record.name for key, record in resolve(found, artifact).items()} == by_name, name


@pytest.mark.parametrize("likeness", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("used", [False, True])
def test_decoys_under_the_old_names_do_not_answer(tmp_path, reference, likeness, used):
    model = two_layers(*REFERENCE, ("p", "q"))
    for at, (name, weight) in enumerate(zip(("a", "b"), REFERENCE, strict=True)):
        decoy = likeness * weight + (1 - likeness) * floats(20 + at, 48, 48)
        model.graph.initializer.insert(0, numpy_helper.from_array(decoy, name))
        model.graph.node.extend([NODE("MatMul", ["x", name], [f"unused {name}"])] if used else [])
    text = helper.make_tensor("text", 8, [48, 48], [b"t"] * 48 * 48)
    model.graph.initializer.append(text)
    with open_artifact(save(tmp_path, model)) as artifact:
        found = {key: record.name for key, record in resolve(reference[0], artifact, reference[1]).items()}
        assert similarity(reference[1], artifact) == pytest.approx(1)
    assert found == ({"a": "a", "b": "b"} if used and likeness == 1 else {"a": "p", "b": "q"})


def test_sparse_weights_are_sampled_until_enough_are_not_zero(tmp_path):
    kept = [np.where(np.abs(weight) > 1.6, weight, 0) for weight in (floats(0, 64, 64), floats(1, 64, 64))]
    with open_artifact(save(tmp_path, two_layers(*kept))) as artifact:
        found = carriers(artifact)
        assert [round(carrier.density, 2) for carrier in found] == [0.11, 0.11]
        public = sketch(artifact, found)
    assert min(np.count_nonzero(sampled.values) for sampled in public.tensors) >= 32
    noisy = [weight + np.float32(0.05) * floats(5, 64, 64) for weight in kept]
    with open_artifact(save(tmp_path, two_layers(*noisy, ("p", "q")))) as artifact:
        assert {k: r.name for k, r in resolve(found, artifact, public).items()} == {"a": "p", "b": "q"}


def test_why_a_model_bears_no_mark_is_said(tmp_path):
    same = two_layers(np.zeros((48, 48), np.float32), np.full((48, 48), 2, np.float32))
    whole = two_layers(*(np.round(weight * 8).astype(np.int8) for weight in REFERENCE))
    cases = {"at least 1024": make_model([]), "2 are constant or zero": same, "2 are not float": whole}
    for reason, model in cases.items():
        with open_artifact(save(tmp_path, model)) as artifact:
            assert reason in why_unmarkable(artifact, carriers(artifact))
            assert inspect_artifact(artifact).writable_weights == 0
    path = save_external(tmp_path / "e", two_layers(*REFERENCE))
    model = onnx.load(path, load_external_data=False)
    del model.graph.initializer[1].external_data[:]
    model.graph.initializer[1].external_data.extend(model.graph.initializer[0].external_data)
    with open_artifact(save(tmp_path / "e", model)) as artifact:
        assert "2 are stored in the same external bytes" in why_unmarkable(artifact, carriers(artifact))
    with open_artifact(save(tmp_path, two_layers(*REFERENCE))) as artifact:
        assert why_unmarkable(artifact, carriers(artifact)) == ""


@pytest.mark.skipif(not REAL, reason="the shared real models are not beside this checkout")
def test_real_models_keep_the_carriers_they_had():
    wanted = {
        "squeezenet_fp16.onnx": (26, 1_231_552),
        "cifar_base_kw.onnx": (2, 104_448),
        "dtln_model_1.onnx": (5, 361_088),
        "ppocr_mobile_v2_cls.onnx": (27, 113_976),
        "silero_vad_16k_op15.onnx": (7, 308_096),
        "policy.onnx": (3, 170_496),
        "tree_ensemble_classifier.onnx": (0, 0),
    }
    for path in REAL:
        if path.name in wanted:
            with open_artifact(path) as artifact:
                found = carriers(artifact)
                assert (len(found), sum(carrier.size for carrier in found)) == wanted[path.name], path.name


@pytest.mark.skipif(not REAL, reason="the shared real models are not beside this checkout")
def test_a_simplified_graph_of_the_same_weights_is_recognised():
    paths = {path.name: path for path in REAL}
    with (
        open_artifact(paths["cifar_base_kw.onnx"]) as first,
        open_artifact(paths["cifar_base_kw_simp.onnx"]) as second,
        open_artifact(paths["cifar10_cnn_winml.onnx"]) as stranger,
    ):
        public = sketch(first, carriers(first))
        assert similarity(public, second) == pytest.approx(1)
        assert similarity(public, stranger) < 0.4
        assert len(resolve(carriers(first), second, public)) == 2


def test_integer_and_half_weights_are_carriers_too(tmp_path):
    for kind in (np.int8, np.uint8, np.float16):
        weight = (floats(0, 32, 32) * 30).astype(np.int16).astype(kind)
        nodes = [NODE("DequantizeLinear", ["w", "s"], ["d"]), NODE("MatMul", ["x", "d"], ["y"])]
        assert found(tmp_path, nodes, {"w": weight}) == {"w": "MatMul"}
