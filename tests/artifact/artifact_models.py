"""Models and bytes for the tests of the artifact room: honest ones through onnx, hostile ones by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "models"
REAL = sorted(SHARED.rglob("*.onnx"))


def varint(value: int) -> bytes:
    out = bytearray()
    value &= (1 << 64) - 1
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def tagged(number: int, payload: bytes | int) -> bytes:
    """One field: a varint for an int, length-delimited for bytes."""
    if isinstance(payload, int):
        return varint(number << 3) + varint(payload)
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def fixed(number: int, payload: bytes) -> bytes:
    return varint(number << 3 | {4: 5, 8: 1}[len(payload)]) + payload


def tensor_bytes(name: str, dims: tuple[int, ...], dtype: int, *data: bytes) -> bytes:
    """A TensorProto written by hand."""
    shape = b"".join(tagged(1, extent) for extent in dims)
    return shape + tagged(2, dtype) + tagged(8, name.encode()) + b"".join(data)


def model_bytes(*graph: bytes, extra: bytes = b"") -> bytes:
    """A ModelProto whose graph consists of the given fields."""
    return tagged(1, 10) + tagged(8, tagged(2, 20)) + tagged(7, b"".join(graph)) + extra


def with_tensor(tensor: bytes) -> bytes:
    return model_bytes(tagged(5, tensor))


def floats(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def make_model(nodes, initializers=(), functions=(), sparse=()) -> onnx.ModelProto:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "g",
        [value("x", TensorProto.FLOAT, None)],
        [value("y", TensorProto.FLOAT, None)],
        list(initializers),
        sparse_initializer=list(sparse),
    )
    imports = [helper.make_opsetid("", 20), helper.make_opsetid("local", 1)]
    return helper.make_model(graph, ir_version=10, opset_imports=imports, functions=list(functions))


def matmul_model(weight: np.ndarray, name: str = "w") -> onnx.ModelProto:
    return make_model([helper.make_node("MatMul", ["x", name], ["y"])], [numpy_helper.from_array(weight, name)])


def save(folder: Path, model: onnx.ModelProto | bytes, name: str = "m.onnx") -> Path:
    path = folder / name
    path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    return path


def save_external(folder: Path, model: onnx.ModelProto, location: str = "m.data") -> Path:
    (folder / location).parent.mkdir(parents=True, exist_ok=True)
    onnx.save(
        model,
        folder / "m.onnx",
        save_as_external_data=True,
        location=location,
        size_threshold=0,
        all_tensors_to_one_file=True,
    )
    return folder / "m.onnx"


def layered_model() -> onnx.ModelProto:
    """Subgraphs, a local function, Constant nodes, a sparse tensor and typed fields in one small model."""
    node, value = helper.make_node, helper.make_tensor_value_info
    inner = helper.make_graph(
        [
            node("Constant", [], ["k"], value=numpy_helper.from_array(floats(3, 32, 32), "ignored")),
            node("MatMul", ["h", "k"], ["h2"]),
            node("MatMul", ["h2", "outer"], ["then_y"]),
        ],
        "then",
        [],
        [value("then_y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(floats(4, 32), "bias")],
    )
    other = helper.make_graph(
        [node("MatMul", ["h", "k"], ["else_y"])],
        "else",
        [],
        [value("else_y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(floats(5, 32, 32), "k")],
    )
    function = helper.make_function(
        "local",
        "Linear",
        ["a", "b"],
        ["c"],
        [node("Transpose", ["b"], ["bt"], perm=[1, 0]), node("MatMul", ["a", "bt"], ["c"])],
        [helper.make_opsetid("", 20)],
    )
    values = numpy_helper.from_array(np.array([1, 2, 3], np.float32), "sparse")
    places = numpy_helper.from_array(np.array([0, 5, 7], np.int64), "places")
    typed = helper.make_tensor("outer", TensorProto.FLOAT, [32, 32], floats(6, 1024).tolist())
    return make_model(
        [
            node("Linear", ["x", "linear"], ["h"], domain="local"),
            node("Constant", [], ["cond"], value_int=1),
            node("Constant", [], ["list"], value_floats=[1.5, 2.5, -3.0]),
            node("If", ["cond"], ["z"], then_branch=inner, else_branch=other),
            node("Identity", ["z"], ["y"]),
        ],
        [numpy_helper.from_array(floats(7, 32, 32), "linear"), typed],
        [function],
        [helper.make_sparse_tensor(values, places, [3, 3])],
    )
