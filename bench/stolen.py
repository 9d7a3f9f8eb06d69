"""What thieves do to a marked model by training: on images of their own, and into a network of their own.

Everything goes through the library's interpreted graph of the ONNX file and back into an ONNX file.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from onnxfp.artifact import Patch, open_artifact, write_patched
from onnxfp.embed.torch_graph import TorchGraph, torch_graph
from onnxfp.workflows.graph_of import graph_of

BATCH, MOMENTUM = 128, 0.9
Images = NDArray[np.float32]
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def tuned(
    path: Path, destination: Path, data: tuple[Images, NDArray[np.int64]], epochs: int, rate: float, part: str = "all"
) -> Path:
    """Fine-tune a file on labelled images.

    Args:
        path: the stolen file.
        destination: where to write.
        data: images and labels.
        epochs: passes over them.
        rate: of SGD with momentum, constant.
        part: ``last`` tunes the last layer only, ``all`` everything, ``fresh`` everything after the last layer was
            drawn anew.
    """
    graph = graph_at(path)
    last = last_layer(graph)
    if part == "fresh":
        _draw(graph, last, seed=1)
    weights = [weight for name, weight in graph.weights.items() if part != "last" or name in last]
    _train(graph, weights, (data[0], torch.from_numpy(data[1])), functional.cross_entropy, epochs, rate)
    return write(graph, path, destination)


def distilled(path: Path, destination: Path, images: Images, epochs: int, rate: float) -> Path:
    """Teach a freshly drawn network of the same shape what a file answers to images."""
    teacher, student = graph_at(path), graph_at(path)
    with torch.no_grad():
        answers = torch.cat([teacher(torch.from_numpy(images[at : at + 500]))[0] for at in range(0, len(images), 500)])
    _draw(student, list(student.weights), seed=2)
    weights = list(student.weights.values())
    _train(student, weights, (images, answers.softmax(dim=1)), functional.cross_entropy, epochs, rate)
    return write(student, path, destination)


def graph_at(path: Path) -> TorchGraph:
    """The computation of a file."""
    with open_artifact(path) as artifact:
        return torch_graph(graph_of(artifact))


def write(graph: TorchGraph, path: Path, destination: Path) -> Path:
    """Write the graph's weights into a copy of the file that it is of."""
    with open_artifact(path) as artifact:
        weights = {name: np.asarray(values, dtype=np.float32).reshape(-1) for name, values in graph.values().items()}
        write_patched(artifact, destination, (Patch(name, 0, values) for name, values in weights.items()), force=True)
    return destination


def last_layer(graph: TorchGraph) -> list[str]:
    """The names of the last weight matrix and its bias."""
    matrices = [name for name, weight in graph.weights.items() if weight.ndim == 2]
    stem = matrices[-1].rpartition(".")[0]
    return [name for name in graph.weights if name.rpartition(".")[0] == stem]


def _draw(graph: TorchGraph, names: list[str], seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name in names:
            weight = graph.weights[name]
            if weight.ndim < 2:
                weight.zero_()
            else:
                fan = weight[0].numel() if weight.ndim > 2 else weight.shape[1]
                weight.copy_(torch.randn(weight.shape, generator=draw) * (2 / fan) ** 0.5)


def _train(
    graph: TorchGraph,
    weights: list[torch.Tensor],
    data: tuple[Images, torch.Tensor],
    loss: Loss,
    epochs: int,
    rate: float,
) -> None:
    optimiser = torch.optim.SGD(weights, rate, momentum=MOMENTUM, nesterov=True)
    draw = torch.Generator().manual_seed(0)
    for _ in range(epochs):
        for rows in torch.randperm(len(data[0]), generator=draw).split(BATCH):
            optimiser.zero_grad()
            batch = torch.from_numpy(data[0][rows.numpy()]).contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16):
                answers = graph(batch)[0]
            loss(answers.float(), data[1][rows]).backward()
            torch.nn.utils.clip_grad_norm_(weights, 5.0)
            optimiser.step()
