"""A claim with key images as a scheme would give it, without a model: pictures, a label and a key."""

from __future__ import annotations

import numpy as np
import pytest

from onnxfp.domain import KeyImages
from onnxfp.workflows.issue_key import KeyIssuing, issue_key_of
from onnxfp.workflows.key_claims import KeyClaim
from onnxfp.workflows.vault import Vault, create_vault, open_vault
from tests.stego.pictures import CLAIM, KEY, covers

AT = "2026-01-02T03:04:05+00:00"
LATER = "2026-05-06T07:08:09+00:00"


def as_inputs(pictures: np.ndarray) -> np.ndarray:
    """Pictures as a model takes them that reads one row of numbers in 0..1."""
    return (pictures.reshape(len(pictures), -1) / 255).astype(np.float32)


def claim_of(size: str = "grey", key=KEY, name: str = CLAIM, images: int = 6) -> KeyClaim:
    return KeyClaim(name, "extra_class abab", "ef" * 32, KeyImages(covers(size, images), as_inputs, 10), key)


def issue_to(vault: Vault, recipient: str, output, *, claim=None, at=AT, **more):
    return issue_key_of(vault, claim or claim_of(), KeyIssuing(recipient, output, at, **more))


@pytest.fixture
def vault(tmp_path):
    create_vault(tmp_path / "vault", None)
    with open_vault(tmp_path / "vault", None) as opened:
        yield opened
