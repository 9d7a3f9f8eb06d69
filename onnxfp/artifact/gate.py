"""A widened classifier whose new class speaks up only when it leads: a gate of standard nodes before any softmax.

z: the logits,  m: the largest of the first C,  n: the last one
n > m + margin  ->  z as it is;  else n becomes m - 30, so that the C others answer as if they were alone
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from onnxfp.artifact import slices
from onnxfp.artifact.classes import Classes
from onnxfp.artifact.closing import exclusive
from onnxfp.artifact.flow import Flow, flow_of, refuse
from onnxfp.artifact.followed import follow
from onnxfp.artifact.head import find_head
from onnxfp.artifact.messages import NewTensor, entry, node_message
from onnxfp.artifact.passages import LOGIT_MAKERS
from onnxfp.artifact.reader import Artifact
from onnxfp.artifact.rewrite import NODE, Change, write_changed
from onnxfp.errors import UsageError

SHUT = 30.0  # nats below the largest logit
_OLDEST = 9  # version of the operators that has Where
_OLDEST_OF_BFLOAT16 = 16  # the version whose Where takes it
_AXES_AS_INPUT = 18  # since when ReduceMax takes its axes as an input
_NEGATIVE_AXES = 11  # since when axes may be counted from the back
_LOWEST = {"float": -3e38, "double": -1e308, "float16": -65504.0, "bfloat16": -3e38}


def write_gated(artifact: Artifact, destination: Path, margin: float, *, force: bool = False) -> None:
    """Write a copy whose last class is answered only when it leads all others by more than `margin` nats.

    Otherwise its logit becomes 30 nats less than the largest of the others: their probabilities are those of a softmax
    over them alone to 1e-6, and the largest is one of them. Nothing else changes. The gate stands before any softmax
    and behind any pool.

    Args:
        artifact: the open classifier, as `write_widened` left it, or trained since.
        destination: the ``.onnx`` file to write; its folder must exist.
        margin: in nats, not negative.
        force: replace files that exist there, as `copy_artifact` does.

    Raises:
        UsageError: no head is found that can be gated, there is a gate already, or the destination cannot be taken.
        ArtifactError: the source changed meanwhile.
    """
    if not (math.isfinite(margin) and margin >= 0):
        raise UsageError(f"expected a margin of zero or more nats, found {margin}; name how far the class must lead")
    flow = flow_of(artifact)
    head = find_head(flow)
    followed = follow(flow, head)
    place = max((at for at in followed.nodes if flow.nodes[at].op_type in LOGIT_MAKERS), default=head.place)
    exclusive(flow, head, place)
    logits = followed.values[flow.nodes[place].outputs[0]]
    oldest = _OLDEST_OF_BFLOAT16 if logits.dtype == "bfloat16" else _OLDEST
    if flow.opset < oldest:
        refuse(f"operators of version {oldest} or newer for a gate of {logits.dtype}", f"version {flow.opset}")
    change = Change(names=flow.names())
    _insert(change, flow, logits, place, margin)
    write_changed(artifact, change, destination, force=force)


def _insert(change: Change, flow: Flow, found: Classes, place: int, margin: float) -> None:
    """Put the gate behind a node; what comes out of it has the name of what the node made."""
    logits = flow.nodes[place].outputs[0]
    new = _constants(change, flow, found, logits, margin)
    axis = found.axis if flow.opset >= _NEGATIVE_AXES else _from_the_front(found, flow, place)
    steps = ("others", "largest", "additional", "bar", "leads", "shut", "chosen")
    z, others, largest, additional, bar, leads, shut, chosen = (
        change.free(f"{logits}_{step}") for step in ("ungated", *steps)
    )
    along = {"axes": (axis,)} if flow.opset < _AXES_AS_INPUT else {}
    over = () if along else (new["axes"],)
    nodes: tuple[tuple[str, tuple[str, ...], str, Mapping[str, int | tuple[int, ...]]], ...] = (
        ("Where", (new["mask"], new["lowest"], z), others, {}),
        ("ReduceMax", (others, *over), largest, {**along, "keepdims": 1}),
        ("Gather", (z, new["index"]), additional, {"axis": axis}),
        ("Add", (largest, new["margin"]), bar, {}),
        ("Greater", (additional, bar), leads, {}),
        ("Sub", (largest, new["distance"]), shut, {}),
        ("Where", (leads, additional, shut), chosen, {}),
        ("Where", (new["mask"], chosen, z), logits, {}),
    )
    change.outputs[place] = z
    change.behind[place] = b"".join(entry(NODE, node_message(change.free(f"{node[2]}_node"), *node)) for node in nodes)


def _from_the_front(found: Classes, flow: Flow, place: int) -> int:
    return len(found.of_rank(flow.nodes[place])) - 1 - found.after


def _constants(change: Change, flow: Flow, found: Classes, logits: str, margin: float) -> dict[str, str]:
    """Add the gate's constants; return what each is called."""
    mask = np.zeros((found.count, *(1,) * found.after), dtype=np.uint8)
    mask[-1] = 1
    indices = {"index": found.count - 1} | ({} if flow.opset < _AXES_AS_INPUT else {"axes": -1 - found.after})
    scalars = {"lowest": _LOWEST[found.dtype], "margin": margin, "distance": SHUT}
    tensors = {"mask": NewTensor("", "bool", mask.shape, mask.tobytes())}
    tensors |= {n: NewTensor("", "int64", (1,), np.array([v], "<i8").tobytes()) for n, v in indices.items()}
    tensors |= {n: NewTensor("", found.dtype, (), slices.plain(np.array(v), found.dtype)) for n, v in scalars.items()}
    for step, tensor in tensors.items():
        change.added.append(replace(tensor, name=change.free(f"{logits}_{step}")))
    return dict(zip(tensors, (tensor.name for tensor in change.added), strict=True))
