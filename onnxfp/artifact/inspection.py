"""What can be said of a model without executing it: carriers, element types, what is left unread."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from onnxfp.artifact.carriers import carriers
from onnxfp.artifact.digest import weight_digest
from onnxfp.artifact.reader import Artifact
from onnxfp.domain import Carrier


@dataclass(frozen=True)
class Inspection:
    """The facts of one artifact."""

    path: str
    """Safe to print."""
    size: int
    """Bytes of the model file and its external data."""
    digest: str
    ir_version: int
    opsets: tuple[tuple[str, int], ...]
    producer: str
    nodes: int
    carriers: tuple[Carrier, ...]
    writable_weights: int
    """Values of carriers that can be marked: in place, and with a spread to measure a change by."""
    carrier_weights: int
    other_weights: int
    """Values of tensors that are no carriers: too small, integers, biases, not consumed as weights."""
    dtypes: tuple[tuple[str, int, int], ...]
    """(element type, tensors, values), most values first."""
    sparse_tensors: int
    string_tensors: int
    external_files: tuple[str, ...]
    orphan_bytes: int


def inspect_artifact(artifact: Artifact, *, finite: bool = True) -> Inspection:
    """Return the facts of one artifact; `finite` refuses NaN and infinite carriers, as registering does.

    Raises:
        ArtifactError: weights are not finite, or the file changed while being read.
    """
    found = carriers(artifact, finite=finite)
    tensors, values = Counter[str](), Counter[str]()
    for record in artifact.tensors:
        tensors[record.dtype] += 1
        values[record.dtype] += record.size
    carried = sum(carrier.size for carrier in found)
    graph = artifact.graph
    return Inspection(
        path=artifact.label,
        size=artifact.size,
        digest=weight_digest(artifact),
        ir_version=graph.ir_version,
        opsets=graph.opsets,
        producer=graph.producer,
        nodes=len(graph.nodes),
        carriers=found,
        writable_weights=sum(carrier.size for carrier in found if carrier.writable and carrier.spread > 0),
        carrier_weights=carried,
        other_weights=values.total() - carried,
        dtypes=tuple((name, tensors[name], values[name]) for name, _ in values.most_common()),
        sparse_tensors=sum(record.sparse_shape is not None for record in artifact.tensors) // 2,
        string_tensors=tensors["string"],
        external_files=artifact.external_files,
        orphan_bytes=artifact.orphan_bytes,
    )


def why_unmarkable(artifact: Artifact, found: Sequence[Carrier]) -> str:
    """Return why no mark can be put into any of a model's carriers; empty when one can."""
    if any(carrier.writable and carrier.spread > 0 for carrier in found):
        return ""
    if not found:
        return (
            "a mark needs Conv, ConvTranspose, Gemm, MatMul or recurrent weights of at least 1024 float, float16 or "
            "bfloat16 elements"
        )
    constant = sum(carrier.writable for carrier in found)
    shared = sum(artifact.tensor(carrier.name).shared for carrier in found)
    others = len(found) - constant - shared
    reasons = {
        "constant or zero, so that any change would show": constant,
        "stored in the same external bytes as another tensor": shared,
        "not float, float16 or bfloat16 stored in one piece": others,
    }
    return f"of {len(found)} found, " + ", ".join(f"{count} are {why}" for why, count in reasons.items() if count)
