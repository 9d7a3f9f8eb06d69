"""How many positions the default scheme takes: only weights that are not zero can bear a mark."""

from __future__ import annotations

import pytest

from onnxfp.domain import Carrier, ModelProfile
from onnxfp.errors import CapacityError
from onnxfp.keys.keystream import Keystream
from onnxfp.schemes.spread import Spread
from onnxfp.workflows.channels import profile_from_json, profile_to_json

KEY = Keystream(bytes(range(32)))


def positions(density: float, **options: int) -> int:
    profile = ModelProfile("00", (Carrier("w", (512, 512), "float", "Gemm", 1.0, density=density),))
    scheme = Spread()
    return scheme.keygen(profile_from_json(profile_to_json(profile)), {}, scheme.options(options), KEY).positions


def test_zeros_carry_no_positions():
    assert positions(1.0) == 8192
    assert positions(0.03) == 512  # 7864 weights, 12 for each position
    with pytest.raises(CapacityError, match="7864 weights"):
        positions(0.03, positions=1024)
    with pytest.raises(CapacityError):
        positions(0.002)
