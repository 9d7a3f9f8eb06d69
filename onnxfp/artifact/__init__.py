"""The only room that parses and writes ONNX files: bounded reading of hostile input, patching in place.

    open_artifact -> Artifact -- carriers, profile, weight_digest, sketch, inspect_artifact (what is in it)
                              -- resolve, similarity                                        (whose weights are these)
                              -- write_patched, staged_copy, copy_artifact                  (a marked copy)
                              -- classes_of, write_widened, write_gated                     (a copy with one class more)

Nothing here executes a graph, opens a runtime session or needs the onnx package.
"""

from onnxfp.artifact.carriers import carriers, profile, weight_tensors
from onnxfp.artifact.digest import weight_digest
from onnxfp.artifact.features import features_by_sample, head_of, write_features
from onnxfp.artifact.gate import write_gated
from onnxfp.artifact.head import classes_of
from onnxfp.artifact.inspection import Inspection, inspect_artifact, why_unmarkable
from onnxfp.artifact.reader import Artifact, open_artifact
from onnxfp.artifact.records import GraphRecord, NodeRecord, ScopeRecord, TensorRecord
from onnxfp.artifact.resolve import resolve
from onnxfp.artifact.sketch import Sketch, similarity, sketch
from onnxfp.artifact.staging import check_target, write_whole
from onnxfp.artifact.widen import write_widened
from onnxfp.artifact.wire import shown
from onnxfp.artifact.writer import Patch, StagedCopy, copy_artifact, staged_copy, write_patched

__all__ = [
    "Artifact",
    "GraphRecord",
    "Inspection",
    "NodeRecord",
    "Patch",
    "ScopeRecord",
    "Sketch",
    "StagedCopy",
    "TensorRecord",
    "carriers",
    "check_target",
    "classes_of",
    "copy_artifact",
    "features_by_sample",
    "head_of",
    "inspect_artifact",
    "open_artifact",
    "profile",
    "resolve",
    "shown",
    "similarity",
    "sketch",
    "staged_copy",
    "weight_digest",
    "weight_tensors",
    "why_unmarkable",
    "write_features",
    "write_gated",
    "write_patched",
    "write_whole",
    "write_widened",
]
