"""From the bytes of a ModelProto to records: graphs, subgraphs, functions, nodes, and every tensor on the way.

A singular field that occurs twice (which protobuf would merge, or let the last one win, depending on who reads) is
refused: two readers must not see two models in one file.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import final

from onnxfp.artifact.external import ExternalFiles
from onnxfp.artifact.records import FunctionKey, GraphRecord, NodeRecord, ScopeRecord, TensorRecord
from onnxfp.artifact.tensors import TensorReader
from onnxfp.artifact.wire import DELIMITED, FIXED32, VARINT, Window, fields, shown, signed

_MAX_DEPTH = 16  # graphs inside graphs
Span = tuple[int, int]
Once = dict[int, tuple[int, int, int]]
"""Singular field -> (value, begin, end)."""

# Singular fields that we use, with their wire types; fields that are not named are skipped.
_MODEL = {1: VARINT, 2: DELIMITED, 7: DELIMITED}
_NODE = {3: DELIMITED, 4: DELIMITED, 7: DELIMITED, 8: DELIMITED}
_ATTRIBUTE = {1: DELIMITED, 2: FIXED32, 3: VARINT, 4: DELIMITED, 5: DELIMITED, 6: DELIMITED, 20: VARINT, 22: DELIMITED}
_FUNCTION = {1: DELIMITED, 10: DELIMITED, 13: DELIMITED}
_SPARSE = {1: DELIMITED, 2: DELIMITED}
_NUMBERS = ("value_float", "value_int", "value_floats", "value_ints")


@dataclass
class _Split:
    """One message, taken apart: singular fields, and the spans of repeated ones."""

    once: Once = field(default_factory=dict)
    many: dict[int, array[int]] = field(default_factory=dict)
    """Repeated field -> wire type, begin and end of each occurrence, one after another."""

    def pieces(self, number: int) -> Iterator[tuple[int, int, int]]:
        """Wire type, begin and end of each occurrence of a repeated field."""
        flat = self.many.get(number, array("q"))
        for at in range(0, len(flat), 3):
            yield flat[at], flat[at + 1], flat[at + 2]


def split(window: Window, span: Span, once: dict[int, int], many: tuple[int, ...], what: str) -> _Split:
    """Take one message apart, keeping only the fields named in `once` and `many`.

    Raises:
        ArtifactError: a singular field occurs twice or has another wire type than the standard says.
    """
    parts = _Split()
    for number, wire, value, begin, end in fields(window, *span):
        if number in once:
            if wire != once[number] or number in parts.once:
                window.defect(f"expected field {number} of a {what} once, found it again or misshapen at byte {begin}")
            parts.once[number] = (value, begin, end)
        elif number in many:
            window.keep(1)
            parts.many.setdefault(number, array("q")).extend((wire, begin, end))
    return parts


@final
class ModelReader:
    """Reads one model file into records, spending a budget proportional to the file's size."""

    def __init__(self, window: Window, external: ExternalFiles) -> None:
        self._window = window
        self._tensor = TensorReader(window, external)
        self.tensors: list[TensorRecord] = []
        self._nodes: list[NodeRecord] = []
        self._scopes: list[ScopeRecord] = []
        self._words: dict[str, str] = {}

    def read(self) -> GraphRecord:
        """Walk the whole model; the tensors met lie in `tensors` afterwards.

        Raises:
            ArtifactError: the file is not an ONNX model, or hostile.
        """
        parts = split(self._window, (0, self._window.size), _MODEL, (8, 20, 25), "model")
        version = parts.once.get(1, (0, 0, 0))[0]
        if 7 not in parts.once or not 0 < version < 1 << 31:
            self._window.defect(f"expected an ONNX model with an IR version and a graph, found IR version {version}")
        self._graph(parts.once[7][1:], "", None, 0)
        for index, span in enumerate(self._messages(parts, 20)):
            self._training(span, f"training{index}.")
        for index, span in enumerate(self._messages(parts, 25)):
            self._function(span, index)
        self._refuse_duplicates()
        main = self._scopes[0]
        opsets = tuple(self._opset(span) for span in self._messages(parts, 8))
        nodes, scopes = tuple(self._nodes), tuple(self._scopes)
        return GraphRecord(version, opsets, main.inputs, main.outputs, nodes, scopes, self._text(parts.once, 2))

    # --- scopes --------------------------------------------------------------------------------------------------

    def _graph(self, span: Span, scope: str, parent: str | None, depth: int) -> None:
        if depth > _MAX_DEPTH:
            self._window.defect(f"expected at most {_MAX_DEPTH} graphs inside each other, found more")
        self._window.keep(8)
        parts = split(self._window, span, {}, (1, 5, 11, 12, 15), "graph")
        inputs, outputs = (tuple(self._name(at) for at in self._messages(parts, number)) for number in (11, 12))
        self._scopes.append(ScopeRecord(scope, parent, inputs, outputs))
        for at in self._messages(parts, 5):
            self.tensors.append(self._tensor.record(*at, scope))
        for at in self._messages(parts, 15):
            self._sparse(at, scope, None)
        for index, at in enumerate(self._messages(parts, 1)):
            self._node(at, scope, index, depth)

    def _training(self, span: Span, scope: str) -> None:
        parts = split(self._window, span, {1: DELIMITED, 2: DELIMITED}, (), "training info")
        for number, name in ((1, "initialization/"), (2, "algorithm/")):
            if number in parts.once:
                self._graph(parts.once[number][1:], scope + name, "", 1)

    def _function(self, span: Span, index: int) -> None:
        self._window.keep(8)
        parts = split(self._window, span, _FUNCTION, (4, 5, 7, 11), "function")
        key: FunctionKey = (self._text(parts.once, 10), self._text(parts.once, 1), self._text(parts.once, 13))
        scope = f"function{index}/"
        inputs, outputs = (tuple(self._word(*at) for at in self._messages(parts, n)) for n in (4, 5))
        self._scopes.append(ScopeRecord(scope, None, inputs, outputs, key))
        for at in self._messages(parts, 11):
            self._attribute(at, scope, "defaults", None, 0)
        for number, at in enumerate(self._messages(parts, 7)):
            self._node(at, scope, number, 0)

    # --- nodes ---------------------------------------------------------------------------------------------------

    def _node(self, span: Span, scope: str, index: int, depth: int) -> None:
        self._window.keep(8)
        parts = split(self._window, span, _NODE, (1, 2, 5), "node")
        texts = {number: self._text(parts.once, number) for number in (3, 4, 7, 8)}
        inputs, outputs = (tuple(self._word(*at) for at in self._messages(parts, n)) for n in (1, 2))
        op_type, domain = (self._words.setdefault(texts[n], texts[n]) for n in (4, 7))
        if not op_type:
            self._window.defect(f"expected a node with an operator at byte {span[0]}, found none")
        self._nodes.append(NodeRecord(op_type, domain, texts[3], inputs, outputs, scope, texts[8], *span))
        constant = outputs[0] if op_type == "Constant" and outputs else None
        for at in self._messages(parts, 5):
            self._attribute(at, scope, f"#{index}", constant, depth)

    def _attribute(self, span: Span, scope: str, owner: str, constant: str | None, depth: int) -> None:
        lists = (7, 8) if constant else ()  # of tree ensembles they are long and nothing to us
        parts = split(self._window, span, _ATTRIBUTE, (10, 11, 23, *lists), "attribute")
        name = self._text(parts.once, 1)
        short = name if 0 < len(name) <= 24 else f"@{span[0]}"
        place = f"{owner}.{short}"
        for number, read in ((5, self._add), (22, self._sparse)):
            if number in parts.once:
                read(parts.once[number][1:], scope, constant or place)
        for number, read in ((10, self._add), (23, self._sparse)):
            for index, at in enumerate(self._messages(parts, number)):
                read(at, scope, f"{place}[{index}]")
        self._subgraphs(parts, scope, place, depth)
        if constant and name in _NUMBERS:
            self._numbers(parts, scope, constant, name)

    def _subgraphs(self, parts: _Split, scope: str, place: str, depth: int) -> None:
        graphs = {f"{scope}{place}[{index}]/": at for index, at in enumerate(self._messages(parts, 11))}
        if 6 in parts.once:
            graphs[f"{scope}{place}/"] = parts.once[6][1:]
        for inner, at in graphs.items():
            self._graph(at, inner, scope, depth + 1)

    # --- tensors -------------------------------------------------------------------------------------------------

    def _add(self, span: Span, scope: str, value: str) -> None:
        self.tensors.append(self._tensor.record(*span, scope, value))

    def _numbers(self, parts: _Split, scope: str, constant: str, name: str) -> None:
        if name == "value_float" and 2 in parts.once:
            self.tensors.append(self._tensor.fixed(constant, scope, (), parts.once[2][1:]))
        elif name == "value_int" and 3 in parts.once:
            _, begin, end = parts.once[3]
            self.tensors.append(self._tensor.integers(constant, scope, 0, iter([(VARINT, begin, end)])))
        elif name == "value_floats":
            self.tensors.append(self._tensor.floats(constant, scope, parts.pieces(7)))
        elif name == "value_ints":
            self.tensors.append(self._tensor.integers(constant, scope, 1, parts.pieces(8)))

    def _sparse(self, span: Span, scope: str, value: str | None) -> None:
        parts = split(self._window, span, _SPARSE, (3,), "sparse tensor")
        if 1 not in parts.once or 2 not in parts.once:
            self._window.defect(
                f"expected values and indices in the sparse tensor at byte {span[0]}, found one missing"
            )
        values = self._tensor.record(*parts.once[1][1:], scope, value)
        indices = self._tensor.record(*parts.once[2][1:], scope, f"{values.value}#indices")
        dims: list[int] = []
        for piece in parts.pieces(3):
            self._tensor.dims(dims, *piece)
        fits = indices.dtype == "int64" and indices.shape in (values.shape, (*values.shape, len(dims)))
        if not fits or len(values.shape) != 1:
            self._window.defect(
                f"sparse tensor '{shown(values.name)}': expected int64 indices for each value, found "
                f"{indices.dtype} {indices.shape} for {values.shape}"
            )
        self.tensors.extend(_half(record, tuple(dims)) for record in (values, indices))

    def _refuse_duplicates(self) -> None:
        seen: set[str] = set()
        for record in self.tensors:
            if record.name in seen or not record.value:
                found = "it twice" if record.value else "one without a name"
                self._window.defect(f"expected tensor '{shown(record.name)}' once in its scope, found {found}")
            seen.add(record.name)

    # --- small parts ---------------------------------------------------------------------------------------------

    def _messages(self, parts: _Split, number: int) -> Iterator[Span]:
        for wire, begin, end in parts.pieces(number):
            if wire != DELIMITED:
                self._window.defect(f"expected field {number} with a length, found wire type {wire} at byte {begin}")
            yield begin, end

    def _text(self, once: Once, number: int) -> str:
        _, begin, end = once.get(number, (0, 0, 0))
        return self._window.text(begin, end) if end > begin else ""

    def _word(self, begin: int, end: int) -> str:
        """A name that occurs often, kept once."""
        text = self._window.text(begin, end)
        return self._words.setdefault(text, text)

    def _name(self, span: Span) -> str:
        return self._text(split(self._window, span, {1: DELIMITED}, (), "value").once, 1)

    def _opset(self, span: Span) -> tuple[str, int]:
        once = split(self._window, span, {1: DELIMITED, 2: VARINT}, (), "opset").once
        return self._text(once, 1), signed(once.get(2, (0, 0, 0))[0])


def _half(record: TensorRecord, dense: tuple[int, ...]) -> TensorRecord:
    return TensorRecord(
        record.name,
        record.shape,
        record.dtype,
        record.size,
        record.runs,
        record.external,
        record.scope,
        record.value,
        dense,
    )
