"""Which weights bear a mark: as many as allowed, of all carriers that can, at places that the key picks."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from onnxfp.domain import Carrier
from onnxfp.keys.keystream import Keystream
from onnxfp.projections.segments import pick_segments

KEY = Keystream(bytes(range(32)))


def carrier(name: str, *shape: int, operator: str = "Gemm", spread: float = 1.0) -> Carrier:
    return Carrier(name, shape, "float", operator, spread)


LARGE = tuple(carrier(f"layer {at}", 512, 512) for at in range(16))
MIXED = (carrier("conv", 64, 32, 3, 3, operator="Conv"), carrier("gemm", 1000, 512), carrier("long", 4, 100_000))


def test_a_small_model_is_used_whole_and_in_order():
    small = (carrier("a", 32, 32), carrier("b", 64, 3, 3, 3, operator="Conv", spread=0.5))
    segments = pick_segments(small, 10_000, KEY)
    assert [(s.carrier, s.start, s.stop, s.spread) for s in segments] == [("a", 0, 1024, 1.0), ("b", 0, 1728, 0.5)]


def test_a_model_of_exactly_the_cap_is_used_whole():
    assert sum(segment.size for segment in pick_segments(LARGE, 16 << 18, KEY)) == 16 << 18


@pytest.mark.parametrize("cap", [1 << 14, 1 << 17, 1 << 20, 3_000_000])
@pytest.mark.parametrize("carriers", [LARGE, MIXED])
def test_the_cap_is_kept(carriers, cap):
    segments = pick_segments(carriers, cap, KEY)
    total = sum(c.size for c in carriers)
    assert sum(segment.size for segment in segments) <= max(cap, 1 << 14)
    assert sum(segment.size for segment in segments) >= 0.4 * min(cap, total)


@pytest.mark.parametrize("carriers", [LARGE, MIXED])
def test_segments_lie_inside_their_carriers_and_never_overlap(carriers):
    sizes = {c.name: c.size for c in carriers}
    order = [c.name for c in carriers]
    segments = pick_segments(carriers, 1 << 18, KEY)
    assert all(0 <= segment.start < segment.stop <= sizes[segment.carrier] for segment in segments)
    for before, after in pairwise(segments):
        places = [(order.index(s.carrier), s.start, s.stop) for s in (before, after)]
        assert places[0][:2] < places[1][:2]
        assert before.carrier != after.carrier or before.stop <= after.start


def test_blocks_are_spread_over_all_carriers():
    segments = pick_segments(LARGE, 1 << 19, KEY)
    assert {segment.carrier for segment in segments} == {c.name for c in LARGE}
    shares = [sum(s.size for s in segments if s.carrier == c.name) for c in LARGE]
    assert max(shares) <= 2 * min(shares)


def test_which_blocks_is_the_keys_to_say():
    picked = [pick_segments(LARGE, 1 << 19, KEY.derive(str(at))) for at in range(8)]
    assert len({tuple((s.carrier, s.start) for s in segments) for segments in picked}) == 8
    assert picked[0] == pick_segments(LARGE, 1 << 19, KEY.derive("0"))


def test_every_block_can_be_picked():
    seen = {(s.carrier, s.start) for at in range(60) for s in pick_segments(LARGE[:4], 1 << 17, KEY.derive(str(at)))}
    assert len(seen) == 4 * 16


@pytest.mark.parametrize("useless", [{"writable": False}, {"spread": 0.0}])
def test_carriers_that_cannot_bear_a_mark_are_skipped(useless):
    carriers = (LARGE[0], replace(LARGE[1], **useless), LARGE[2])
    for cap in (1 << 15, 1 << 20):
        assert {s.carrier for s in pick_segments(carriers, cap, KEY)} == {"layer 0", "layer 2"}


@pytest.mark.parametrize("carriers", [(), (replace(LARGE[0], writable=False), replace(LARGE[1], spread=0.0))])
def test_no_carrier_gives_no_segment(carriers):
    assert pick_segments(carriers, 1 << 20, KEY) == ()


def test_rows_of_a_picked_block_stay_whole():
    for segment in pick_segments(MIXED, 1 << 16, KEY):
        assert segment.start % segment.columns == 0 or segment.columns > 1 << 14
        assert segment.columns > 1


def test_larger_carriers_are_marked_louder_with_the_energy_of_equal_amplitudes():
    carriers = (carrier("small", 32, 32), carrier("large", 64, 64))
    small, large = pick_segments(carriers, 1 << 20, KEY)
    assert large.gain == pytest.approx(2 * small.gain)
    assert small.gain**2 * small.size + large.gain**2 * large.size == pytest.approx(small.size + large.size)
