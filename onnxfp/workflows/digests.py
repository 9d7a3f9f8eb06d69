"""Weight digests, remembered by what the file system says of a file, so that a large model is hashed once."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from pathlib import Path

from onnxfp.artifact import Artifact, weight_digest

_KEPT = 4096  # digests remembered at most


def cached_digest(artifact: Artifact, cache: Path) -> str:
    """Return the weight digest of an artifact; files that have not changed since are not read again.

    A file counts as unchanged while its device, inode, size, modification and change times stay the same. The cache is
    the owner's own file in the vault: losing it costs time only.
    """
    known = _load(cache)
    key = _key(artifact)
    if key not in known:
        known[key] = weight_digest(artifact)
        _save(cache, dict(list(known.items())[-_KEPT:]))
    return known[key]


def _key(artifact: Artifact) -> str:
    folder = artifact.path.parent
    facts = [os.stat(path) for path in (artifact.path, *(folder / name for name in artifact.external_files))]
    parts = [(fact.st_dev, fact.st_ino, fact.st_size, fact.st_mtime_ns, fact.st_ctime_ns) for fact in facts]
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _load(cache: Path) -> dict[str, str]:
    try:
        known = json.loads(cache.read_bytes())
    except (OSError, ValueError):
        return {}
    return {str(key): str(digest) for key, digest in known.items()} if isinstance(known, dict) else {}


def _save(cache: Path, known: dict[str, str]) -> None:
    temporary = cache.with_name(f"{cache.name}.{secrets.token_hex(4)}.tmp")
    try:
        temporary.write_text(json.dumps(known))
        temporary.replace(cache)
    except OSError:
        temporary.unlink(missing_ok=True)  # a read-only vault still judges
