"""Every operator answers as onnxruntime does, in each form that the versions of the standard gave it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from onnxfp.embed.graph import Graph, Node
from onnxfp.embed.torch_graph import torch_graph
from onnxfp.embed.torch_graph.catalogue import _DOMAINS
from onnxfp.errors import UsageError

DRAW = np.random.default_rng(0)


def real(*shape: int) -> np.ndarray:
    return DRAW.standard_normal(shape).astype(np.float32)


def positive(*shape: int) -> np.ndarray:
    return (np.abs(real(*shape)) + 0.1).astype(np.float32)


def inside(*shape: int) -> np.ndarray:
    return DRAW.uniform(-0.9, 0.9, shape).astype(np.float32)


def ints(*values: int, dtype: type = np.int64) -> np.ndarray:
    return np.array(values, dtype=dtype)


def scalar(value: float, dtype: type = np.float32) -> np.ndarray:
    return np.array(value, dtype=dtype)


@dataclass(frozen=True)
class Case:
    """One node and what it is given: the first input by the caller, the others as constants."""

    operator: str
    opset: int
    inputs: tuple[np.ndarray | None, ...]
    attributes: dict[str, Any] = field(default_factory=dict)
    outputs: int = 1
    domain: str = ""

    def __str__(self) -> str:
        words = [f"{name}={value}" for name, value in self.attributes.items() if not isinstance(value, TensorProto)]
        return "-".join([self.operator, str(self.opset), *words])[:90].replace(" ", "")


def case(operator: str, opset: int, *inputs: np.ndarray | None, outputs: int = 1, domain: str = "", **attributes: Any):
    return Case(operator, opset, inputs, attributes, outputs, domain)


X, Y, P = real(2, 3, 4, 5), real(2, 3, 4, 5), positive(2, 3, 4, 5)
IMAGE, PLANE = real(2, 4, 7, 6), real(1, 2, 4, 4)
LSTM = (real(5, 2, 3), real(1, 16, 3), real(1, 16, 4), real(1, 32), None, real(1, 2, 4), real(1, 2, 4))
GRU = (real(5, 2, 3), real(2, 12, 3), real(2, 12, 4), real(2, 24), None, real(2, 2, 4))
RNN = (real(5, 2, 3), real(1, 4, 3), real(1, 4, 4), real(1, 8))
BATCH = (IMAGE, real(4), real(4), real(4), positive(4))
WIDE = ints(7, -3, 5, -8, dtype=np.int32)
BOOLS = np.array([[True, False], [False, True]])

EVERYWHERE = ["Abs", "Ceil", "Erf", "Exp", "Floor", "Neg", "Reciprocal", "Sign", "Relu", "Sigmoid", "Tanh"]
ANGLES = ["Sin", "Cos", "Tan", "Asin", "Acos", "Atan", "Sinh", "Cosh", "Asinh", "Atanh"]
UNARY = [
    *(case(name, 13, X) for name in EVERYWHERE),
    *(case(name, 13, P) for name in ("Sqrt", "Log")),
    *(case(name, 9, inside(2, 3)) for name in ANGLES),
    case("Acosh", 9, positive(3) + 1),
    case("Round", 11, np.array([-2.5, -0.5, 0.5, 1.5, 2.4], dtype=np.float32)),
    case("Not", 1, BOOLS),
    case("IsNaN", 13, np.array([1, np.nan], dtype=np.float32)),
    case("IsInf", 10, np.array([1, np.inf, -np.inf], dtype=np.float32)),
    case("IsInf", 20, np.array([1, np.inf, -np.inf], dtype=np.float32), detect_negative=0),
    case("BitwiseNot", 18, WIDE),
]
ACTIVATIONS = [
    case("Elu", 6, X, alpha=0.7),
    case("Celu", 12, X, alpha=0.7),
    case("Selu", 6, X),
    case("LeakyRelu", 6, X, alpha=0.2),
    case("PRelu", 9, X, real(3, 1, 1)),
    case("HardSigmoid", 6, X),
    case("HardSigmoid", 22, 4 * X, alpha=1 / 6),
    case("HardSwish", 14, 4 * X),
    case("Softplus", 1, 30 * X),
    case("Softsign", 1, X),
    case("Mish", 18, X),
    case("Shrink", 9, X, bias=0.1, lambd=0.3),
    case("ThresholdedRelu", 10, X, alpha=0.3),
    case("Gelu", 20, X),
    case("Gelu", 20, X, approximate="tanh"),
    case("Swish", 24, X, alpha=0.7),
    case("Gelu", 1, X, domain="com.microsoft"),
    case("FastGelu", 1, X, real(5), domain="com.microsoft"),
    case("BiasGelu", 1, X, real(5), domain="com.microsoft"),
    case("QuickGelu", 1, X, alpha=1.5, domain="com.microsoft"),
    *(case(name, 11, X, axis=2) for name in ("Softmax", "LogSoftmax", "Hardmax")),
    *(case(name, 13, X, axis=2) for name in ("Softmax", "LogSoftmax", "Hardmax")),
    case("Softmax", 9, X, axis=-1),
    case("Softmax", 9, X),
    case("Softmax", 13, X),
]
ARITHMETIC = [
    *(case(name, 14, X, real(4, 1)) for name in ["Add", "Sub", "Mul", "Div"]),
    *(case(name, 14, WIDE, ints(2, 2, -2, 3, dtype=np.int32)) for name in ["Add", "Sub", "Mul", "Div"]),
    case("Pow", 13, X, scalar(2.0)),
    case("Pow", 13, P, real(5)),
    case("Pow", 15, WIDE, scalar(2, np.int64)),
    case("Mod", 13, WIDE, ints(3, 3, -4, 5, dtype=np.int32)),
    case("Mod", 13, X, Y, fmod=1),
    *(case(name, 13, X, Y, real(5)) for name in ["Sum", "Max", "Min", "Mean"]),
    case("Max", 12, WIDE, ints(0, dtype=np.int32)),
    *(case(name, 16, X, Y) for name in ["Less", "LessOrEqual", "Greater", "GreaterOrEqual"]),
    case("Equal", 13, WIDE, ints(7, 3, 5, -8, dtype=np.int32)),
    *(case(name, 7, BOOLS, np.array([True, True])) for name in ["And", "Or", "Xor"]),
    *(case(f"Bitwise{name}", 18, WIDE, WIDE[::-1].copy()) for name in ["And", "Or", "Xor"]),
    case("BitShift", 11, ints(1, 5, dtype=np.uint8), ints(2, 1, dtype=np.uint8), direction="LEFT"),
    case("Where", 16, X > 0, X, real(5)),
    case("Clip", 6, X, min=-0.5, max=0.5),
    case("Clip", 13, X, scalar(-0.5), scalar(0.5)),
    case("Clip", 13, X, None, scalar(0.5)),
    case("Clip", 13, X),
    case("Cast", 13, 4 * X, to=TensorProto.INT32),
    case("Cast", 13, WIDE, to=TensorProto.FLOAT),
    case("Cast", 13, X, to=TensorProto.BOOL),
    case("CastLike", 15, WIDE, real(1)),
]
PRODUCTS = [
    case("Gemm", 13, real(3, 4), real(5, 4), real(5), transB=1),
    case("Gemm", 9, real(4, 3), real(4, 5), real(3, 1), transA=1, alpha=0.5, beta=2.0),
    case("Gemm", 11, real(3, 4), real(4, 5)),
    case("MatMul", 13, real(2, 3, 4), real(4, 5)),
    case("MatMul", 9, real(2, 1, 3, 4), real(3, 4, 2)),
    case("FusedMatMul", 1, real(2, 4, 3), real(5, 4), transA=1, transB=1, alpha=0.5, domain="com.microsoft"),
    case("Einsum", 12, real(2, 3, 4), real(2, 5, 4), equation="bij, bkj -> bik"),
    case("Attention", 23, real(2, 4, 5, 8), real(2, 2, 6, 8), real(2, 2, 6, 8)),
    case("Attention", 23, real(2, 5, 8), real(2, 6, 8), real(2, 6, 8), real(5, 6), q_num_heads=2, kv_num_heads=2),
    case("Attention", 23, real(1, 2, 5, 8), real(1, 2, 5, 8), real(1, 2, 5, 4), is_causal=1, scale=0.2, softcap=2.0),
    case("Attention", 23, real(1, 2, 3, 8), real(1, 2, 3, 8), real(1, 2, 3, 8), np.tri(3, 5, 2, dtype=bool),
         real(1, 2, 2, 8), real(1, 2, 2, 8), outputs=3),
]  # fmt: skip
CONVOLUTIONS = [
    case("Conv", 11, IMAGE, real(6, 4, 3, 3), real(6), pads=(1, 1, 1, 1), strides=(2, 1)),
    case("Conv", 11, IMAGE, real(8, 1, 3, 3), group=4, dilations=(2, 1)),
    case("Conv", 1, IMAGE, real(2, 4, 2, 2), pads=(0, 1, 1, 0)),
    *(
        case("Conv", 22, IMAGE, real(2, 4, 4, 2), strides=(2, 3), auto_pad=f"SAME_{side}")
        for side in ("UPPER", "LOWER")
    ),
    case("Conv", 11, IMAGE, real(2, 4, 3, 3), auto_pad="VALID"),
    case("Conv", 11, real(2, 3, 9), real(4, 3, 3), pads=(2, 0)),
    case("Conv", 11, real(1, 2, 4, 4, 4), real(3, 2, 2, 2, 2)),
    case(
        "ConvTranspose", 11, IMAGE, real(4, 3, 3, 3), real(3), strides=(2, 2), pads=(1, 1, 1, 1), output_padding=(1, 1)
    ),
    case("ConvTranspose", 11, IMAGE, real(4, 2, 3, 3), group=2, strides=(2, 2), pads=(0, 1, 1, 2)),
    case("ConvTranspose", 11, IMAGE, real(4, 2, 3, 3), strides=(2, 2), output_shape=(14, 13)),
    case("ConvTranspose", 11, IMAGE, real(4, 2, 3, 3), strides=(2, 2), auto_pad="SAME_UPPER"),
    case("ConvTranspose", 11, real(2, 3, 5), real(3, 2, 4), strides=(3,)),
]
POOLS = [
    case("MaxPool", 8, IMAGE, kernel_shape=(3, 2), strides=(2, 2), pads=(1, 0, 1, 0)),
    case("MaxPool", 12, IMAGE, kernel_shape=(2, 2), strides=(2, 2), ceil_mode=1),
    case("MaxPool", 12, IMAGE, kernel_shape=(3, 3), pads=(0, 0, 1, 1), dilations=(2, 1)),
    case("MaxPool", 12, IMAGE, kernel_shape=(3, 3), strides=(2, 2), auto_pad="SAME_UPPER"),
    case("MaxPool", 12, IMAGE, kernel_shape=(2, 2), outputs=2),
    case("AveragePool", 10, IMAGE, kernel_shape=(3, 3), strides=(2, 2), pads=(1, 1, 1, 1)),
    case("AveragePool", 10, IMAGE, kernel_shape=(3, 3), pads=(1, 1, 1, 1), count_include_pad=1),
    case("AveragePool", 11, IMAGE, kernel_shape=(2, 2), pads=(0, 0, 1, 1)),
    case("AveragePool", 19, IMAGE, kernel_shape=(2, 2), strides=(2, 2), ceil_mode=1),
    case("GlobalAveragePool", 1, IMAGE),
    case("GlobalMaxPool", 1, IMAGE),
    *(case("LRN", 13, IMAGE, size=size, alpha=0.3, beta=0.6, bias=1.5) for size in (3, 5)),
]
NORMALIZATIONS = [
    *(case("BatchNormalization", opset, *BATCH, epsilon=1e-3) for opset in (7, 9, 14, 15)),
    case("BatchNormalization", 14, *BATCH, outputs=3, training_mode=1, momentum=0.8),
    case("InstanceNormalization", 6, IMAGE, real(4), real(4)),
    case("GroupNormalization", 18, IMAGE, real(2), real(2), num_groups=2),
    case("GroupNormalization", 21, IMAGE, real(4), real(4), num_groups=2),
    case("LayerNormalization", 17, X, real(5), real(5)),
    case("LayerNormalization", 17, X, real(4, 5), axis=2, epsilon=1e-3),
    case("LayerNormalization", 17, X, real(5), real(5), outputs=3),
    case("RMSNormalization", 23, X, real(5)),
    case("SimplifiedLayerNormalization", 17, X, real(5), axis=-1, epsilon=1e-5),
    case("SkipLayerNormalization", 1, X[0], Y[0], real(5), real(5), real(5), domain="com.microsoft"),
    case("MeanVarianceNormalization", 13, X),
    *(case("LpNormalization", 1, X, p=power, axis=1) for power in (1, 2)),
]
_REDUCED = ["L1", "L2", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare", "LogSum"]
REDUCTIONS = [
    *(case(f"Reduce{name}", 11, P, axes=(1, -1)) for name in _REDUCED),
    *(case(f"Reduce{name}", 18, P, ints(1, -1), keepdims=0) for name in _REDUCED),
    case("ReduceSum", 13, P, ints(0)),
    case("ReduceSum", 13, P),
    case("ReduceSum", 13, P, noop_with_empty_axes=1),
    case("ReduceMean", 13, P, keepdims=0),
    case("ReduceMax", 13, WIDE),
    case("ArgMax", 13, X, axis=1),
    case("ArgMin", 13, X, axis=-1, keepdims=0),
    case("ArgMax", 13, np.ones((2, 3), dtype=np.float32), axis=1, select_last_index=1),
    case("TopK", 11, X, ints(2), outputs=2),
    case("TopK", 11, X, ints(2), outputs=2, axis=1, largest=0),
    case("CumSum", 14, X, scalar(1, np.int64)),
    case("CumSum", 14, X, scalar(-1, np.int64), exclusive=1, reverse=1),
]
SHAPES = [
    case("Reshape", 13, X, ints(0, -1, 5)),
    case("Reshape", 14, np.zeros((0, 3), dtype=np.float32), ints(3, 0), allowzero=1),
    case("Flatten", 13, X, axis=2),
    case("Flatten", 9, X, axis=0),
    case("Flatten", 13, X, axis=-1),
    case("Transpose", 13, X, perm=(0, 2, 1, 3)),
    case("Transpose", 13, X),
    case("Squeeze", 11, X[:1, :, :1], axes=(0, 2)),
    case("Squeeze", 13, X[:1, :, :1], ints(0, -2)),
    case("Squeeze", 13, X[:1]),
    case("Unsqueeze", 11, X, axes=(0, 5)),
    case("Unsqueeze", 13, X, ints(-1, 0)),
    case("Shape", 13, X),
    case("Shape", 15, X, start=1, end=-1),
    case("Size", 13, X),
    case("Expand", 13, X[:, :1], ints(3, 1, 5)),
    case("Tile", 13, X, ints(1, 2, 1, 3)),
    case("Concat", 13, X, Y, axis=-2),
    case("Split", 11, X, outputs=2, axis=3, split=(2, 3)),
    case("Split", 13, X, ints(2, 3), outputs=2, axis=3),
    case("Split", 18, X, outputs=2, axis=3, num_outputs=2),
    case("Identity", 13, X),
    case("Dropout", 10, X),
    case("Dropout", 13, X, scalar(0.4), outputs=2),
    case("ConstantOfShape", 9, ints(2, 3)),
    case("ConstantOfShape", 9, ints(2, 3), value=helper.make_tensor("v", TensorProto.INT64, [1], [7])),
    case("Range", 11, scalar(1, np.int64), scalar(9, np.int64), scalar(3, np.int64)),
    case("EyeLike", 9, real(3, 4), k=1),
    case("Trilu", 14, X),
    case("Trilu", 14, X, scalar(-1, np.int64), upper=0),
    case("DepthToSpace", 13, real(1, 8, 2, 3), blocksize=2),
    case("DepthToSpace", 13, real(1, 8, 2, 3), blocksize=2, mode="CRD"),
    case("SpaceToDepth", 13, real(1, 2, 4, 6), blocksize=2),
    case("Pad", 2, X, pads=(0, 0, 1, 2, 0, 0, 3, 0), value=0.5),
    case("Pad", 11, X, ints(0, 0, 1, -2, 0, 0, 3, 0), scalar(0.5)),
    case("Pad", 11, X, ints(0, 0, 1, 2, 0, 0, 3, 1), mode="reflect"),
    case("Pad", 13, X, ints(0, 0, 1, 2, 0, 0, 3, 1), mode="edge"),
    case("Pad", 18, X, ints(1, 2), None, ints(-1), mode="edge"),
    case("Pad", 19, X, ints(1, 2), None, ints(3), mode="wrap"),
]
INDEXING = [
    case("Slice", 9, X, starts=(1, 0), ends=(3, -1), axes=(1, 3)),
    case("Slice", 13, X, ints(1, -1), ints(3, -9223372036854775807), ints(1, 3), ints(1, -2)),
    case("Slice", 10, X, ints(0, 1), ints(9223372036854775807, 2)),
    case("Slice", 10, X, ints(-1), ints(-100), ints(2), ints(-1)),
    case("Gather", 13, X, ints(2, -1, 0), axis=1),
    case("Gather", 13, real(6, 4), np.array([[1, -1], [0, 3]])),
    case("Gather", 13, X, scalar(-1, np.int64), axis=3),
    case("GatherElements", 13, X, DRAW.integers(-4, 4, (2, 3, 2, 5)), axis=2),
    case("GatherND", 13, X, np.array([[0, 1], [-1, 2]])),
    case("GatherND", 13, X, DRAW.integers(0, 3, (2, 3, 1)), batch_dims=1),
    case(
        "ScatterElements", 13, X, DRAW.permuted(np.tile(np.arange(4), (2, 3, 5, 1)), axis=3).swapaxes(2, 3), Y, axis=2
    ),
    case("Scatter", 9, real(3, 3), np.array([[0, 2, -1]]), real(1, 3)),
    case("ScatterElements", 18, real(3, 3), np.array([[0, 0, -1]]), real(1, 3), reduction="max"),
    case("ScatterND", 13, X, np.array([[0, 1], [-1, 2]]), real(2, 4, 5)),
    case("ScatterND", 16, X, np.array([[0, 1], [0, 1]]), real(2, 4, 5), reduction="add"),
    case("ScatterND", 18, X, np.array([[0, 1], [0, 1]]), real(2, 4, 5), reduction="min"),
    case("OneHot", 11, ints(1, -1, 5), scalar(4, np.int64), np.array([-1, 2], dtype=np.float32)),
    case("OneHot", 11, np.array([[1, 0]]), ints(3), np.array([0, 1], dtype=np.float32), axis=0),
    case("NonZero", 13, ints(0, 3, 0, 1)),
    case("Compress", 11, X, np.array([True, False, True]), axis=1),
]
RESIZES = [
    case("Upsample", 9, PLANE, np.array([1, 1, 2, 3], dtype=np.float32)),
    case("Upsample", 9, PLANE, np.array([1, 1, 2, 2], dtype=np.float32), mode="linear"),
    case("Resize", 10, PLANE, np.array([1, 1, 1.5, 2], dtype=np.float32)),
    case("Resize", 13, PLANE, None, np.array([1, 1, 2, 2], dtype=np.float32), mode="nearest",
         coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
    case("Resize", 19, PLANE, None, None, ints(7, 3), mode="linear", axes=(2, 3)),
    *(
        case("Resize", 13, PLANE, None, None, ints(1, 2, *sizes), mode=mode, coordinate_transformation_mode=rule)
        for sizes in ((6, 7), (3, 2))
        for mode in ("nearest", "linear", "cubic")
        for rule in ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel")
    ),
    *(
        case("Resize", 13, PLANE, None, np.array([1, 1, 1.6, 0.6], dtype=np.float32), mode="nearest", nearest_mode=rule)
        for rule in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
    ),
    case("Resize", 13, PLANE, None, np.array([1, 1, 1.6, 0.6], dtype=np.float32), mode="cubic", cubic_coeff_a=-0.5,
         exclude_outside=1),
    case("Resize", 19, PLANE, None, np.array([1, 1, 1.6, 1.3], dtype=np.float32), mode="linear",
         coordinate_transformation_mode="half_pixel_symmetric"),
]  # fmt: skip
RECURRENT = [
    *(case("LSTM", 14, *LSTM, outputs=3, hidden_size=4, direction=way) for way in ("forward", "reverse")),
    case("LSTM", 7, *LSTM[:3], outputs=3, hidden_size=4),
    *(
        case("GRU", 14, *GRU, outputs=2, hidden_size=4, direction="bidirectional", linear_before_reset=late)
        for late in (0, 1)
    ),
    *(case("RNN", 14, *RNN, outputs=2, hidden_size=4, activations=[name]) for name in ("Tanh", "Relu")),
]
QUANTIZED = [
    case("DequantizeLinear", 13, DRAW.integers(-128, 128, (2, 3, 4), dtype=np.int8), positive(3),
         DRAW.integers(-9, 9, 3, dtype=np.int8), axis=1),
    case("DequantizeLinear", 10, DRAW.integers(0, 255, (2, 3), dtype=np.uint8), scalar(0.1), scalar(3, np.uint8)),
    case("DequantizeLinear", 21, DRAW.integers(-128, 128, (2, 6), dtype=np.int8), positive(2, 3),
         DRAW.integers(-9, 9, (2, 3), dtype=np.int8), axis=1, block_size=2),
]  # fmt: skip
CLASSICAL = [
    case("Scaler", 1, real(2, 3), domain="ai.onnx.ml", offset=[0.5, 1.0, 0.1], scale=[2.0, 1.0, 0.5]),
    *(case("Normalizer", 1, real(2, 3), domain="ai.onnx.ml", norm=norm) for norm in ("MAX", "L1", "L2")),
    case("ArrayFeatureExtractor", 1, real(2, 3), ints(2, 0), domain="ai.onnx.ml"),
]
CASES = [
    *UNARY, *ACTIVATIONS, *ARITHMETIC, *PRODUCTS, *CONVOLUTIONS, *POOLS, *NORMALIZATIONS, *REDUCTIONS, *SHAPES,
    *INDEXING, *RESIZES, *RECURRENT, *QUANTIZED, *CLASSICAL,
]  # fmt: skip


# --- both sides -------------------------------------------------------------------------------------------------------


def names_of(case: Case) -> list[str]:
    return ["" if value is None else f"i{at}" for at, value in enumerate(case.inputs)]


def attribute(value: Any) -> Any:
    """As a graph has it."""
    if isinstance(value, TensorProto):
        return numpy_helper.to_array(value)
    return tuple(value) if isinstance(value, list) else value


def model_of(case: Case) -> onnx.ModelProto:
    """A model of one node, all of whose inputs the caller supplies."""
    given = [(name, value) for name, value in zip(names_of(case), case.inputs, strict=True) if name]
    outputs = [f"o{at}" for at in range(case.outputs)]
    node = helper.make_node(case.operator, names_of(case), outputs, domain=case.domain, **case.attributes)
    graph = helper.make_graph(
        [node],
        "case",
        [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape) for n, v in given],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
    )
    opsets = [helper.make_opsetid("", 17 if case.domain else case.opset)]
    opsets += [helper.make_opsetid(case.domain, case.opset)] if case.domain else []
    return helper.make_model(graph, ir_version=10, opset_imports=opsets)


def expected(case: Case) -> list[np.ndarray]:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = ort.InferenceSession(model_of(case).SerializeToString(), options, ["CPUExecutionProvider"])
    feeds = {name: value for name, value in zip(names_of(case), case.inputs, strict=True) if name}
    return session.run(None, feeds)


def graph_of(case: Case, supplied: int) -> Graph:
    """The same, with the first inputs supplied by the caller and the others constant."""
    names = names_of(case)
    attributes = {name: attribute(value) for name, value in case.attributes.items()}
    outputs = tuple(f"o{at}" for at in range(case.outputs))
    node = Node(case.operator, case.domain, "", tuple(names), outputs, attributes)
    constants = {n: v for n, v in zip(names[supplied:], case.inputs[supplied:], strict=True) if n}
    inputs = tuple(name for name in names[:supplied] if name)
    return Graph(inputs, outputs, (node,), constants, 17 if case.domain else case.opset)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_an_operator_answers_as_onnxruntime_does(case):
    wanted = expected(case)
    for supplied in {0, 1, len(case.inputs)}:
        given = [torch.from_numpy(np.array(value)) for value in case.inputs[:supplied] if value is not None]
        found = torch_graph(graph_of(case, supplied))(*given)
        assert len(found) == len(wanted)
        for mine, theirs in zip(found, wanted, strict=True):
            assert tuple(mine.shape) == theirs.shape
            assert mine.dtype.is_floating_point == (theirs.dtype.kind == "f")
            scale = max(1.0, np.abs(theirs[np.isfinite(theirs)]).max(initial=0)) if theirs.dtype.kind == "f" else 1
            np.testing.assert_allclose(mine.detach().numpy(), theirs, rtol=0, atol=1e-5 * scale)


def test_every_operator_of_the_catalogue_has_a_case():
    tested = {(case.domain, case.operator) for case in CASES}
    elsewhere = {("", "QuantizeLinear"), ("", "DynamicQuantizeLinear"), ("ai.onnx.ml", "ZipMap")}
    known = {(domain, name) for domain, names in _DOMAINS.items() for name in names if domain != "ai.onnx"}
    assert known - tested == elsewhere


VARIANTS = (
    (case("LSTM", 14, *LSTM[:4], ints(5, 5, dtype=np.int32), hidden_size=4), "sequence lengths"),
    (case("LSTM", 14, *LSTM, real(1, 12), hidden_size=4), "peepholes"),
    (case("GRU", 14, *GRU[:3], hidden_size=4, layout=1), "layout=1"),
    (case("LSTM", 14, *LSTM[:3], hidden_size=4, activations=["Relu", "Tanh", "Tanh"]), "activations relu, tanh, tanh"),
    (case("Resize", 18, PLANE, None, None, ints(1, 2, 3, 3), mode="linear", antialias=1), "antialias=1"),
    (case("Resize", 13, PLANE, real(8), None, ints(1, 2, 3, 3), coordinate_transformation_mode="tf_crop_and_resize"),
     "coordinate_transformation_mode=tf_crop_and_resize"),
    (case("AveragePool", 19, IMAGE, kernel_shape=(2, 2), dilations=(2, 2)), "dilations"),
    (case("MaxPool", 12, IMAGE, kernel_shape=(2, 2), storage_order=1), "storage_order=1"),
    (case("Cast", 13, X, to=TensorProto.STRING), "element type 8"),
    (case("Attention", 23, PLANE, PLANE, PLANE, qk_matmul_output_mode=2), "qk_matmul_output_mode=2"),
)  # fmt: skip


@pytest.mark.parametrize(("case", "reason"), VARIANTS, ids=lambda value: str(value)[:40])
def test_a_form_that_cannot_be_run_is_refused_before_anything_runs(case, reason):
    with pytest.raises(UsageError) as caught:
        torch_graph(graph_of(case, 1))
    assert f"found {case.operator} with {reason} ('o0');" in str(caught.value)
    assert "\n" not in str(caught.value)
