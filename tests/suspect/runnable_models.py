"""Small models to run, and hostile ones: each a graph as onnxruntime takes it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Value = onnx.ValueInfoProto
FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
DRAW = np.random.default_rng(3)
WEIGHTS = DRAW.normal(size=(6, 3)).astype(np.float32)


def info(name: str, shape: Sequence[object] | None, kind: int = FLOAT) -> Value:
    return helper.make_tensor_value_info(name, kind, shape)


def constant(name: str, value: object, dtype: type = np.int64) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(value, dtype), name)


def write(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[Value],
    outputs: Sequence[Value],
    constants: Sequence[onnx.TensorProto] = (),
    domains: Sequence[str] = (),
) -> Path:
    opsets = [helper.make_opsetid("", 20), *(helper.make_opsetid(domain, 3) for domain in domains)]
    graph = helper.make_graph(nodes, "g", inputs, outputs, constants)
    path.write_bytes(helper.make_model(graph, ir_version=10, opset_imports=opsets).SerializeToString())
    return path


node = helper.make_node


def linear(path: Path, batch: int | str = "n") -> Path:
    """Six numbers to three logits."""
    weights = numpy_helper.from_array(WEIGHTS, "w")
    return write(path, [node("MatMul", ["x", "w"], ["y"])], [info("x", [batch, 6])], [info("y", [batch, 3])], [weights])


def single(path: Path, operator: str, kind: int = FLOAT, shape: Sequence[object] = ("n", 6)) -> Path:
    """One operator on one input, without more ado."""
    return write(path, [node(operator, ["x"], ["y"])], [info("x", shape, kind)], [info("y", None, kind)])


def image_labels(path: Path) -> Path:
    """8-bit pictures, channels last, to the number of the brightest channel."""
    nodes = [
        node("Cast", ["x"], ["f"], to=FLOAT),
        node("ReduceMean", ["f", "axes"], ["m"], keepdims=0),
        node("ArgMax", ["m"], ["y"], axis=1, keepdims=0),
    ]
    inputs = [info("x", ["n", 4, 4, 3], TensorProto.UINT8)]
    return write(path, nodes, inputs, [info("y", ["n"], INT64)], [constant("axes", [1, 2])])


def one_hot_image(path: Path) -> Path:
    """Scores behind two axes of length 1, as a convolution leaves them; half precision."""
    weights = numpy_helper.from_array(WEIGHTS.T.reshape(3, 6, 1, 1).astype(np.float16), "w")
    inputs = [info("x", ["n", 6, 1, 1], TensorProto.FLOAT16)]
    outputs = [info("y", ["n", 3, 1, 1], TensorProto.FLOAT16)]
    return write(path, [node("Conv", ["x", "w"], ["y"])], inputs, outputs, [weights])


def zip_map(path: Path, *, labels: bool = True) -> Path:
    """What scikit-learn's classifiers become: labels, and a sequence of maps from class to probability."""
    classes = [0, 1, 2]
    nodes = [
        node(
            "LinearClassifier",
            ["x"],
            ["label", "scores"],
            domain="ai.onnx.ml",
            coefficients=WEIGHTS.T.ravel().tolist(),
            intercepts=[0.0] * 3,
            classlabels_ints=classes,
            post_transform="SOFTMAX",
        ),
        node("ZipMap", ["scores"], ["maps"], domain="ai.onnx.ml", classlabels_int64s=classes),
    ]
    kind = helper.make_map_type_proto(INT64, helper.make_tensor_type_proto(FLOAT, []))
    maps = helper.make_value_info("maps", helper.make_sequence_type_proto(kind))
    outputs = [info("label", ["n"], INT64), maps] if labels else [maps]
    return write(path, nodes, [info("x", ["n", 6])], outputs, domains=["ai.onnx.ml"])


def two_inputs(path: Path) -> Path:
    return write(
        path, [node("Add", ["x", "z"], ["y"])], [info("x", ["n", 6]), info("z", ["n", 6])], [info("y", ["n", 6])]
    )


def optional_input(path: Path) -> Path:
    """A second input with a value to fall back on."""
    inputs = [info("x", ["n", 6]), info("w", [6, 3])]
    weights = numpy_helper.from_array(WEIGHTS, "w")
    return write(path, [node("MatMul", ["x", "w"], ["y"])], inputs, [info("y", ["n", 3])], [weights])


def external(path: Path) -> Path:
    """The linear model with its weights in a second file."""
    model = onnx.load(linear(path))
    onnx.save(model, path, save_as_external_data=True, location=f"{path.stem}.data", size_threshold=0)
    return path


def with_scores(path: Path, nodes: Sequence[onnx.NodeProto], *constants: onnx.TensorProto) -> Path:
    """Any nodes from x (n, 6) to y, of no declared shape."""
    return write(path, nodes, [info("x", ["n", 6])], [info("y", None)], constants)


# --- hostile ----------------------------------------------------------------------------------------------------------


def endless(path: Path) -> Path:
    """A loop of 2**62 rounds."""
    body = helper.make_graph(
        [node("Identity", ["going"], ["on"]), node("Sin", ["inner"], ["next"])],
        "body",
        [info("round", [], INT64), info("going", [], TensorProto.BOOL), info("inner", None)],
        [info("on", [], TensorProto.BOOL), info("next", None)],
    )
    loop = node("Loop", ["rounds", "", "x"], ["y"], body=body)
    return with_scores(path, [loop], constant("rounds", 2**62))


def memory_bomb(path: Path, rows: int) -> Path:
    """An intermediate value of `rows` times 4 MiB, which ends as one number."""
    nodes = [
        node("Shape", ["x"], ["shape"]),  # makes it unknown before there are inputs
        node("Min", ["shape", "one"], ["ones"]),
        node("Mul", ["ones", "large"], ["huge"]),
        node("Expand", ["float", "huge"], ["big"]),
        node("ReduceMax", ["big"], ["most"], keepdims=0),
        node("Mul", ["x", "most"], ["y"]),
    ]
    constants = [constant("large", [rows, 2**20]), constant("one", [1]), constant("float", [[1]], np.float32)]
    return with_scores(path, nodes, *constants)


def flood(path: Path, side: int) -> Path:
    """For each input, `side` times six numbers."""
    nodes = [node("Unsqueeze", ["x", "two"], ["column"]), node("Expand", ["column", "wide"], ["y"])]
    return with_scores(path, nodes, constant("two", [2]), constant("wide", [1, 1, side]))
