"""What a classifier's head hears: a copy of the model that answers with the features its head takes.

The copy declares the head's input as its first output, in place of the answers; nothing else of it changes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from onnxfp.artifact.flow import Flow, called, flow_of, refuse
from onnxfp.artifact.head import Head as Found
from onnxfp.artifact.head import find_head
from onnxfp.artifact.messages import NewTensor, entry, value_message
from onnxfp.artifact.reader import Artifact
from onnxfp.artifact.rewrite import OUTPUT, Change, write_changed
from onnxfp.artifact.wire import shown
from onnxfp.domain import Floats, Head


def head_of(artifact: Artifact) -> Head:
    """Return the head of a classifier as marks need it.

    Raises:
        UsageError: there is none whose weights can be changed in place, each class a linear map of the same features.
        ArtifactError: its weights cannot be read.
    """
    return _head(flow_of(artifact))[1]


def write_features(artifact: Artifact, destination: Path) -> None:
    """Write a copy that answers with what its head takes, (samples, ...) with as many features as the head has.

    Args:
        artifact: the open classifier.
        destination: the ``.onnx`` file to write; its folder must exist.

    Raises:
        UsageError: no head is found of which this can be said, or the destination cannot be taken.
        ArtifactError: the source changed meanwhile.
    """
    flow = flow_of(artifact)
    found, _ = _head(flow)
    features = found.node.inputs[0]
    if features in flow.tensors or features not in flow.producers:
        refuse("a head behind other layers", f"one that takes '{shown(features)}' as it is")
    output = value_message(NewTensor(features, found.weight.dtype, (), b""), ranked=False)
    write_changed(artifact, Change(first_output=entry(OUTPUT, output)), destination, force=False)


def features_by_sample(values: Floats, head: Head) -> Floats:
    """Return what such a copy answers as rows (rows, features): of every sample, and of every place if there are many.

    Args:
        values: (samples, ...) flat: features, or features of every place of a convolution, or of every token.
        head: whose features they are; those of a convolution come before the places.
    """
    if len(head.shape) > 2:
        return np.moveaxis(values.reshape(len(values), head.features, -1), 1, 2).reshape(-1, head.features)
    return values.reshape(-1, head.features)


def _head(flow: Flow) -> tuple[Found, Head]:
    found = find_head(flow)
    record = found.weight.record
    if not record.writable:
        refuse("a head whose weights can be changed in place", f"'{shown(record.name)}', which cannot")
    if any(extent != 1 for extent in record.shape[2:]) or flow.integer(found.node, "transA", 0):
        refuse("a head that maps features to classes place by place", f"{called(found.node)}, which does more")
    rows = np.moveaxis(flow.artifact.read(record).reshape(record.shape).astype(np.float64), found.weight.axis, 0)
    size = float(np.sqrt(np.mean(np.sum(rows.reshape(len(rows), -1) ** 2, axis=1))))
    if not (np.isfinite(size) and size > 0):
        refuse("a head of finite weights that are not all zero", f"'{shown(record.name)}'")
    return found, Head(record.name, record.shape, found.weight.axis, size)
