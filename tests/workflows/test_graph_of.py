"""From an artifact to a graph: exact values under the artifact's names, and back into the file after training."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from onnxfp.artifact import Patch, open_artifact, write_patched
from onnxfp.embed.graph import Graph
from onnxfp.embed.torch_graph import torch_graph
from onnxfp.errors import UsageError
from onnxfp.workflows.graph_of import graph_of
from tests.conftest import save, save_external
from tests.embed.networks import exported, inputs


def model(nodes, tensors=(), opset=20, functions=(), **fields) -> onnx.ModelProto:
    """From a float `x` to `y`."""
    kinds = [helper.make_tensor_value_info("x", 1, ["n", 3]), helper.make_empty_tensor_value_info("y")]
    graph = helper.make_graph(nodes, "graph", kinds[:1], kinds[1:], list(tensors), **fields)
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("local", 1)]
    return helper.make_model(graph, ir_version=10, opset_imports=opsets, functions=list(functions))


def graph_at(path: Path) -> Graph:
    with open_artifact(path) as artifact:
        return graph_of(artifact)


def session(path: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return ort.InferenceSession(str(path), options, ["CPUExecutionProvider"])


# --- values -----------------------------------------------------------------------------------------------------------

ARRAYS = {
    "float": np.array([[0.1, -2.5], [np.pi, 1e-30]], dtype=np.float32),
    "double": np.array([0.1, np.pi]),
    "float16": np.array([0.1, 6e4], dtype=np.float16),
    "int64": np.array([2**62 + 1, -(2**62) - 1]),
    "int32": np.array([2**31 - 1, -(2**31)], dtype=np.int32),
    "uint64": np.array([2**64 - 1], dtype=np.uint64),
    "int8": np.array([-128, 127], dtype=np.int8),
    "uint8": np.array([0, 255], dtype=np.uint8),
    "bool": np.array([True, False, True]),
    "scalar": np.array(7, dtype=np.int64),
    "empty": np.zeros((0, 3), dtype=np.float32),
    "large": np.arange(700_000, dtype=np.float32).reshape(700, 1000),
}


@pytest.mark.parametrize("typed", [False, True], ids=["raw", "typed"])
def test_values_are_exactly_those_of_the_file(typed, tmp_path):
    tensors = [numpy_helper.from_array(values, name) for name, values in ARRAYS.items()]
    if typed:
        tensors = [
            helper.make_tensor(tensor.name, tensor.data_type, tensor.dims, numpy_helper.to_array(tensor).ravel())
            for tensor in tensors
        ]
    nodes = [helper.make_node("Use", ["x", *ARRAYS], ["y"], domain="local")]
    found = graph_at(save(model(nodes, tensors), tmp_path / "m.onnx"))
    assert (found.inputs, found.outputs, found.opset) == (("x",), ("y",), 20)
    assert list(found.tensors) == list(ARRAYS)
    for name, values in ARRAYS.items():
        assert found.tensors[name].dtype == values.dtype
        np.testing.assert_array_equal(found.tensors[name], values)


def test_types_that_numpy_lacks_come_as_the_smallest_that_holds_them(tmp_path):
    brain = np.array([0.1, -3.0], dtype=ml_dtypes.bfloat16)
    tensors = [
        numpy_helper.from_array(brain, "brain"),
        helper.make_tensor("nibbles", TensorProto.INT4, [3], [-8, 7, 1]),
        helper.make_tensor("bits", TensorProto.UINT4, [3], [15, 0, 9]),
    ]
    nodes = [helper.make_node("Use", ["x", "brain", "nibbles", "bits"], ["y"], domain="local")]
    found = graph_at(save(model(nodes, tensors), tmp_path / "m.onnx")).tensors
    assert [(values.dtype.name, values.tolist()) for values in found.values()] == [
        ("float32", brain.astype(np.float32).tolist()),
        ("int8", [-8, 7, 1]),
        ("uint8", [15, 0, 9]),
    ]


def test_constants_in_nodes_are_tensors_under_their_outputs_name(tmp_path):
    weights = numpy_helper.from_array(np.ones((3, 2), dtype=np.float32), "inner name")
    nodes = [
        helper.make_node("Constant", [], ["w"], value=weights),
        helper.make_node("Constant", [], ["one"], value_int=1),
        helper.make_node("Constant", [], ["half"], value_float=0.5),
        helper.make_node("Constant", [], ["several"], value_floats=[1.0, 2.0]),
        helper.make_node("Constant", [], ["shape"], value_ints=[-1, 2]),
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Mul", ["a", "several"], ["b"]),
        helper.make_node("Mul", ["b", "half"], ["c"]),
        helper.make_node("Gather", ["c", "one"], ["d"], axis=1),
        helper.make_node("Reshape", ["d", "shape"], ["y"]),
    ]
    path = save(model(nodes), tmp_path / "m.onnx")
    found = graph_at(path)
    assert {name: values.tolist() for name, values in found.tensors.items()} == {
        "w": [[1, 1]] * 3, "one": 1, "half": 0.5, "several": [1, 2], "shape": [-1, 2],
    }  # fmt: skip
    assert [node.operator for node in found.nodes] == ["MatMul", "Mul", "Mul", "Gather", "Reshape"]
    net, x = torch_graph(found), np.ones((4, 3), dtype=np.float32)
    assert set(net.weights) == {"w", "several"}
    np.testing.assert_array_equal(net(torch.from_numpy(x))[0].detach().numpy(), session(path).run(None, {"x": x})[0])


def test_attributes_are_decoded_and_tensors_among_them_are_arrays(tmp_path):
    fill = helper.make_tensor("v", TensorProto.INT64, [1], [7])
    nodes = [
        helper.make_node("Identity", ["x"], ["unused"]),
        helper.make_node("ConstantOfShape", ["x"], ["a"], value=fill),
        helper.make_node("Use", ["a"], ["y"], "use", domain="local", i=-3, f=0.5, s="text", ns=[1, -2], words=["a"]),
    ]
    found = graph_at(save(model(nodes), tmp_path / "m.onnx")).nodes
    assert found[1].attributes["value"].tolist() == [7]
    assert found[2].attributes == {"i": -3, "f": 0.5, "s": "text", "ns": (1, -2), "words": ("a",)}
    assert (found[2].domain, found[2].name) == ("local", "use")


def test_a_classifier_that_answers_with_texts_numbers_its_classes(tmp_path):
    weights, words = np.eye(3, dtype=np.float32), [b"ant", b"bee", b"cat"]
    tensors = [numpy_helper.from_array(weights, "w"), helper.make_tensor("words", TensorProto.STRING, [3], words)]
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["scores"]),
        helper.make_node("ArgMax", ["scores"], ["best"], axis=1, keepdims=0),
        helper.make_node("ArrayFeatureExtractor", ["words", "best"], ["y"], domain="ai.onnx.ml"),
    ]
    made = model(nodes, tensors)
    made.opset_import.append(helper.make_opsetid("ai.onnx.ml", 1))
    path, x = save(made, tmp_path / "m.onnx"), np.array([[0, 0, 1], [1, 0, 0]], dtype=np.float32)
    found = torch_graph(graph_at(path))(torch.from_numpy(x))[0]
    assert [words[at].decode() for at in found.reshape(-1)] == session(path).run(None, {"x": x})[0].reshape(-1).tolist()


def test_an_initializer_that_is_also_an_input_is_a_constant(tmp_path):
    weights = numpy_helper.from_array(np.ones((3, 2), dtype=np.float32), "w")
    made = model([helper.make_node("MatMul", ["x", "w"], ["y"])], [weights])
    made.graph.input.append(helper.make_tensor_value_info("w", 1, [3, 2]))
    assert graph_at(save(made, tmp_path / "m.onnx")).inputs == ("x",)


# --- what cannot be translated ----------------------------------------------------------------------------------------


def branch(value: float) -> onnx.GraphProto:
    node = helper.make_node("Constant", [], ["inner"], value_float=value)
    return helper.make_graph([node], "branch", [], [helper.make_tensor_value_info("inner", 1, [])])


def sparse() -> onnx.SparseTensorProto:
    values = numpy_helper.from_array(np.ones(1, dtype=np.float32), "w")
    return helper.make_sparse_tensor(values, numpy_helper.from_array(np.array([2]), "at"), [3])


FUNCTION = helper.make_function(
    "local", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 20)]
)
REFUSED = {
    "without graphs inside, found one in If 'choose'": lambda: model(
        [helper.make_node("If", ["x"], ["y"], "choose", then_branch=branch(1), else_branch=branch(2))]
    ),
    "without local functions, found a call of Twice 'twice'": lambda: model(
        [helper.make_node("Twice", ["x"], ["y"], "twice", domain="local")], functions=[FUNCTION]
    ),
    "expected dense constants, found the sparse tensor 'w'": lambda: model(
        [helper.make_node("Add", ["x", "w"], ["y"])], sparse_initializer=[sparse()]
    ),
    "expected constants that are real numbers, found complex64 in 'w'": lambda: model(
        [helper.make_node("Add", ["x", "w"], ["y"])], [helper.make_tensor("w", TensorProto.COMPLEX64, [1], [1j])]
    ),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_cannot_be_translated_is_named_in_one_line(reason, tmp_path):
    with pytest.raises(UsageError) as caught:
        graph_at(save(REFUSED[reason](), tmp_path / "m.onnx"))
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


# --- there and back ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("external", [False, True], ids=["inline", "external"])
@pytest.mark.parametrize("name", ["residual", "encoder", "lstm"])
def test_what_was_trained_is_written_back_in_place(name, external, tmp_path):
    path, new = exported(name, tmp_path / "net.onnx"), tmp_path / "new" / "net.onnx"
    path = save_external(onnx.load(path), path) if external else path
    new.parent.mkdir()
    x = inputs(name)
    with open_artifact(path) as artifact:
        net = torch_graph(graph_of(artifact))
        before = net.values()
        for _ in range(3):
            net.zero_grad()
            torch.nn.functional.cross_entropy(net(x)[0], torch.tensor([0, 1, 2])).backward()
            with torch.no_grad():  # plain descent: torch's own takes seconds to import
                for weight in net.weights.values():
                    weight.sub_(0.05 * weight.grad)
        values = net.values()
        write_patched(artifact, new, [Patch(tensor, 0, values[tensor].reshape(-1)) for tensor in values])
    assert all((values[tensor] != before[tensor]).any() for tensor in values)
    found, wanted = (
        session(new).run(None, {session(new).get_inputs()[0].name: x.numpy()})[0],
        net(x)[0].detach().numpy(),
    )
    assert np.abs(found - wanted).max() <= 1e-5 * np.abs(wanted).max()
    np.testing.assert_array_equal(torch_graph(graph_at(new))(x)[0].detach().numpy(), wanted)


# --- models that others made ------------------------------------------------------------------------------------------

MODELS = Path(__file__).parents[2].parent / "shared" / "data" / "models"
EXTENTS = {"height": 32, "width": 32, "p2o.DynamicDimension.1": 48, "p2o.DynamicDimension.2": 192}
SUPPORTED = (
    "cifar10_cnn_winml", "cifar_base_kw", "cifar_base_kw_simp", "dtln_model_1", "espcn_x3_float", "fastestdet",
    "gtcrn_simple", "mnist_cntk", "mobilenetv3_qat_int8", "policy_external_data/policy", "ppocr_mobile_v2_cls",
    "self_attention_mnist", "squeezenet_fp16",
)  # fmt: skip
UNSUPPORTED = {
    "espcn_x3_brevitas_quant": "found Quant of onnx.brevitas ('Quant_4' and 7 more);",
    "silero_vad_16k_op15": "found one in If '/model/decoder/If';",
    "tree_ensemble_classifier": "found TreeEnsembleClassifier of ai.onnx.ml ('TreeEnsembleClassifier');",
    "xgboost_regressor": "found TreeEnsembleRegressor of ai.onnx.ml ('TreeEnsembleRegressor');",
}


def third_party(name: str) -> Path:
    path = MODELS / f"{name}.onnx"
    if not path.exists():
        pytest.skip(f"{name}.onnx is not here: it needs shared/data beside the repository")
    return path


def feeds(run: ort.InferenceSession) -> dict[str, np.ndarray]:
    draw, found = np.random.default_rng(0), {}
    for value in run.get_inputs():
        noise = draw.standard_normal([d if isinstance(d, int) else EXTENTS.get(d, 2) for d in value.shape])
        if "uint8" in value.type:
            found[value.name] = (noise * 60 + 128).clip(0, 255).astype(np.uint8)
        else:
            found[value.name] = noise.astype(np.float16 if "16" in value.type else np.float32)
    return found


@pytest.mark.parametrize("name", SUPPORTED)
def test_a_third_party_model_answers_as_onnxruntime_does(name):
    path = third_party(name)
    run, graph = session(path), graph_at(path)
    given, net = feeds(run), torch_graph(graph)
    found = net(*(torch.from_numpy(given[name]) for name in graph.inputs))
    for mine, theirs in zip(found, run.run(None, given), strict=True):
        assert mine.shape == theirs.shape
        answer, wanted = mine.detach().numpy().ravel(), theirs.astype(np.float32).ravel()
        if "int8" in name:  # one sum that is rounded the other way changes what follows by a whole step
            assert np.corrcoef(answer, wanted)[0, 1] > 0.8
        else:
            half = "fp16" in name  # which onnxruntime rounds at every step
            assert np.abs(answer - wanted).max() <= (1e-3 if half else 1e-5) * np.abs(wanted).max()
    sum(answer.float().square().sum() for answer in found).backward()
    assert len(net.weights) >= 6
    assert all(weight.grad is not None for weight in net.weights.values() if weight.dim() > 1)


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_a_third_party_model_that_cannot_be_trained_is_refused_in_one_line(name):
    path = third_party(name)
    with pytest.raises(UsageError) as caught:
        torch_graph(graph_at(path))
    assert UNSUPPORTED[name] in str(caught.value)
    assert "\n" not in str(caught.value)
