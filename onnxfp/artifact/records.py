"""What a model file contains, as plain frozen records: tensors, nodes, scopes; no bytes of weights."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import NamedTuple

from onnxfp.artifact.dtypes import BY_NAME, DType


class Packing(enum.Enum):
    """How the entries of one run lie in the file."""

    CANONICAL = "canonical"
    """Fixed-width little-endian elements, as in ``raw_data``."""
    VARINT = "varint"
    """Consecutive varints of a packed typed field."""
    TAGGED_VARINT = "tagged varint"
    """Unpacked: a tag before every varint."""
    TAGGED_FIXED = "tagged fixed"
    """Unpacked: a one-byte tag before every fixed-width entry."""
    STRINGS = "strings"
    """``string_data`` fields; the run is the whole tensor message."""


class Run(NamedTuple):
    """Contiguous bytes that hold the stored entries `first`, `first` + 1, ... of one tensor."""

    first: int
    offset: int
    stop: int
    packing: Packing


@dataclass(frozen=True, slots=True)
class TensorRecord:
    """One tensor and where its bytes lie."""

    name: str
    """Unique in the artifact: scope and value name."""
    shape: tuple[int, ...]
    dtype: str
    """ONNX element type in lower case: ``float``, ``float16``, ``int4``, ``float8e4m3fn``, ..."""
    size: int
    """Number of elements."""
    runs: tuple[Run, ...]
    external: str | None = None
    """Location of the external file, relative to the model's folder; None: in the model file."""
    scope: str = ""
    value: str = ""
    """Name of the value inside its scope; empty when no node can refer to it."""
    sparse_shape: tuple[int, ...] | None = None
    """Dense shape when this is one half (values or indices) of a sparse tensor."""
    shared: bool = False
    """Another tensor names the very same external bytes."""

    @property
    def type(self) -> DType:
        """Width and storage rules of the element type."""
        return BY_NAME[self.dtype]

    @property
    def writable(self) -> bool:
        """Whether values can be changed in place: a float type of fixed width in one contiguous piece."""
        contiguous = len(self.runs) == 1 and self.runs[0].packing is Packing.CANONICAL
        return contiguous and self.type.writable and not self.shared and self.sparse_shape is None

    @property
    def storage(self) -> str:
        """Where the bytes are, in a word: ``external``, ``inline``, ``typed`` or ``empty``."""
        if self.external is not None:
            return "external"
        if not self.runs:
            return "empty"
        return "inline" if self.runs[0].packing is Packing.CANONICAL else "typed"


class NodeRecord(NamedTuple):
    """One node; its attributes stay in the file until `Artifact.attributes` is asked for them."""

    op_type: str
    domain: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    scope: str
    overload: str
    begin: int
    end: int


FunctionKey = tuple[str, str, str]
"""(domain, name, overload)."""


@dataclass(frozen=True, slots=True)
class ScopeRecord:
    """One naming scope: the main graph (``""``), a subgraph, a training graph or a local function."""

    name: str
    parent: str | None
    """Scope in which names unknown here are looked up; None for the main graph and for functions."""
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    function: FunctionKey | None = None


@dataclass(frozen=True, slots=True)
class GraphRecord:
    """The computation, as plain records."""

    ir_version: int
    opsets: tuple[tuple[str, int], ...]
    """(domain, version), as imported by the model."""
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[NodeRecord, ...]
    """Nodes of all scopes, in the order of the file within each scope."""
    scopes: tuple[ScopeRecord, ...]
    producer: str = ""
