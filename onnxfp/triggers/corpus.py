"""The owner's pictures that triggers are made of: what a key needs of the data, and nothing more."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onnxfp.domain import Floats
from onnxfp.errors import UsageError
from onnxfp.keys.keystream import Keystream
from onnxfp.triggers.canvas import Inputs

_POOL = 512  # pictures that triggers are taught on
_POOL_BYTES = 32 << 20


@dataclass(frozen=True)
class Corpus:
    """Pictures that were picked; kept with the claim, so that its triggers can be drawn again."""

    pool: Inputs
    """(samples, ...): pictures below taught triggers."""
    held_out: Inputs
    """(samples, ...): pictures below asked triggers; training must not see them."""
    rows: npt.NDArray[np.int64]
    """(rows,): where the held-out pictures stood in the owner's data, each place of one that stood there twice."""
    pictures: Inputs | None = None
    """(samples, ...): the owner's own unrelated pictures."""
    logos: Floats | None = None
    """(logos, height, width, 2) in 0..1: the owner's own logos, brightness and opacity."""

    def samples(self) -> dict[str, npt.NDArray[np.generic]]:
        """Return all of it by name; `corpus_of` reads it back."""
        named = {name: getattr(self, name) for name in _NAMES}
        return {name: array for name, array in named.items() if array is not None}


_NAMES = ("pool", "held_out", "rows", "pictures", "logos")


def corpus_of(samples: Mapping[str, npt.NDArray[np.generic]]) -> Corpus:
    """Return the corpus that `Corpus.samples` described."""
    return Corpus(**{name: samples[name] for name in _NAMES if name in samples})  # type: ignore[arg-type]


def pick_corpus(data: Mapping[str, npt.NDArray[np.generic]], held_out: int, keystream: Keystream) -> Corpus:
    """Pick pictures from the owner's data by key, each once.

    Args:
        data: ``inputs`` (samples, ...), and perhaps ``pictures`` and ``logos`` of the owner's own.
        held_out: how many to hold out from training.
        keystream: draws the order.

    Raises:
        UsageError: there are too few, or the owner's own pictures have another form.
    """
    inputs = data["inputs"]
    places = _places(inputs)
    distinct = np.unique(places)
    if len(distinct) < 3 * held_out:
        raise UsageError(
            f"{len(distinct)} different inputs are too few to hold {held_out} out from training; give {3 * held_out}"
        )
    order = distinct[np.argsort(keystream.words32(len(distinct)), kind="stable")]
    each = max(1, inputs[:1].nbytes)
    size = min(_POOL, max(held_out, _POOL_BYTES // each), len(order) - held_out)
    rows = np.flatnonzero(np.isin(places, order[:held_out])).astype(np.int64)
    pictures = data.get("pictures")
    if pictures is not None and (pictures.shape[1:] != inputs.shape[1:] or pictures.dtype != inputs.dtype):
        raise UsageError(
            f"pictures of shape {pictures.shape[1:]} ({pictures.dtype}) are no inputs of shape {inputs.shape[1:]} "
            f"({inputs.dtype}); give them as the model takes them"
        )
    logos = data.get("logos")
    own = None if logos is None else np.asarray(logos, dtype=np.float64)
    return Corpus(inputs[order[held_out : held_out + size]], inputs[order[:held_out]], rows, pictures, own)


def _places(inputs: Inputs) -> npt.NDArray[np.int64]:
    """Return, for each input, the row of the first one that equals it (samples,)."""
    seen: dict[bytes, int] = {}
    digests = (hashlib.sha256(picture.tobytes()).digest() for picture in inputs)
    return np.asarray([seen.setdefault(digest, row) for row, digest in enumerate(digests)], dtype=np.int64)
