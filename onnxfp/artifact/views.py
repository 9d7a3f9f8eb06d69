"""What views of a value do with the axis of its classes: Squeeze, Unsqueeze, Transpose, Flatten, Reshape, Expand."""

from __future__ import annotations

from dataclasses import replace

from onnxfp.artifact.classes import Classes, by_declaration, product, without
from onnxfp.artifact.flow import Flow, Shape, called, refuse
from onnxfp.artifact.records import NodeRecord


def squeeze(flow: Flow, node: NodeRecord, found: Classes) -> Classes:
    """Follow the classes through it."""
    shape = found.of_rank(node)
    given = flow.integers(node, "axes", 1)
    if given is None and None in shape:
        return by_declaration(flow, node, found)
    axes = {found.at(axis, node) for axis in given} if given else {a for a, e in enumerate(shape) if e == 1}
    if found.axis in axes:
        refuse("a Squeeze beside the classes", f"one of them, {called(node)}")
    return without(found, axes)


def unsqueeze(flow: Flow, node: NodeRecord, found: Classes) -> Classes:
    """Follow the classes through it."""
    extents = list(found.of_rank(node))
    axes = flow.integers(node, "axes", 1) or ()
    rank = len(extents) + len(axes)
    new = {axis % rank for axis in axes}
    old = [axis for axis in range(rank) if axis not in new]
    if len(old) != len(extents):
        refuse("an Unsqueeze of different axes", f"another, {called(node)}")
    shape = [1 if axis in new else extents[old.index(axis)] for axis in range(rank)]
    return replace(found, shape=tuple(shape), after=rank - 1 - old[found.axis])


def transpose(flow: Flow, node: NodeRecord, found: Classes) -> Classes:
    """Follow the classes through it."""
    shape = found.of_rank(node)
    order = flow.integers(node, "perm", len(node.inputs)) or tuple(range(len(shape)))[::-1]
    if sorted(order) != list(range(len(shape))):
        refuse(f"an order of {len(shape)} axes", called(node))
    return replace(found, shape=tuple(shape[axis] for axis in order), after=len(shape) - 1 - order.index(found.axis))


def flatten(flow: Flow, node: NodeRecord, found: Classes) -> Classes:
    """Follow the classes through it."""
    shape = found.of_rank(node)
    at = flow.integer(node, "axis", 1)
    at = at + len(shape) if at < 0 else at
    first = found.axis < at
    beside = (*(shape[:at] if first else shape[at:]),)
    if product(beside) != found.count:  # the classes and ones
        return by_declaration(flow, node, found)
    rest = product(shape[at:] if first else shape[:at])
    return replace(found, shape=(found.count, rest) if first else (rest, found.count), after=int(first))


def reshape(flow: Flow, node: NodeRecord, found: Classes) -> Classes:
    """Follow the classes through it."""
    target = _target(flow, node.inputs[1]) if len(node.inputs) == 2 else None
    if target is None or found.shape is None or flow.integer(node, "allowzero", 0):
        return by_declaration(flow, node, found)
    shape = found.shape
    resolved = [shape[at] if e == 0 and at < len(shape) else e for at, e in enumerate(target)]
    inner = product(shape[found.axis + 1 :])
    behind: int | None = 1
    for at in reversed(range(len(resolved))):
        fits = behind is not None and behind == inner
        if fits and (resolved[at] == found.count or (resolved[at] == -1 and _alike(target[:at], shape[: found.axis]))):
            extents = tuple(None if extent == -1 else extent for extent in resolved)
            return replace(found, shape=(*extents[:at], found.count, *extents[at + 1 :]), after=len(extents) - 1 - at)
        extent = resolved[at]
        behind = None if behind is None or extent is None or extent < 0 else behind * extent
    return by_declaration(flow, node, found)


def _alike(target: Shape, shape: Shape) -> bool:
    """Whether the axes before the classes stay as many, so that what is left over is the classes."""
    if len(target) == len(shape) == 1 and target[0] in (0, None):
        return True
    wanted, given = product(target), product(shape)
    return wanted is not None and wanted == given and 0 not in target


def _target(flow: Flow, name: str) -> Shape | None:
    """What a Reshape asks for; None stands for what is measured when it runs."""
    found = flow.constant(name)
    if found is not None or name not in flow.producers:
        return found
    node = flow.nodes[flow.producers[name]]
    if node.op_type != "Concat":
        return None
    parts: list[int | None] = []
    for part in node.inputs:
        known = flow.constant(part)
        if known is None and not _measured(flow, part):
            return None
        parts.extend(known if known is not None else (None,))
    return tuple(parts)


def _measured(flow: Flow, name: str) -> bool:
    """Whether a value is one extent of another's shape."""
    for _ in range(8):
        place = flow.producers.get(name)
        if place is None:
            return False
        node = flow.nodes[place]
        if node.op_type == "Shape":
            return True
        if node.op_type not in ("Gather", "Unsqueeze", "Squeeze", "Cast", "Slice", "Identity") or not node.inputs:
            return False
        name = node.inputs[0]
    return False


def expand(flow: Flow, node: NodeRecord, found: Classes) -> Classes:
    """Follow the classes through it."""
    target = flow.constant(node.inputs[1]) if len(node.inputs) == 2 else None
    if target is None or found.shape is None or len(target) > len(found.shape):
        refuse("an Expand to a constant shape of the same rank", f"another, {called(node)}")
    offset = len(found.shape) - len(target)
    at = found.axis - offset
    if at >= 0 and target[at] not in (1, found.count):
        refuse("an Expand beside the classes", f"one of them, {called(node)}")
    extents = [
        max(extent or 0, target[axis - offset]) if axis >= offset and extent is not None else extent
        for axis, extent in enumerate(found.shape)
    ]
    return replace(found, shape=tuple(extents))
