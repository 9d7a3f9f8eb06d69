"""LSTM, GRU and RNN in one or both directions; clauses of these names in the standard."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from onnxfp.embed.torch_graph.operator import Call, Operation, Operator

_GATES = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2), "RNN": (0,)}  # torch's order, by the standard's
_ACTIVATIONS = {"LSTM": ("sigmoid", "tanh", "tanh"), "GRU": ("sigmoid", "tanh"), "RNN": ("tanh",)}
Kernel = Callable[[Tensor, list[Tensor], list[Tensor], bool], tuple[Tensor, ...]]
"""(steps, batch, inputs), states, weights of all directions, both directions? -> outputs, last states."""


def _recurrent(call: Call) -> Operation:
    kind, direction = call.node.operator, call.text("direction", "forward")
    kernel, hidden = _kernel(call, kind), call.integer("hidden_size")
    directions, states = 2 if direction == "bidirectional" else 1, 2 if kind == "LSTM" else 1

    def run(x: Tensor, w: Tensor, r: Tensor, *rest: Tensor | None) -> tuple[Tensor, ...]:
        bias, _, *initial = [*rest, None, None, None, None][: 2 + states]
        with torch.autocast(x.device.type, enabled=False):  # what is rounded at one step is carried to the next
            x = x.to(w.dtype)
            empty = x.new_zeros(directions, x.shape[1], hidden)
            state = [empty if given is None else given.to(w.dtype) for given in initial]
            weights = _as_torch(w, r, bias, _GATES[kind])
            y, *last = kernel(x.flip(0) if direction == "reverse" else x, state, weights, directions == 2)
        y = y.unflatten(2, (directions, -1)).transpose(1, 2)  # (steps, directions, batch, hidden)
        return y.flip(0) if direction == "reverse" else y, *last

    return run


def _as_torch(w: Tensor, r: Tensor, bias: Tensor | None, order: tuple[int, ...]) -> list[Tensor]:
    """Weights of each direction in turn, their gates in torch's order."""
    both = torch.zeros_like(torch.cat([w[..., 0]] * 2, 1)) if bias is None else bias
    kinds = [w, r, *both.chunk(2, 1)]
    gates = [values.chunk(len(order), 1) for values in kinds]
    sorted_kinds = [torch.cat([parts[gate] for gate in order], 1) for parts in gates]
    return [values[direction] for direction in range(w.shape[0]) for values in sorted_kinds]


def _kernel(call: Call, kind: str) -> Kernel:
    for name in ("layout", "input_forget", "clip"):
        call.only(name, 0)
    for position, what in ((4, "sequence lengths"), (7, "peepholes")):
        if call.given(position):
            call.refuse(what)
    defaults = _ACTIVATIONS[kind]
    names = [str(name).lower() for name in call.node.attributes.get("activations", defaults)]
    if kind == "RNN" and set(names) == {"relu"}:
        return _native(torch.rnn_relu)
    if any(name != defaults[at % len(defaults)] for at, name in enumerate(names)):
        call.refuse(f"activations {', '.join(names)}")
    if kind == "GRU" and not call.integer("linear_before_reset"):
        return _gru_reset_first
    return _native({"LSTM": torch.lstm, "GRU": torch.gru, "RNN": torch.rnn_tanh}[kind])


def _native(operation: Operation) -> Kernel:
    def run(x: Tensor, state: list[Tensor], weights: list[Tensor], both: bool) -> tuple[Tensor, ...]:
        start = tuple(state) if len(state) > 1 else state[0]
        return tuple(operation(x, start, weights, True, 1, 0.0, True, both, False))

    return run


def _gru_reset_first(
    x: Tensor,
    state: list[Tensor],
    weights: list[Tensor],
    both: bool,
) -> tuple[Tensor, ...]:
    """The reset gate acts before the recurrent product, which torch does not offer."""
    outputs, last = [], []
    for direction in range(1 + both):
        y, h = _gru_steps(x.flip(0) if direction else x, state[0][direction], weights[4 * direction :][:4])
        outputs.append(y.flip(0) if direction else y)
        last.append(h)
    return torch.cat(outputs, 2), torch.stack(last)


def _gru_steps(x: Tensor, h: Tensor, weights: list[Tensor]) -> tuple[Tensor, Tensor]:
    w, r, bias_w, bias_r = weights
    hidden, outputs = h.shape[1], []
    gates_r, new_r = r.split([2 * hidden, hidden])
    for row in functional.linear(x, w, bias_w + bias_r):
        gates, new = row.split([2 * hidden, hidden], 1)
        reset, update = torch.sigmoid(gates + h @ gates_r.t()).chunk(2, 1)
        h = (1 - update) * torch.tanh(new + (reset * h) @ new_r.t()) + update * h
        outputs.append(h)
    return torch.stack(outputs), h


OPERATORS: dict[str, Operator] = {name: Operator(_recurrent) for name in _GATES}
