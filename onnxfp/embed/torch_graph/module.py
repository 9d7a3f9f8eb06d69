"""A graph as a module of torch: its initializers are the parameters, its nodes run one after another."""

from __future__ import annotations

from typing import Any, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from onnxfp.embed.graph import Graph
from onnxfp.embed.torch_graph.plan import Plan, Step, as_tensor, planned


def torch_graph(graph: Graph) -> TorchGraph:
    """Return a graph as a module.

    Raises:
        UsageError: some operators cannot be interpreted; the message names all of them.
    """
    plan = planned(graph)
    return TorchGraph(plan, {name: graph.tensors[name] for name in plan.weights})


@final
class TorchGraph(nn.Module):  # type: ignore[misc]
    """A graph that can be trained. Made by `torch_graph`.

    Narrow floats run in single precision and answers come in it. Nothing is random, and training and evaluation are
    the same: nothing is dropped, running statistics stay as they are.
    """

    def __init__(self, plan: Plan, weights: dict[str, npt.NDArray[Any]]) -> None:
        nn.Module.__init__(self)
        self._plan = plan
        self._dtypes = {name: values.dtype for name, values in weights.items()}
        self.offsets: dict[str, Tensor] = {}
        """Tensors by name, added to the weights while the graph runs; no part of the module."""
        self._keys = {name: f"weight{at}" for at, name in enumerate(weights)}  # torch forbids dots
        for name, values in weights.items():
            # convolutions run faster on channels that lie together, forwards and backwards
            layout = torch.channels_last if values.ndim == 4 else torch.contiguous_format
            weight = as_tensor(values).clone(memory_format=layout)
            self.register_parameter(self._keys[name], nn.Parameter(weight))
        for slot, value in plan.buffers.items():
            self.register_buffer(f"constant{slot}", value)

    @property
    def weights(self) -> dict[str, nn.Parameter]:
        """The tensors that can be trained, by the artifact's names."""
        return {name: self._parameters[key] for name, key in self._keys.items()}

    def values(self) -> dict[str, npt.NDArray[Any]]:
        """Return the current values of the weights, copied, in the artifact's element types."""
        return {
            name: np.array(weight.detach().cpu().numpy(), dtype=self._dtypes[name], order="C")
            for name, weight in self.weights.items()
        }

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the graph's outputs for its inputs.

        Raises:
            ValueError: there are more or fewer inputs than the graph takes.
        """
        plan = self._plan
        values = self._constants()
        for slot, value in zip(plan.inputs, inputs, strict=True):
            values[slot] = value.float() if value.dtype in (torch.float16, torch.bfloat16) else value
        device = inputs[0].device if inputs else torch.device("cpu")
        for step in plan.steps:
            _run(step, values, device)
        return tuple(values[slot].to(device) for slot in plan.outputs)

    def _constants(self) -> list[Any]:
        values: list[Any] = [None] * self._plan.size
        for slot, value in self._plan.ready.items():
            values[slot] = value
        for slot in self._plan.buffers:
            values[slot] = self._buffers[f"constant{slot}"]
        for name, slot in self._plan.weights.items():
            weight = self._parameters[self._keys[name]]
            values[slot] = weight + self.offsets[name] if name in self.offsets else weight
        return values


def _run(step: Step, values: list[Any], device: torch.device) -> None:
    taken = [values[slot] for slot in step.takes]
    for at in step.numbers:
        taken[at] = taken[at].reshape(-1).tolist()
    for at in step.moves:
        taken[at] = taken[at].to(device)
    found = step.run(*taken)
    if isinstance(found, tuple):
        for slot, value in zip(step.gives, found, strict=False):
            values[slot] = value
    else:
        values[step.gives[0]] = found
    for slot in step.frees:
        values[slot] = None
