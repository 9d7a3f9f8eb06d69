"""Small models for the attacks' file-level tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from onnxfp.artifact import open_artifact

SHAPES = {"first": (32, 64), "second": (64, 48)}  # carriers; the bias is too small to be one


def floats(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def two_layers(seed: int = 0, dtype: type = np.float32, **replaced: np.ndarray) -> onnx.ModelProto:
    """x (n, 32) -> Gemm with bias -> Relu -> MatMul -> y (n, 48)."""
    weights = {name: floats(seed + index, *shape) for index, (name, shape) in enumerate(SHAPES.items())}
    weights |= {"bias": floats(9, 64)} | replaced
    element = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    nodes = [
        helper.make_node("Gemm", ["x", "first", "bias"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "second"], ["y"]),
    ]
    return model(nodes, {name: value.astype(dtype) for name, value in weights.items()}, element)


def model(nodes: list, weights: dict[str, np.ndarray], element: int = TensorProto.FLOAT, **parts) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", element, ["n", 32])],
        [helper.make_tensor_value_info("y", element, ["n", 48])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)], **parts)


def save(path: Path, proto: onnx.ModelProto, *, external: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(
        proto,
        str(path),
        save_as_external_data=external,
        location=f"{path.stem}.bin",
        size_threshold=0,
    )
    return path


def tensors(path: Path) -> dict[str, np.ndarray]:
    with open_artifact(path) as artifact:
        return {record.name: artifact.read(record).reshape(record.shape) for record in artifact.tensors}


def outputs(path: Path, x: np.ndarray) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]
