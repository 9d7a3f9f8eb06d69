"""Which weights bear a mark: whole carriers, or keyed contiguous blocks spread over all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from onnxfp.domain import Carrier, Segment
from onnxfp.keys.keystream import Keystream

_RECURRENT = ("LSTM", "GRU", "RNN")
_BLOCK = 1 << 14  # weights of one block: large enough to read at disk speed


def pick_segments(carriers: Sequence[Carrier], max_weights: int, keystream: Keystream) -> tuple[Segment, ...]:
    """Pick at most about `max_weights` weights of the carriers that can be written and have a spread.

    All blocks stand in a row; the row is cut into equal groups, and of each group the key picks one block. So every
    part of the model is represented, a reader touches only the picked blocks, and nobody else knows which they are.
    """
    usable = [carrier for carrier in carriers if carrier.writable and carrier.spread > 0]
    gains = _gains(usable)
    if sum(carrier.size for carrier in usable) <= max_weights:
        return tuple(
            Segment(carrier.name, 0, carrier.size, carrier.spread, gain, _columns(carrier))
            for carrier, gain in zip(usable, gains, strict=True)
        )
    blocks = [block for carrier, gain in zip(usable, gains, strict=True) for block in _blocks(carrier, gain)]
    wanted = max(1, max_weights // _BLOCK)
    edges = [index * len(blocks) // wanted for index in range(wanted + 1)]
    choices = keystream.words32(wanted).tolist()
    groups = zip(edges, edges[1:], choices, strict=False)
    return tuple(blocks[low + (choice * (high - low) >> 32)] for low, high, choice in groups if high > low)


def _gains(carriers: Sequence[Carrier]) -> list[float]:
    """Return each carrier's amplitude: as the square root of its size, with the energy of equal amplitudes.

    A layer feels a change of the same relative size the less, the more weights it sums over.
    """
    sizes = np.array([carrier.size for carrier in carriers], dtype=np.float64)
    return [float(gain) for gain in np.sqrt(sizes * sizes.sum() / np.maximum(1.0, np.sum(sizes**2)))]


def _columns(carrier: Carrier) -> int:
    """Return the length of a row: all that one output of a Conv or a transposed Gemm sums over."""
    if carrier.operator in _RECURRENT:
        return carrier.shape[-1]  # (directions, gates * hidden, inputs)
    return max(1, carrier.size // max(1, carrier.shape[0]))


def _blocks(carrier: Carrier, gain: float) -> Iterator[Segment]:
    """Cut a carrier into blocks of whole rows, or of pieces of a row that is longer than a block."""
    columns = _columns(carrier)
    length = max(1, _BLOCK // columns) * columns if columns <= _BLOCK else _BLOCK
    for start in range(0, carrier.size, length):
        yield Segment(carrier.name, start, min(start + length, carrier.size), carrier.spread, gain, columns)
