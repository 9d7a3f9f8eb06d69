"""A graph as a module: answers, gradients, what is trained and what is not, devices, precision, messages."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnxruntime as ort
import pytest
import torch

from onnxfp.artifact import open_artifact
from onnxfp.embed.graph import Graph, Node
from onnxfp.embed.torch_graph import TorchGraph, torch_graph
from onnxfp.errors import UsageError
from onnxfp.workflows.graph_of import graph_of
from tests.embed.networks import NETWORKS, exported, inputs, network

DRAW = np.random.default_rng(0)


def real(*shape: int) -> np.ndarray:
    return DRAW.standard_normal(shape).astype(np.float32)


def node(operator: str, inputs: str, outputs: str, domain: str = "", **attributes: object) -> Node:
    return Node(operator, domain, "", tuple(inputs.split(",")), tuple(outputs.split(",")), attributes)


def graph(*nodes: Node, opset: int = 17, **tensors: np.ndarray) -> Graph:
    """From `x` to `y`."""
    return Graph(("x",), ("y",), nodes, tensors, opset)


def loaded(path) -> TorchGraph:
    with open_artifact(path) as artifact:
        return torch_graph(graph_of(artifact))


def answers(path, x: torch.Tensor) -> np.ndarray:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(path), options, ["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x.numpy()})[0]


# --- networks ---------------------------------------------------------------------------------------------------------


def check(path, name: str) -> None:
    """Equal to onnxruntime; every weight that can be trained gets a gradient; matrices are all trained."""
    net, x = loaded(path), inputs(name)
    (found,) = net(x)
    wanted = answers(path, x)
    assert np.abs(found.detach().numpy() - wanted).max() <= 1e-5 * np.abs(wanted).max()
    found.square().sum().backward()
    assert [name for name, weight in net.weights.items() if weight.grad is None or not weight.grad.any()] == []
    whole = sum(values.numel() for values in network(name).parameters() if values.dim() > 1)
    assert sum(weight.numel() for weight in net.weights.values() if weight.dim() > 1) >= whole


@pytest.mark.parametrize("folded", [True, False], ids=["folded", "unfolded"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_exported_by_tracing_answers_and_learns(name, folded, tmp_path):
    check(exported(name, tmp_path / "net.onnx", folded=folded), name)


@pytest.mark.parametrize(("name", "opset"), [("residual", 9), ("mobile", 11), ("gru", 11), ("ushaped", 11)])
def test_a_network_of_an_older_version_answers_and_learns(name, opset, tmp_path):
    check(exported(name, tmp_path / "net.onnx", folded=False, opset=opset), name)


def test_a_network_exported_by_capturing_answers_and_learns(tmp_path):
    check(exported("vision", tmp_path / "net.onnx", tracing=False), "vision")


# --- what is trained --------------------------------------------------------------------------------------------------


def test_weights_are_the_artifacts_tensors_and_statistics_are_frozen(tmp_path):
    net, original = loaded(exported("plain", tmp_path / "net.onnx", folded=False)), network("plain")
    assert set(net.weights) == {name for name, _ in original.named_parameters()}
    assert all(isinstance(weight, torch.nn.Parameter) for weight in net.weights.values())
    with torch.no_grad():
        for weight in net.weights.values():
            weight.add_(1)
    for name, values in net.values().items():
        np.testing.assert_array_equal(values, original.get_parameter(name).detach().numpy() + np.float32(1))
        assert values.flags.c_contiguous
    before = [value.clone() for value in net.buffers()]
    net.train()(inputs("plain"))
    assert all(torch.equal(*pair) for pair in zip(before, net.buffers(), strict=True))


def test_scalars_masks_integers_and_tables_are_not_trained():
    tensors = {
        "factor": real(1),
        "mask": np.where(np.tri(4, dtype=bool), 0, -np.inf).astype(np.float32),
        "large_mask": np.where(np.tri(4, dtype=bool), 0, -1e9).astype(np.float32),
        "at": np.array([1, 0]),
        "scales": np.array([1, 2], dtype=np.float32),
        "statistics": np.ones(4, dtype=np.float32),
        "weight": real(4, 4),
    }
    nodes = (
        node("Mul", "x,factor", "a"),
        node("Add", "a,mask", "b"),
        node("Add", "b,large_mask", "c"),
        node("Softmax", "c", "d"),
        node("MatMul", "d,weight", "e"),
        node("Gather", "e,at", "f"),
        node("Identity", "statistics", "mean"),
        node("BatchNormalization", "f,g,g,mean,statistics", "h"),
        node("Resize", "h,,scales", "y"),
    )
    net = torch_graph(graph(*nodes, g=real(4), **tensors))
    assert set(net.weights) == {"weight", "g"}
    assert net(torch.randn(4, 4))[0].shape == (2, 8)


def test_training_never_writes_into_the_graph():
    tensors = {"w": real(3, 2)}
    before = tensors["w"].copy()
    net = torch_graph(graph(node("MatMul", "x,w", "y"), **tensors))
    net(torch.ones(1, 3))[0].sum().backward()
    with torch.no_grad():
        net.weights["w"] -= 0.5 * net.weights["w"].grad
    np.testing.assert_array_equal(tensors["w"], before)
    np.testing.assert_allclose(net.values()["w"], before - 0.5)


def test_half_precision_weights_train_in_single_and_come_back_as_they_were():
    weights = real(3, 2).astype(np.float16)
    net = torch_graph(graph(node("MatMul", "x,w", "a"), node("Cast", "a", "y", to=10), w=weights))
    assert net.weights["w"].dtype == torch.float32
    assert net(torch.ones(1, 3, dtype=torch.float16))[0].dtype == torch.float32
    assert net.values()["w"].dtype == np.float16
    np.testing.assert_array_equal(net.values()["w"], weights)


def test_a_tensor_that_two_nodes_share_is_one_weight():
    net = torch_graph(graph(node("MatMul", "x,w", "a"), node("MatMul", "a,w", "y"), w=real(3, 3)))
    net(torch.ones(1, 3))[0].sum().backward()
    assert list(net.weights) == ["w"]
    assert len(list(net.parameters())) == 1


# --- order, optional inputs, shapes -----------------------------------------------------------------------------------


def test_nodes_may_come_in_any_order_and_those_that_nobody_needs_do_not_run():
    nodes = (node("Relu", "a", "y"), node("MatMul", "x,w", "a"), node("Unheard", "a", "z"))
    w = real(3, 3)
    (found,) = torch_graph(graph(*nodes, w=w))(torch.ones(1, 3))
    np.testing.assert_allclose(found.detach().numpy(), np.maximum(w.sum(0, keepdims=True), 0), rtol=1e-5)


def test_a_batch_of_any_size_passes_through_computed_shapes():
    nodes = (
        node("Shape", "x", "shape"),
        node("Gather", "shape,zero", "n"),
        node("Unsqueeze", "n,axes", "n1"),
        node("Concat", "n1,rest", "target", axis=0),
        node("Reshape", "x,target", "a"),
        node("ConstantOfShape", "target", "zeros"),
        node("Add", "a,zeros", "b"),
        node("Slice", "shape,axes,two", "first"),
        node("Equal", "target,minus", "unknown"),
        node("Where", "unknown,first,target", "wide"),
        node("Expand", "b,wide", "y"),
    )
    shapes = {"zero": np.array(0), "axes": np.array([0]), "rest": np.array([6]), "two": np.array([2])}
    shapes["minus"] = np.array([-1])
    net = torch_graph(graph(*nodes, **shapes))
    assert [net(torch.randn(n, 2, 3))[0].shape for n in (1, 5)] == [(1, 6), (5, 6)]


def test_constants_are_folded_once():
    nodes = (node("Add", "one,one", "two"), node("Mul", "two,two", "four"), node("Mul", "x,four", "y"))
    net = torch_graph(graph(*nodes, one=np.array([1], dtype=np.float32)))
    assert len(net._plan.steps) == 1
    assert net(torch.ones(1))[0].item() == 4


def test_intermediate_values_are_let_go():
    net = torch_graph(graph(node("Exp", "x", "a"), node("Exp", "a", "b"), node("Exp", "b", "y")))
    assert [step.frees for step in net._plan.steps] == [
        (net._plan.inputs[0],),
        *((s.gives[0],) for s in net._plan.steps[:2]),
    ]


def test_a_classifiers_map_of_classes_comes_as_columns():
    x = torch.randn(2, 3)
    assert torch_graph(graph(node("ZipMap", "x", "y", domain="ai.onnx.ml", classlabels_int64s=(0, 1, 2))))(x)[0] is x


# --- quantisation -----------------------------------------------------------------------------------------------------


def quantized() -> Graph:
    nodes = (
        node("QuantizeLinear", "x,sx,zx", "q"),
        node("Cast", "q", "q8", to=2),
        node("DequantizeLinear", "q8,sx,zx", "a"),
        node("DequantizeLinear", "w,sw,zw", "d", axis=0),
        node("Gemm", "a,d,b", "y", transB=1),
    )
    constants = {"sx": np.array(0.1, dtype=np.float32), "zx": np.array(100, dtype=np.uint8), "b": real(3)}
    constants |= {"w": DRAW.integers(-128, 128, (3, 4), dtype=np.int8), "sw": np.float32([0.1, 0.2, 0.3])}
    return graph(*nodes, zw=np.zeros(3, dtype=np.int8), **constants)


def test_gradients_pass_straight_through_quantisation_where_nothing_is_clipped():
    net = torch_graph(source := quantized())
    assert set(net.weights) == {"b", "sw"}
    x = torch.tensor([[0.52, -0.31, 100.0, -100.0]], requires_grad=True)
    net(x)[0].sum().backward()
    whole = torch.tensor([[5.0, -3.0, 155.0, -100.0]]) * 0.1
    expected = torch_graph(source)(whole)[0]
    torch.testing.assert_close(net(x)[0], expected)
    assert (x.grad[0, :2] != 0).all()
    assert (x.grad[0, 2:] == 0).all()
    assert net.weights["sw"].grad.all()


def test_dynamic_quantisation_is_near_the_identity():
    nodes = (node("DynamicQuantizeLinear", "x", "q,s,z"), node("DequantizeLinear", "q,s,z", "y"))
    x = torch.randn(50, requires_grad=True)
    (found,) = torch_graph(graph(*nodes))(x)
    assert (found - x).abs().max() <= (x.max() - x.min()) / 255
    found.sum().backward()
    assert torch.isfinite(x.grad).all()


# --- as a module ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_runs_under_autocast(name, tmp_path):
    net, x = loaded(exported(name, tmp_path / "net.onnx", folded=False)), inputs(name)
    with torch.autocast("cpu", torch.bfloat16):
        (found,) = net(x)
    wanted = network(name)(x)
    assert (found - wanted).abs().max() <= 0.05 * wanted.abs().max()
    found.float().square().sum().backward()
    assert all(torch.isfinite(weight.grad).all() for weight in net.weights.values())


def test_the_same_input_gives_the_same_answer_and_the_same_gradient(tmp_path):
    path, seen = exported("mobile", tmp_path / "net.onnx", folded=False), []
    for mode in (True, False):
        net = loaded(path).train(mode)
        found = net(inputs("mobile"))[0]
        found.square().sum().backward()
        seen.append([found.detach(), *(weight.grad for weight in net.weights.values())])
    assert all(torch.equal(*pair) for pair in zip(*seen, strict=True))


def test_it_is_a_module_like_any_other():
    net = torch_graph(graph(node("Gemm", "x,w.a,b", "y"), **{"w.a": real(3, 2), "b": real(2)}))
    x = torch.randn(4, 3)
    doubled = torch.func.functional_call(net, {name: 2 * value for name, value in net.named_parameters()}, (x,))
    torch.testing.assert_close(doubled[0], 2 * net(x)[0])
    other = torch_graph(graph(node("Gemm", "x,w.a,b", "y"), **{"w.a": real(3, 2), "b": real(2)}))
    other.load_state_dict(net.state_dict())
    assert torch.equal(other(x)[0], net(x)[0])
    assert net.to("meta").weights["w.a"].device.type == "meta"
    with pytest.raises(ValueError, match="argument 2"):
        other(x, x)


def test_everything_that_stands_beside_the_weights_moves_with_them():
    """Shapes stay on the CPU: nothing of the graph is asked for its values on the other device."""
    nodes = (
        node("Shape", "x", "shape"),
        node("Slice", "shape,zero,one", "n"),
        node("Concat", "n,minus", "target", axis=0),
        node("ConstantOfShape", "n", "zeros"),
        node("Reshape", "x,target", "a"),
        node("Gather", "a,at", "b", axis=1),
        node("Mul", "b,table", "c"),
        node("Cast", "n", "count", to=1),
        node("Div", "c,count", "d"),
        node("Unsqueeze", "zeros,one", "column"),
        node("Add", "d,column", "y"),
    )
    constants = {"zero": np.array([0]), "one": np.array([1]), "minus": np.array([-1]), "at": np.array([0, 2])}
    net = torch_graph(graph(*nodes, table=real(2), **constants)).to("meta")
    assert net(torch.empty(3, 2, 2, device="meta"))[0].shape == (3, 2)
    assert net(torch.empty(3, 2, 2, device="meta"))[0].device.type == "meta"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_runs_on_an_accelerator(name, tmp_path):
    net = loaded(exported(name, tmp_path / "net.onnx", folded=False))
    wanted = net(inputs(name))[0]
    (found,) = net.to("cuda")(inputs(name).to("cuda"))
    torch.testing.assert_close(found.cpu(), wanted, rtol=1e-2, atol=1e-2)
    found.square().sum().backward()
    with torch.autocast("cuda", torch.bfloat16):
        net(inputs(name).to("cuda"))[0].float().sum().backward()


# --- what is refused --------------------------------------------------------------------------------------------------


def refused(*nodes: Node) -> str:
    with pytest.raises(UsageError) as caught:
        torch_graph(graph(*nodes))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_every_operator_that_cannot_be_trained_is_named_in_one_line():
    trees = replace(node("TreeEnsembleClassifier", "x", "a", domain="ai.onnx.ml"), name="trees\n")
    message = refused(trees, node("Det", "a", "b"), node("Det", "b", "c"), node("Pad", "c", "y", mode="sideways"))
    assert message.startswith(
        "expected operators that can be trained, found TreeEnsembleClassifier of ai.onnx.ml ('trees\\n'), "
        "Det ('b' and 1 more), Pad with mode=sideways ('y'); "
    )


def test_a_value_that_nobody_computes_is_named():
    assert "found no node that computes it" in refused(node("Relu", "nowhere", "y"))
    assert "without cycles" in refused(node("Relu", "y", "a"), node("Relu", "a", "y"))
