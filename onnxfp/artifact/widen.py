"""A classifier with one class more, which it never answers until it is trained to.

The new class's weights are the mean of all others', its bias their mean less 12 nats. A mean of logits is at most their
logarithmic mean, so whatever the input, the softmax probability of the new class is at most exp(-12) / C.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from onnxfp.artifact import slices
from onnxfp.artifact.closing import close, own_bias, put
from onnxfp.artifact.flow import Flow, flow_of
from onnxfp.artifact.followed import Followed, follow
from onnxfp.artifact.head import Head, find_head
from onnxfp.artifact.messages import NewTensor
from onnxfp.artifact.parameter import Parameter
from onnxfp.artifact.reader import Artifact
from onnxfp.artifact.rewrite import Change, write_changed

CLOSED = 12.0  # nats below the mean of the other logits


def write_widened(artifact: Artifact, destination: Path, *, force: bool = False) -> None:
    """Write a copy of a classifier that has one class more, the last one.

    The new logit is the mean of the C others less 12 nats, so that the new class's softmax probability is at most
    exp(-12) / C on any input. The C logits stay as they were; C probabilities change by less than 1e-5. (Where a Relu
    stands behind the head, the new logit is at most that.) Other tensors, nodes, names and metadata stay byte for byte;
    external data are copied beside the destination, and the head's new weights lie in the model file.

    Args:
        artifact: the open classifier.
        destination: the ``.onnx`` file to write; its folder must exist.
        force: replace files that exist there, as `copy_artifact` does.

    Raises:
        UsageError: no head is found that can be widened, or the destination cannot be taken.
        ArtifactError: the head's weights are not finite, or the source changed meanwhile.
    """
    flow = flow_of(artifact)
    head = find_head(flow)
    followed = follow(flow, head)
    change = Change(classes=head.classes, names=flow.names())
    _widen(change, flow, head.weight)
    for term in (own_bias(flow, head), *followed.terms):
        if term is not None and term.constant is not None:
            _widen(change, flow, term.constant)
    close(change, flow, head, followed, CLOSED)
    _shapes(change, flow, head, followed)
    write_changed(artifact, change, destination, force=force)


# --- weights ----------------------------------------------------------------------------------------------------------


def _widen(change: Change, flow: Flow, found: Parameter) -> None:
    record = found.record
    change.tensors[record.value] = slices.with_mean(flow.artifact, record, found.axis)
    _resize(change, flow, record.value, found.axis, found.classes)
    for value, axis in found.views:
        _resize(change, flow, value, axis, found.classes)
    if found.reshape is not None:
        place, at = found.reshape
        _extend(change, flow, (place, 1, at), found.classes)


def _shapes(change: Change, flow: Flow, head: Head, followed: Followed) -> None:
    """Declare one class more of every value behind the head, and ask for it where a shape is asked for."""
    for value, found in followed.values.items():
        _resize(change, flow, value, len(flow.shapes.get(value, ())) - 1 - found.after, head.classes)
    for where in followed.shapes:
        _extend(change, flow, where, head.classes)


def _resize(change: Change, flow: Flow, value: str, axis: int, classes: int) -> None:
    """Declare one class more of a value, where its extents are declared."""
    shape = flow.shapes.get(value, ())
    if 0 <= axis < len(shape) and shape[axis] == classes:
        change.shapes[value] = tuple(classes + 1 if at == axis else None for at in range(len(shape)))


def _extend(change: Change, flow: Flow, where: tuple[int, int, int], classes: int) -> None:
    """Put one class more into a constant that a node takes as a shape; other nodes keep theirs."""
    place, slot, entry = where
    name = flow.nodes[place].inputs[slot]
    extents = list(flow.constant(name) or ())
    extents[entry] = classes + 1
    put(
        change, flow, (place, slot), NewTensor(name, "int64", (len(extents),), np.array(extents, dtype="<i8").tobytes())
    )
