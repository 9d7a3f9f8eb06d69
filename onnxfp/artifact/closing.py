"""Where the new class of a widened head is closed: in a bias that the logits have, or in a new one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from onnxfp.artifact import slices
from onnxfp.artifact.flow import Flow, called, refuse
from onnxfp.artifact.followed import Followed, Term
from onnxfp.artifact.head import Head
from onnxfp.artifact.messages import NewTensor, entry, node_message
from onnxfp.artifact.parameter import parameter
from onnxfp.artifact.rewrite import NODE, Change
from onnxfp.artifact.wire import shown

_STEEPEST = 1000.0  # a bias that would have to be steeper is left alone, and an Add put behind


def own_bias(flow: Flow, head: Head) -> Term | None:
    """Return the bias that a Gemm or Conv takes as its third input, or None.

    Raises:
        UsageError: it is computed, tied, or of another number of classes.
    """
    inputs = head.node.inputs
    if head.node.op_type == "MatMul" or len(inputs) < 3 or not inputs[2]:
        return None
    stored = flow.tensors.get(inputs[2])
    if stored is not None and head.node.op_type == "Gemm" and (not stored.shape or stored.shape[-1] == 1):
        return Term(head.place, 2, None)
    found = parameter(flow, inputs[2], -1, None)
    if found.classes != head.classes:
        refuse(f"a bias for {head.classes} classes", f"one for {found.classes} in {called(head.node)}")
    return Term(head.place, 2, found)


def close(change: Change, flow: Flow, head: Head, followed: Followed, nats: float) -> None:
    """Take `nats` from the new class's logit alone.

    Raises:
        UsageError: there is no place at which all outputs would see it.
    """
    place = max((at for at in followed.nodes if flow.nodes[at].op_type == "Relu"), default=head.place)
    exclusive(flow, head, place)
    if place == head.place and _in_own_bias(change, flow, head, followed, nats):
        return
    anchor = flow.nodes[place].outputs[0]
    term = next((t for t in followed.terms if anchor in flow.nodes[t.place].inputs), None)
    if term is not None and flow.uses[anchor] == 1:
        _shift(change, flow, term, followed.values[anchor].after, head.classes, -nats)
    else:
        _insert(change, flow, head, followed, place, nats)


def put(change: Change, flow: Flow, where: tuple[int, int], tensor: NewTensor) -> None:
    """Replace a constant that a node takes, under its name; under a new one where others take it too."""
    if flow.uses[tensor.name] == 1:
        change.tensors[tensor.name] = tensor
        return
    own = replace(tensor, name=change.free(f"{tensor.name}_widened"))
    change.added.append(own)
    change.inputs[where] = own.name


def exclusive(flow: Flow, head: Head, place: int) -> None:
    """Refuse what would see the logits before they have passed the node at `place`.

    Raises:
        UsageError: something does.
    """
    before = [head.place, *(at for at in head.path if at < place)] if place != head.place else []
    for at in before:
        name = flow.nodes[at].outputs[0]
        if flow.uses[name] != 1:
            refuse("logits that nothing takes before they are pooled", f"{flow.uses[name]} uses of '{shown(name)}'")
    if place != head.place and place not in head.path:
        refuse("pools on the way to the first output", f"{called(flow.nodes[place])} beside it")


def _in_own_bias(change: Change, flow: Flow, head: Head, followed: Followed, nats: float) -> bool:
    """Close the class in the head's own bias, or in a new one; False where it can have none."""
    if head.node.op_type == "MatMul":
        return False
    scale = _scale(flow, head)
    if scale is None:
        return False
    own = own_bias(flow, head)
    if own is not None:
        _shift(change, flow, own, 0, head.classes, -nats / scale)
        return True
    if any(head.output in flow.nodes[term.place].inputs for term in followed.terms):
        return False
    values = np.zeros(head.classes + 1)
    values[-1] = -nats / scale
    _add(change, f"{head.output}_bias", head.weight.dtype, values)
    change.inputs[head.place, 2] = change.added[-1].name
    return True


def _scale(flow: Flow, head: Head) -> float | None:
    """What a Gemm multiplies its bias with; None where a bias cannot do what is asked."""
    if head.node.op_type != "Gemm":
        return 1.0
    beta = flow.attributes(head.node).get("beta", 1.0)
    return float(beta) if isinstance(beta, float) and abs(beta) * _STEEPEST > 1 else None


def _shift(change: Change, flow: Flow, term: Term, after: int, classes: int, shift: float) -> None:
    """Put the shift into a constant that is added already."""
    if term.constant is not None:
        record = term.constant.record
        change.tensors[record.value] = slices.with_mean(flow.artifact, record, term.constant.axis, shift)
        return
    name = flow.nodes[term.place].inputs[term.slot]
    tensor = slices.spread(flow.artifact, flow.tensors[name], after, classes, shift)
    if flow.uses[name] == 1:
        change.shapes[name] = tensor.shape
    put(change, flow, (term.place, term.slot), tensor)


def _insert(change: Change, flow: Flow, head: Head, followed: Followed, place: int, nats: float) -> None:
    """Put an Add behind a node; what it makes keeps its name."""
    name = flow.nodes[place].outputs[0]
    found = followed.values[name]
    values = np.zeros((head.classes + 1, *(1,) * found.after))
    values[-1] = -nats
    before = change.free(f"{name}_open")
    _add(change, f"{name}_offset", found.dtype, values)
    change.outputs[place] = before
    change.behind[place] = entry(
        NODE, node_message(change.free(f"{name}_Add"), "Add", (before, change.added[-1].name), name)
    )


def _add(change: Change, name: str, dtype: str, values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> None:
    change.added.append(NewTensor(change.free(name), dtype, values.shape, slices.plain(values, dtype)))
