"""One TensorProto of the file becomes one TensorRecord; its data are counted and bounded, not loaded."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod
from typing import final

import numpy as np

from onnxfp.artifact import dtypes
from onnxfp.artifact.dtypes import DTYPES, DType
from onnxfp.artifact.external import ExternalFiles
from onnxfp.artifact.records import Packing, Run, TensorRecord
from onnxfp.artifact.wire import DELIMITED, FIXED32, FIXED64, VARINT, Window, fields, read_exactly, shown, signed

_MAX_RANK = 64  # numpy's limit
_BLOCK = 1 << 16  # bytes of varints between two places where reading may start
_ENTRY_BYTES = {dtypes.FLOAT_DATA: 4, dtypes.DOUBLE_DATA: 8}
_VARINT_FIELDS = (dtypes.INT32_DATA, dtypes.INT64_DATA, dtypes.UINT64_DATA)
_TYPED = (*_VARINT_FIELDS, *_ENTRY_BYTES, dtypes.STRING_DATA)
_ONCE = {2: VARINT, 8: DELIMITED, 9: DELIMITED, 14: VARINT}
_LENGTH_HINT = "the tensor is damaged: export or fetch the model again"


@dataclass
class _Draft:
    """What has been seen of a tensor so far."""

    dims: list[int] = field(default_factory=list)
    once: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    """Singular field -> (value, begin, end)."""
    external: dict[str, str] = field(default_factory=dict)
    runs: list[Run] = field(default_factory=list)
    entries: int = 0
    typed: int = 0
    """Number of the typed field in use."""


@final
class TensorReader:
    """Reads the tensor messages of one file."""

    def __init__(self, window: Window, external: ExternalFiles) -> None:
        self._window = window
        self._external = external

    def record(self, begin: int, end: int, scope: str, value: str | None = None) -> TensorRecord:
        """Return the record of the TensorProto in ``[begin, end)``, under its own name or under `value`.

        Raises:
            ArtifactError: the message is damaged, or its dims and its data disagree.
        """
        self._window.keep(8)
        draft = _Draft()
        for number, wire, number_value, start, stop in fields(self._window, begin, end):
            self._take(draft, number, wire, (number_value, start, stop))
        name = value if value is not None else self._text(draft, 8)
        label = shown(scope + name)
        dtype = DTYPES.get(draft.once.get(2, (0, 0, 0))[0])
        if dtype is None:
            code = draft.once.get(2, (0, 0, 0))[0]
            self._window.defect(f"tensor '{label}': expected an element type of ONNX 1.23, found {code}")
        size = self._size(draft.dims, label)
        location, runs = self._data(draft, dtype, size, label)
        if dtype.name == "string" and runs:
            runs = (Run(0, begin, end, Packing.STRINGS),)
        return TensorRecord(scope + name, tuple(draft.dims), dtype.name, size, runs, location, scope, name)

    def fixed(self, name: str, scope: str, shape: tuple[int, ...], span: tuple[int, int]) -> TensorRecord:
        """Return the record of float32 values that lie in a node's own attribute."""
        self._window.keep(8)
        run = Run(0, *span, Packing.CANONICAL)
        return TensorRecord(scope + name, shape, "float", prod(shape), (run,), None, scope, name)

    def integers(self, name: str, scope: str, rank: int, pieces: Iterator[tuple[int, int, int]]) -> TensorRecord:
        """Return the record of int64 values that lie in a node's own attribute: (wire type, begin, end) each."""
        self._window.keep(8)
        draft = _Draft()
        for wire, begin, end in pieces:
            self._append(draft, dtypes.INT64_DATA, wire, begin, end)
        shape = (draft.entries,) if rank else ()
        return TensorRecord(scope + name, shape, "int64", draft.entries, tuple(draft.runs), None, scope, name)

    def floats(self, name: str, scope: str, pieces: Iterator[tuple[int, int, int]]) -> TensorRecord:
        """Return the record of a float list attribute: (wire type, begin, end) each."""
        self._window.keep(8)
        draft = _Draft()
        for wire, begin, end in pieces:
            self._append(draft, dtypes.FLOAT_DATA, wire, begin, end)
        runs = tuple(draft.runs)
        return TensorRecord(scope + name, (draft.entries,), "float", draft.entries, runs, None, scope, name)

    def dims(self, dims: list[int], wire: int, begin: int, end: int) -> None:
        """Append one occurrence, packed or not, of a repeated int64 field of extents."""
        at_most = _MAX_RANK if wire == DELIMITED else len(dims)
        while wire in (VARINT, DELIMITED) and begin < end and len(dims) <= at_most:
            value, begin = self._window.varint(begin, end)
            dims.append(signed(value))
        if len(dims) > _MAX_RANK or wire not in (VARINT, DELIMITED) or min(dims, default=0) < 0:
            found = "a negative one" if dims and min(dims) < 0 else f"{len(dims)} or more"
            self._window.defect(f"expected at most {_MAX_RANK} dims, none negative, found {found} before byte {end}")

    def _take(self, draft: _Draft, number: int, wire: int, at: tuple[int, int, int]) -> None:
        _, begin, end = at
        if number == 1:
            self.dims(draft.dims, wire, begin, end)
        elif number in _TYPED:
            self._append(draft, number, wire, begin, end)
        elif number in _ONCE:
            if number in draft.once or wire != _ONCE[number]:
                self._window.defect(f"expected tensor field {number} once, found it again or misshapen at byte {begin}")
            draft.once[number] = at
        elif number == 13 and wire == DELIMITED:
            self._entry(draft, begin, end)
        elif number in (3, 13):
            self._window.defect(f"expected a whole tensor, found a segment or misshapen entry at byte {begin}")

    def _entry(self, draft: _Draft, begin: int, end: int) -> None:
        texts = {1: "", 2: ""}
        for number, wire, _, start, stop in fields(self._window, begin, end):
            if number in texts and wire == DELIMITED:
                texts[number] = self._window.text(start, stop)
        if texts[1] in draft.external:
            self._window.defect(f"expected external_data '{shown(texts[1])}' once, found it twice")
        if texts[1] in ("location", "offset", "length"):
            draft.external[texts[1]] = texts[2]

    def _text(self, draft: _Draft, number: int) -> str:
        _, begin, end = draft.once.get(number, (0, 0, 0))
        return self._window.text(begin, end) if end > begin else ""

    def _size(self, dims: list[int], label: str) -> int:
        if prod(extent for extent in dims if extent) >= 1 << 62:
            self._window.defect(f"tensor '{label}': expected fewer than 2**62 elements, found more", _LENGTH_HINT)
        return prod(dims)

    # --- inline data ---------------------------------------------------------------------------------------------

    def _append(self, draft: _Draft, number: int, wire: int, begin: int, end: int) -> None:
        if draft.typed not in (0, number):
            self._window.defect(f"expected one typed field in a tensor, found fields {draft.typed} and {number}")
        draft.typed = number
        if number == dtypes.STRING_DATA:
            count, ok = 1, wire == DELIMITED
            draft.runs = draft.runs or [Run(0, begin, end, Packing.STRINGS)]
        elif number in _VARINT_FIELDS:
            count, ok = self._append_varints(draft, wire, begin, end), wire in (VARINT, DELIMITED)
        else:
            count, ok = self._append_fixed(draft, wire, begin, end, _ENTRY_BYTES[number])
        if not ok:
            self._window.defect(f"expected whole entries in typed field {number}, found others at byte {begin}")
        draft.entries += count

    def _append_fixed(self, draft: _Draft, wire: int, begin: int, end: int, width: int) -> tuple[int, bool]:
        if wire == DELIMITED:
            if end > begin:
                self._run(draft, Run(draft.entries, begin, end, Packing.CANONICAL))
            return (end - begin) // width, (end - begin) % width == 0
        self._tagged(draft, Run(draft.entries, begin - 1, end, Packing.TAGGED_FIXED))
        return 1, wire == {4: FIXED32, 8: FIXED64}[width]

    def _append_varints(self, draft: _Draft, wire: int, begin: int, end: int) -> int:
        if wire == VARINT:
            self._tagged(draft, Run(draft.entries, begin - 1, end, Packing.TAGGED_VARINT))
            return 1
        count = 0
        while begin < end:
            data = read_exactly(self._window.fd, begin, min(_BLOCK, end - begin), self._window.label)
            ends = np.flatnonzero(data < 0x80)
            if not len(ends) or (end - begin <= _BLOCK and ends[-1] != len(data) - 1):
                self._window.defect(f"expected whole numbers up to byte {end}, found one that does not end")
            stop = begin + int(ends[-1]) + 1
            self._run(draft, Run(draft.entries + count, begin, stop, Packing.VARINT))
            count += len(ends)
            begin = stop
        return count

    def _tagged(self, draft: _Draft, run: Run) -> None:
        last = draft.runs[-1] if draft.runs else None
        if last and last.stop == run.offset and last.packing is run.packing and run.stop - last.offset <= _BLOCK:
            draft.runs[-1] = last._replace(stop=run.stop)
        else:
            self._run(draft, run)

    def _run(self, draft: _Draft, run: Run) -> None:
        self._window.keep(8)
        draft.runs.append(run)

    # --- where the data are --------------------------------------------------------------------------------------

    def _data(self, draft: _Draft, dtype: DType, size: int, label: str) -> tuple[str | None, tuple[Run, ...]]:
        kinds = (draft.typed > 0) + (dtypes.RAW_DATA in draft.once) + (draft.once.get(14, (0, 0, 0))[0] == 1)
        if kinds > 1 or (draft.typed and draft.typed != dtype.field):
            self._window.defect(
                f"tensor '{label}': expected {dtype.name} data in one place, found several or the wrong field"
            )
        if draft.once.get(14, (0, 0, 0))[0] == 1:
            return self._outside(draft, dtype, size, label)
        if dtypes.RAW_DATA in draft.once:
            _, begin, end = draft.once[dtypes.RAW_DATA]
            self._expect(label, size, "bytes", -1 if dtype.name == "string" else dtype.stored_bytes(size), end - begin)
            return None, (Run(0, begin, end, Packing.CANONICAL),) if end > begin else ()
        self._expect(label, size, "entries", dtype.stored_entries(size) if dtype.bits else size, draft.entries)
        return None, tuple(draft.runs)

    def _expect(self, label: str, size: int, unit: str, expected: int, found: int) -> None:
        if expected != found:
            what = f"{max(0, expected)} {unit} for {size} values" if expected >= 0 else "no raw bytes for strings"
            self._window.defect(f"tensor '{label}': expected {what}, found {found}", _LENGTH_HINT)

    def _outside(self, draft: _Draft, dtype: DType, size: int, label: str) -> tuple[str, tuple[Run, ...]]:
        offset = self._number(draft, "offset", 0, label)
        bytes_needed = dtype.stored_bytes(size)
        self._expect(label, size, "external bytes", bytes_needed, self._number(draft, "length", bytes_needed, label))
        if dtype.name == "string":
            self._window.defect(f"tensor '{label}': expected strings inside the model, found them in external data")
        location = self._external.add(draft.external.get("location", ""))
        present = self._external.identity(location).size
        if offset + bytes_needed > present:
            self._window.defect(
                f"tensor '{label}': expected external bytes {offset} to {offset + bytes_needed} in "
                f"'{shown(location)}', found a file of {present}",
                "fetch the data file again",
            )
        run = Run(0, offset, offset + bytes_needed, Packing.CANONICAL)
        return location, (run,) if bytes_needed else ()

    def _number(self, draft: _Draft, key: str, default: int, label: str) -> int:
        text = draft.external.get(key)
        if text is None:
            return default
        if not re.fullmatch(r"[0-9]{1,19}", text):
            self._window.defect(
                f"tensor '{label}': expected a plain number of bytes as external {key}, found '{shown(text)}'"
            )
        return int(text)
