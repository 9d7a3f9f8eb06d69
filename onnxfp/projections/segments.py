"""Which weights bear a mark: whole carriers, or keyed contiguous blocks spread over all of them."""

from __future__ import annotations

from collections.abc import Sequence

from onnxfp.domain import Carrier, Segment
from onnxfp.keys.keystream import Keystream

_BLOCK = 1 << 14  # weights of one block: large enough to read at disk speed


def pick_segments(carriers: Sequence[Carrier], max_weights: int, keystream: Keystream) -> tuple[Segment, ...]:
    """Pick at most about `max_weights` weights of the carriers that can be written and have a spread.

    All blocks stand in a row; the row is cut into equal groups, and of each group the key picks one block. So every
    part of the model is represented, a reader touches only the picked blocks, and nobody else knows which they are.
    """
    usable = [carrier for carrier in carriers if carrier.writable and carrier.spread > 0]
    if sum(carrier.size for carrier in usable) <= max_weights:
        return tuple(Segment(carrier.name, 0, carrier.size, carrier.spread) for carrier in usable)
    blocks = [
        Segment(carrier.name, start, min(start + _BLOCK, carrier.size), carrier.spread)
        for carrier in usable
        for start in range(0, carrier.size, _BLOCK)
    ]
    wanted = max(1, max_weights // _BLOCK)
    edges = [index * len(blocks) // wanted for index in range(wanted + 1)]
    choices = keystream.words32(wanted).tolist()
    groups = zip(edges, edges[1:], choices, strict=False)
    return tuple(blocks[low + (choice * (high - low) >> 32)] for low, high, choice in groups if high > low)
