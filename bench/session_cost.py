"""What the process of its own costs: answers through a session beside a bare loop over onnxruntime.

    python -m bench.session_cost

Both sides run the same ResNet-20 on the same inputs in the same batches with onnxruntime's own number of threads. They
alternate in steady state, everything loaded and warm; the ratio is the median over the rounds. Run it on a machine that
does nothing else.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

INPUTS = 10_240
BATCH = 256  # of a session in steady state
ROUNDS = 7
WIDTHS = (16, 16, 16, 32, 32, 32, 64, 64, 64)  # of the nine blocks


def measure() -> dict[str, float]:
    """Inputs per second of either side, and the median ratio of the two."""
    import onnxruntime

    from onnxfp.domain import Answered, QueryProbe
    from onnxfp.suspect.session import open_session

    inputs = np.random.default_rng(0).random((INPUTS, 3, 32, 32), dtype=np.float32)
    with TemporaryDirectory() as folder:
        path = resnet20(Path(folder) / "resnet20.onnx")
        began = time.perf_counter()
        with open_session(path, device="cpu") as session:
            opening = time.perf_counter() - began
            bare = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

            def alone() -> None:
                for at in range(0, INPUTS, BATCH):
                    bare.run(None, {"x": inputs[at : at + BATCH]})

            def through() -> None:
                assert isinstance(session.answer(QueryProbe(inputs)), Answered)

            rounds = [(_seconds(alone), _seconds(through)) for _ in range(ROUNDS + 1)][1:]
            one = statistics.median(_seconds(lambda: session.answer(QueryProbe(inputs[:1]))) for _ in range(50))
            one_bare = statistics.median(_seconds(lambda: bare.run(None, {"x": inputs[:1]})) for _ in range(50))
    return {
        "ratio": statistics.median(alone / through for alone, through in rounds),
        "bare inputs/s": INPUTS / statistics.median(alone for alone, _ in rounds),
        "session inputs/s": INPUTS / statistics.median(through for _, through in rounds),
        "opening, s": opening,
        "one input, ms": 1e3 * one,
        "one input bare, ms": 1e3 * one_bare,
    }


def resnet20(path: Path) -> Path:
    """Write a ResNet-20 for pictures (n, 3, 32, 32), batch normalisation folded, with random weights."""
    draw = np.random.default_rng(1)
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []

    def apply(operator: str, *inputs: str, **attributes: object) -> str:
        nodes.append(helper.make_node(operator, inputs, [f"v{len(nodes)}"], **attributes))
        return nodes[-1].output[0]

    def drawn(*shape: int) -> str:
        values = draw.normal(size=shape) / np.sqrt(np.prod(shape[1:]) / 2)
        weights.append(numpy_helper.from_array(values.astype(np.float32), f"w{len(weights)}"))
        return weights[-1].name

    def convolved(value: str, fan: tuple[int, int], side: int, stride: int) -> str:
        pads = [side // 2] * 4
        return apply("Conv", value, drawn(fan[1], fan[0], side, side), drawn(fan[1]), pads=pads, strides=[stride] * 2)

    value, before = apply("Relu", convolved("x", (3, 16), 3, 1)), 16
    for width in WIDTHS:
        stride = 1 if width == before else 2
        inner = convolved(apply("Relu", convolved(value, (before, width), 3, stride)), (width, width), 3, 1)
        short = value if width == before else convolved(value, (before, width), 1, stride)
        value, before = apply("Relu", apply("Add", inner, short)), width
    flat = apply("Flatten", apply("GlobalAveragePool", value))
    output = apply("Gemm", flat, drawn(10, 64), drawn(10), transB=1)
    graph = helper.make_graph(
        nodes,
        "resnet20",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 32, 32])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["n", 10])],
        weights,
    )
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])
    path.write_bytes(model.SerializeToString())
    return path


def _seconds(deed: Callable[[], object]) -> float:
    began = time.perf_counter()
    deed()
    return time.perf_counter() - began


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
