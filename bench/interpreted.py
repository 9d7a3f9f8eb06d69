"""What interpreting a graph costs: a ResNet-20 from its ONNX file beside the same network written by hand in torch.

    python -m bench.interpreted

Forward, backward and a step of SGD on a batch of random images; both sides alternate, ratios are of medians.
"""

from __future__ import annotations

import io
import json
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from onnxfp.artifact import open_artifact
from onnxfp.embed.torch_graph import TorchGraph, torch_graph
from onnxfp.workflows.graph_of import graph_of

BATCH, STEPS, WARM = 128, 15, 3


class Block(nn.Module):
    """Two convolutions and a shortcut."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        stride = 1 if inside == outside else 2
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outside)
        self.down = nn.Identity() if stride == 1 else nn.Conv2d(inside, outside, 1, 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Answer a batch."""
        y = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        return functional.relu(y + self.down(x))


def resnet20() -> nn.Module:
    """Nine blocks on images of 32 by 32."""
    widths = [16] * 3 + [32] * 3 + [64] * 3
    blocks = [Block(inside, outside) for inside, outside in zip([16, *widths], widths, strict=False)]
    stem = (nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)).eval()


def interpreted(net: nn.Module) -> TorchGraph:
    """The network by way of its file, normalisation not folded away."""
    buffer, x = io.BytesIO(), torch.randn(2, 3, 32, 32)
    names = {"input_names": ["x"], "dynamic_axes": {"x": {0: "n"}}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net, (x,), buffer, dynamo=False, training=torch.onnx.TrainingMode.PRESERVE, **names)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "net.onnx"
        path.write_bytes(buffer.getvalue())
        with open_artifact(path) as artifact:
            return torch_graph(graph_of(artifact))


def measure() -> dict[str, Any]:
    """Seconds of a step on either side, and their ratio."""
    torch.manual_seed(0)
    by_hand = resnet20()
    graph = interpreted(by_hand)
    x, labels = torch.randn(BATCH, 3, 32, 32), torch.randint(0, 10, (BATCH,))
    torch.testing.assert_close(graph(x)[0], by_hand(x), rtol=1e-4, atol=1e-4)
    sides = {
        "by hand": _stepper(by_hand, by_hand, x, labels),
        "graph": _stepper(graph, lambda x: graph(x)[0], x, labels),
    }
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(WARM + STEPS):
        for name, step in sides.items():
            start = time.perf_counter()
            step()
            if turn >= WARM:
                seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return {**medians, "ratio": medians["graph"] / medians["by hand"], "threads": torch.get_num_threads()}


def _stepper(module: nn.Module, answer: Callable[[Tensor], Tensor], x: Tensor, labels: Tensor) -> Callable[[], None]:
    optimizer = torch.optim.SGD(module.parameters(), 0.01, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad()
        functional.cross_entropy(answer(x), labels).backward()
        optimizer.step()

    return step


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
