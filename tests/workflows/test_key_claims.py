"""Claims with key images, as far as the vault still has what they need."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from onnxfp.demo import path as demo_file
from onnxfp.errors import VaultError
from onnxfp.workflows.authenticate_key import Presented, authenticate_key
from onnxfp.workflows.commit import drawn_for
from onnxfp.workflows.issue_key import KeyIssuing, issue_key
from tests.workflows.vaults import AT, committed, digits, fixed_vault, registered

OPTIONS = {"scheme": "extra_class", "positions": 32, "pool": 2, "taught": 1}
LOST = r"extra_class \w{12}: the trigger corpus samples/.* is missing .* or name another claim with --claim"


@pytest.fixture
def vault(tmp_path):
    with fixed_vault(tmp_path / "vault") as opened:
        yield opened


@pytest.fixture
def claims(vault):
    """Two claims that need different corpora, as two models bear them."""
    drawn = [drawn_for(vault, committed(vault, inputs=digits()[:some], **OPTIONS), "", AT) for some in (None, 600)]
    for one, model in zip(drawn, ("digits.onnx", "digits_independent.onnx"), strict=True):
        registered(vault, one, demo_file(model))
    return drawn


def lose(vault, drawn) -> None:
    (vault.root / "samples" / f"{drawn.channel.samples[:32]}.npz").unlink()


def issued(vault, drawn, path):
    issue_key(vault, KeyIssuing("Acme", path, AT, claim=drawn.channel.commitment[:12]))
    return Presented(path, AT)


def test_a_picture_of_a_claim_that_can_be_drawn_is_known_whatever_else_is_lost(vault, claims, tmp_path):
    first, second = claims
    presented = issued(vault, first, tmp_path / "acme.png")
    lose(vault, second)
    assert authenticate_key(vault, presented).recipient == "Acme"
    issue_key(vault, KeyIssuing("Beta", tmp_path / "b.png", AT, claim=first.channel.commitment[:12]))
    with pytest.raises(VaultError, match=LOST):
        issue_key(vault, KeyIssuing("Beta", tmp_path / "c.png", AT))


def test_a_picture_is_not_nobodys_while_a_claim_is_lost(vault, claims, tmp_path):
    first, second = claims
    presented = issued(vault, first, tmp_path / "acme.png")
    with Image.open(presented.picture) as picture:
        noise = np.random.default_rng(0).integers(0, 256, np.asarray(picture).shape, dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    strange = Presented(tmp_path / "noise.png", AT)
    assert authenticate_key(vault, strange).status == "not_ours"
    lose(vault, first)
    for one in (presented, strange):
        with pytest.raises(VaultError, match=LOST):
            authenticate_key(vault, one)
    named = Presented(tmp_path / "noise.png", AT, second.channel.commitment[:12])
    assert authenticate_key(vault, named).status == "not_ours"
