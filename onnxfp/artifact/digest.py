"""A fingerprint of all weights that survives re-serialisation: names, order and storage do not enter it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from onnxfp.artifact.reader import Artifact
from onnxfp.artifact.records import TensorRecord

_BLOCK = 1 << 22  # elements hashed as one leaf: large tensors are shared between threads
_THREADS = 2
_DOMAIN = b"onnxfp weight digest 1\n"
Leaf = tuple[TensorRecord, int, int]


def weight_digest(artifact: Artifact) -> str:
    """Return SHA-256, in hexadecimal, over the sorted hashes of all tensors: element type, shape, canonical bytes.

    The same for ``raw_data``, typed fields and external data, initializers and Constant nodes, other names and another
    order. Each tensor's bytes are hashed in leaves of 2**22 elements, whose hashes are hashed.

    Raises:
        ArtifactError: the files shrank or stored numbers do not fit their type.
    """
    leaves = [
        (record, start, min(start + _BLOCK, record.size))
        for record in artifact.tensors
        for start in range(0, max(1, record.size), _BLOCK)
    ]
    leaves.sort(key=lambda leaf: leaf[1] - leaf[2])
    with ThreadPoolExecutor(_THREADS) as pool:
        parts = list(pool.map(lambda share: _hashes(artifact, share), [leaves[i::_THREADS] for i in range(_THREADS)]))
    hashed = {key: value for part in parts for key, value in part.items()}
    summary = hashlib.sha256(_DOMAIN)
    for tensor in sorted(_tensor_hash(record, hashed) for record in artifact.tensors):
        summary.update(tensor)
    return summary.hexdigest()


def _hashes(artifact: Artifact, leaves: Sequence[Leaf]) -> dict[tuple[str, int], bytes]:
    found = {}
    for record, start, stop in leaves:
        leaf = hashlib.sha256()
        for piece in artifact.read_bytes(record, start, stop):
            leaf.update(piece)
        found[record.name, start] = leaf.digest()
    return found


def _tensor_hash(record: TensorRecord, leaves: dict[tuple[str, int], bytes]) -> bytes:
    tensor = hashlib.sha256(f"{record.dtype}{record.shape}{record.sparse_shape}".encode())
    for start in range(0, max(1, record.size), _BLOCK):
        tensor.update(leaves[record.name, start])
    return tensor.digest()
