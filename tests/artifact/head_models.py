"""Classifiers with every form of head, for the tests that widen and gate them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

FEATURES, CLASSES, SIDE = 6, 5, 3
KINDS = {
    "float": (TensorProto.FLOAT, np.float32),
    "float16": (TensorProto.FLOAT16, np.float16),
    "bfloat16": (TensorProto.BFLOAT16, ml_dtypes.bfloat16),
    "double": (TensorProto.DOUBLE, np.float64),
}
node = helper.make_node


@dataclass
class Builder:
    """One model under construction."""

    dtype: str = "float"
    opset: int = 17
    seed: int = 0
    nodes: list = field(default_factory=list)
    tensors: list = field(default_factory=list)
    outputs: list = field(default_factory=list)
    shapes: list = field(default_factory=list)
    image: bool = False
    batch: int | str = "n"

    @property
    def code(self) -> int:
        return KINDS[self.dtype][0]

    def values(self, *shape: int, scale: float = 1.0) -> np.ndarray:
        self.seed += 1
        return np.random.default_rng(self.seed).standard_normal(shape) * scale

    def constant(self, name: str, values: np.ndarray, dtype: str | None = None) -> str:
        code, kind = KINDS[dtype or self.dtype]
        data = np.asarray(values).astype(kind).tobytes()
        self.tensors.append(TensorProto(name=name, dims=values.shape, data_type=code, raw_data=data))
        return name

    def integers(self, name: str, *values: int) -> str:
        self.tensors.append(numpy_helper.from_array(np.array(values, np.int64), name))
        return name

    def add(self, operator: str, inputs: str, output: str, **attributes) -> str:
        self.nodes.append(node(operator, inputs.split(), [output], name=f"node_{output}", **attributes))
        return output

    def output(self, name: str, *shape: int | str | None, code: int | None = None) -> Builder:
        self.outputs.append(helper.make_tensor_value_info(name, code or self.code, shape or None))
        return self

    def declare(self, name: str, *shape: int | str | None) -> Builder:
        self.shapes.append(helper.make_tensor_value_info(name, self.code, shape))
        return self

    def model(self, **metadata: str) -> onnx.ModelProto:
        shape = (self.batch, FEATURES, SIDE, SIDE) if self.image else (self.batch, FEATURES)
        inputs = [helper.make_tensor_value_info("x", self.code, shape)]
        graph = helper.make_graph(self.nodes, "g", inputs, self.outputs, self.tensors, value_info=self.shapes)
        opsets = [helper.make_opsetid("", self.opset)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=4 if self.opset == 9 else 8)
        model.ir_version = max(model.ir_version, 10 if self.opset > 20 else 0)
        if metadata:
            helper.set_model_props(model, metadata)
        return model


def _gemm(b: Builder, bias: tuple[int, ...] | None = (CLASSES,), **attributes) -> None:
    transposed = attributes.get("transB", 0)
    b.constant("w", b.values(*((CLASSES, FEATURES) if transposed else (FEATURES, CLASSES))))
    names = "x w" if bias is None else f"x w {b.constant('b', b.values(*bias))}"
    b.add("Gemm", names, "z", **attributes)


def _matmul(b: Builder, add: str = "", shape: tuple[int, ...] = (CLASSES,)) -> None:
    b.constant("w", b.values(FEATURES, CLASSES))
    b.add("MatMul", "x w", "m" if add else "z")
    if add:
        b.constant("b", b.values(*shape))
        b.add("Add", add, "z")


def _conv(b: Builder, bias: bool = True, add: tuple[int, ...] | None = None, relu: bool = False, own: str = "") -> None:
    b.image = True
    b.constant("w", b.values(CLASSES, FEATURES, 1, 1))
    names = f"x w {b.constant('b', b.values(CLASSES))}" if bias else "x w"
    last = b.add("Conv", names, "c", kernel_shape=[1, 1])
    if add is not None:
        b.constant("a", b.values(*add))
        last = b.add("Add", f"{last} a", "d")
    if relu:
        last = b.add("Relu", last, "r")
    if own:
        b.constant("e", b.values(*(1 if at != 1 else CLASSES for at in range(4))))
        last = b.add("Add", f"{own.replace('_', last)} e", "f")
    b.add("GlobalAveragePool", last, "p")
    b.add("Flatten", "p", "z")


def _behind(b: Builder, view: str) -> None:
    if view == "Transpose":
        b.constant("stored", b.values(CLASSES, FEATURES))
        b.add("Transpose", "stored", "w", perm=[1, 0])
    elif view == "Reshape":
        b.constant("stored", b.values(2, FEATURES // 2, CLASSES))
        b.add("Reshape", f"stored {b.integers('flat', FEATURES, CLASSES)}", "w")
    elif view == "Cast":
        b.constant("stored", b.values(FEATURES, CLASSES), "float16")
        b.add("Cast", "stored", "w", to=b.code)
    elif view == "Constant":
        made = b.constant("w", b.values(FEATURES, CLASSES))
        b.nodes.append(node("Constant", [], [made], name="kept", value=b.tensors.pop()))
    else:
        b.constant("stored", b.values(FEATURES, CLASSES))
        b.add("Identity", "stored", "w")
    b.constant("b", b.values(CLASSES))
    b.add("Gemm", "x w b", "z")


HEADS = {
    "gemm": _gemm,
    "gemm transposed": lambda b: _gemm(b, transB=1),
    "gemm without bias": lambda b: _gemm(b, None),
    "gemm of one bias": lambda b: _gemm(b, ()),
    "gemm of a row": lambda b: _gemm(b, (1, CLASSES), transB=1),
    "gemm of one by one": lambda b: _gemm(b, (1, 1), beta=0.5),
    "gemm scaled": lambda b: _gemm(b, alpha=0.5, beta=2.0),
    "gemm scaled below zero": lambda b: _gemm(b, alpha=-1.5, beta=-0.25, transB=1),
    "gemm without beta": lambda b: _gemm(b, beta=0.0),
    "gemm of a tiny beta": lambda b: _gemm(b, beta=1e-9),
    "matmul": _matmul,
    "matmul and bias": lambda b: _matmul(b, "m b"),
    "bias and matmul": lambda b: _matmul(b, "b m"),
    "matmul and a row": lambda b: _matmul(b, "m b", (1, CLASSES)),
    "matmul and one bias": lambda b: _matmul(b, "m b", ()),
    "conv": _conv,
    "conv without bias": lambda b: _conv(b, bias=False),
    "conv and bias": lambda b: _conv(b, bias=False, add=(CLASSES, 1, 1)),
    "conv of two biases": lambda b: _conv(b, add=(1, CLASSES, 1, 1)),
    "conv rectified": lambda b: _conv(b, relu=True),
    "conv rectified and bias": lambda b: _conv(b, relu=True, own="_"),
    "behind identity": lambda b: _behind(b, "Identity"),
    "behind transpose": lambda b: _behind(b, "Transpose"),
    "behind cast": lambda b: _behind(b, "Cast"),
    "behind reshape": lambda b: _behind(b, "Reshape"),
    "in a constant": lambda b: _behind(b, "Constant"),
}
"""Every form that ends in logits `z`, two-dimensional."""
ENDINGS = ("logits", "Softmax", "LogSoftmax")


def since(form: str, dtype: str) -> int:
    """The first version of the operators that has this head in this element type."""
    if dtype == "bfloat16":
        return 22 if form.startswith("conv") else 13
    return 11 if form == "gemm without bias" else 9


def classifier(form: str, ending: str = "logits", dtype: str = "float", opset: int = 17, **metadata: str):
    """A whole model: from `x` to `y`."""
    b = Builder(dtype, opset)
    HEADS[form](b)
    b.declare("z", "n", CLASSES)
    b.add("Identity" if ending == "logits" else ending, "z", "y", **({} if ending == "logits" else {"axis": 1}))
    return b.output("y", "n", CLASSES).model(**metadata)


def examples(model: onnx.ModelProto, count: int = 7, seed: int = 0) -> np.ndarray:
    shape = [count, *(d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim[1:])]
    kind = helper.tensor_dtype_to_np_dtype(model.graph.input[0].type.tensor_type.elem_type)
    return np.random.default_rng(seed).standard_normal(shape).astype(kind)


def answers(path: Path, x: np.ndarray) -> list[np.ndarray]:
    """What onnxruntime says; onnx's own evaluator for what it does not run."""
    convolves = x.ndim == 4 and x.dtype == np.float64
    if x.dtype == ml_dtypes.bfloat16 or convolves:
        from onnx.reference import ReferenceEvaluator

        return [np.asarray(y).astype(np.float64) for y in ReferenceEvaluator(str(path)).run(None, {"x": x})]
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(str(path), options, ["CPUExecutionProvider"])
    return [y.astype(np.float64) for y in session.run(None, {session.get_inputs()[0].name: x})]
