"""Where a classifier's scores are made, and how operators are put there.

Every output must be scores of the same classes, floats of (samples, classes) with at most further axes of length 1.
Where Softmax or LogSoftmax gives an output, operators are put between its input and another one of its kind, so that
probabilities add up to 1 again. Where something that changes the shape or the type stands behind it, they are put at
the end, between a logarithm and another Softmax. Scores of any other origin are taken for logits.

Nothing that is there already is changed, so one output's operators never reach another output.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, final

from onnxfp.artifact import shown
from onnxfp.attacks.restructure import within
from onnxfp.errors import UsageError

if TYPE_CHECKING:
    import onnx

_MOST_CLASSES = 65_536
_OPSET = 9  # the first with Where and with Max that broadcasts
_STANDARD = ("", "ai.onnx")
_RESHAPING = frozenset({"Cast", "Dropout", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"})
_NORMALISING = frozenset({"Softmax", "LogSoftmax"})
_LEAST = 1e-38  # a probability of 0 has no logarithm; about the smallest normal FLOAT


@dataclass(frozen=True)
class Scores:
    """One output of a classifier."""

    name: str
    classes: int
    rank: int
    element: int
    """Element type, as onnx numbers it."""


@final
@dataclass(frozen=True)
class Names:
    """Which names are no longer free."""

    taken: set[str]

    def fresh(self, stem: str) -> str:
        """Return a name that nothing has, and take it."""
        free, number = stem, 1
        while free in self.taken:
            free, number = f"{stem}_{number}", number + 1
        self.taken.add(free)
        return free


Build = Callable[[str, Scores, Names], tuple[list[Any], str]]
"""Makes the operators that change logits of this name; with the name of what comes out."""


def scores_of(model: onnx.ModelProto) -> list[Scores]:
    """Return the outputs of a classifier.

    Raises:
        UsageError: an output is something else, or how many classes there are cannot be told.
    """
    _refuse_old(model)
    inferred = _inferred(model)
    found = [_scores(output, inferred.get(output.name)) for output in model.graph.output]
    counts = sorted({scores.classes for scores in found})
    if len(counts) != 1:
        raise UsageError(
            f"expected outputs that are scores of the same classes, found {_widths(counts)}; cut the others"
        )
    return found


def _widths(counts: Sequence[int]) -> str:
    return f"widths {', '.join(map(str, counts))}" if counts else "no output"


def put_in(model: onnx.ModelProto, scores: Scores, build: Build, names: Names) -> None:
    """Put operators behind the scores of one output, in place.

    Raises:
        UsageError: no operator makes the output.
    """
    path, direct = _path(model, scores.name)
    if not path:
        raise UsageError(f"expected an operator that makes output '{shown(scores.name)}', found none")
    maker, whole = path[-1], names.fresh(f"{scores.name}_whole")
    _rename(model, scores.name, whole)
    if direct and maker.op_type in _NORMALISING and _over_classes(model, maker, scores):
        nodes = _from_logits(maker, scores, build, names)
    elif maker.op_type == "Softmax":
        nodes = _from_probabilities(whole, scores, build, names)
    else:
        nodes = _from_whole(whole, scores, build, names, normalised=maker.op_type == "LogSoftmax")
    nodes[-1].output[0] = scores.name
    model.graph.node.extend(nodes)


def declare(model: onnx.ModelProto, found: Sequence[Scores], classes: int) -> None:
    """Say in every output how many classes it has, whatever was said before."""
    for output, scores in zip(model.graph.output, found, strict=True):
        shape = output.type.tensor_type.shape
        while len(shape.dim) < scores.rank:
            shape.dim.add()
        shape.dim[1].Clear()
        shape.dim[1].dim_value = classes
        output.type.tensor_type.elem_type = scores.element


# --- reading ----------------------------------------------------------------------------------------------------------


def _refuse_old(model: onnx.ModelProto) -> None:
    found = opset(model)
    if found < _OPSET:
        raise UsageError(f"expected operators of opset {_OPSET} or later, found {found}; convert the model")


def opset(model: onnx.ModelProto) -> int:
    """Return the version of the standard operators that a model uses; 0 when it does not say."""
    return max((entry.version for entry in model.opset_import if entry.domain in _STANDARD), default=0)


def _inferred(model: onnx.ModelProto) -> dict[str, Any]:
    """Return the types of outputs that follow from the graph alone, whatever the file declares of them."""
    import onnx

    bare = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import, functions=model.functions)
    bare.graph.node.extend(model.graph.node)
    bare.graph.input.extend(model.graph.input)
    bare.graph.output.extend(onnx.ValueInfoProto(name=output.name) for output in model.graph.output)
    for tensor in model.graph.initializer:
        small = tensor.ByteSize() <= 1024
        shape = onnx.TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
        bare.graph.initializer.append(tensor if small else shape)
    try:
        told = onnx.shape_inference.infer_shapes(bare)
    except (onnx.shape_inference.InferenceError, ValueError, RuntimeError):
        return {}
    return {output.name: output.type for output in told.graph.output}


def _scores(output: Any, inferred: Any) -> Scores:
    import onnx

    called = f"output '{shown(output.name[:60])}'"
    kind = next((name for name in ("sequence_type", "map_type", "optional_type") if output.type.HasField(name)), "")
    if kind:
        raise UsageError(f"expected scores, found that {called} is a {kind[:-5]}; export the model without it")
    floats = onnx.TensorProto
    element = _element(output.type, inferred)
    if element not in (floats.FLOAT, floats.FLOAT16, floats.DOUBLE, floats.BFLOAT16):
        raise UsageError(f"expected scores, found that {called} holds no floats; cut it from the model")
    shape = next((known for known in (_shape(inferred), _shape(output.type)) if len(known) > 1 and known[1]), ())
    if not 2 <= (shape[1] if shape else 0) <= _MOST_CLASSES or any(side != 1 for side in shape[2:]):
        raise UsageError(
            f"expected scores (samples, classes) with 2 to {_MOST_CLASSES} classes, "
            f"found that {called} has shape {_told(_shape(inferred) or _shape(output.type))}; attack a classifier"
        )
    return Scores(output.name, shape[1], len(shape), element)


def _element(declared: Any, inferred: Any) -> int:
    return int(inferred.tensor_type.elem_type if inferred is not None else 0) or int(declared.tensor_type.elem_type)


def _shape(kind: Any) -> tuple[int, ...]:
    """Return the lengths of the axes, 0 for one that is not known."""
    return () if kind is None else tuple(int(dim.dim_value) for dim in kind.tensor_type.shape.dim)


def _told(shape: tuple[int, ...]) -> str:
    return f"[{', '.join(str(side or '?') for side in shape[:8])}]"


def _path(model: onnx.ModelProto, name: str) -> tuple[list[Any], bool]:
    """Return the operators from an output back to what made its values, and whether they leave these as they are."""
    makers = {output: node for node in model.graph.node for output in node.output}
    path: list[Any] = []
    while (node := makers.pop(name, None)) is not None:
        path.append(node)
        if node.domain not in _STANDARD or node.op_type not in _RESHAPING or not node.input:
            break
        name = node.input[0]
    return path, all(node.op_type == "Identity" for node in path[:-1])


def _over_classes(model: onnx.ModelProto, node: Any, scores: Scores) -> bool:
    default = 1 if opset(model) < 13 else -1
    axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), default)
    return node.domain in _STANDARD and bool(node.input) and axis in (1, 1 - scores.rank)


# --- writing ----------------------------------------------------------------------------------------------------------


def _from_logits(maker: Any, scores: Scores, build: Build, names: Names) -> list[Any]:
    nodes, result = build(maker.input[0], scores, names)
    again = type(maker).FromString(maker.SerializeToString())
    again.name = ""
    again.input[0] = result
    return [*nodes, again]


def _from_probabilities(whole: str, scores: Scores, build: Build, names: Names) -> list[Any]:
    import onnx

    make, single = onnx.helper.make_node, onnx.TensorProto.FLOAT
    cast, least, some, logs, again, changed = (
        names.fresh(f"{scores.name}_{step}") for step in ("cast", "least", "some", "logs", "again", "changed")
    )
    nodes, result = build(logs, replace(scores, element=single), names)
    return [
        make("Cast", [whole], [cast], to=single),
        constant(least, single, [], [_LEAST]),
        make("Max", [cast, least], [some]),
        make("Log", [some], [logs]),
        *nodes,
        make("Softmax", [result], [again], axis=1),
        make("Cast", [again], [changed], to=scores.element),
    ]


def _from_whole(whole: str, scores: Scores, build: Build, names: Names, *, normalised: bool) -> list[Any]:
    import onnx

    nodes, result = build(whole, scores, names)
    if normalised:
        nodes.append(onnx.helper.make_node("LogSoftmax", [result], [names.fresh(f"{scores.name}_again")], axis=1))
    return nodes


def constant(name: str, element: int, shape: list[int], values: list[Any]) -> Any:
    """Return a Constant; files before IR version 4 have no other place for one."""
    import onnx

    return onnx.helper.make_node(
        "Constant", [], [name], value=onnx.helper.make_tensor(f"{name}_value", element, shape, values)
    )


def _rename(model: onnx.ModelProto, old: str, new: str) -> None:
    """Give a value another name everywhere but in the list of outputs."""
    for graph in within(model.graph):
        for node in graph.node:
            for place in (node.input, node.output):
                for index, name in enumerate(place):
                    if name == old:
                        place[index] = new
