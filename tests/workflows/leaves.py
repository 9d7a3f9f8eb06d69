"""A vault whose reference has copies that answer in their own way, laid down without any training; suspects of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import TensorProto, numpy_helper

from onnxfp.artifact import carriers, head_of, open_artifact
from onnxfp.domain import ModelProfile
from onnxfp.workflows.channels import RECIPIENT, DrawnChannel, draw
from onnxfp.workflows.commit import Intent, commit, drawn_for
from onnxfp.workflows.digests import cached_digest
from onnxfp.workflows.judge import registered_references
from onnxfp.workflows.leaf_file import digest_of_leaf
from onnxfp.workflows.register import Registration, channels_of, record
from onnxfp.workflows.vault import Vault
from tests.suspect import runnable_models as models
from tests.workflows.vaults import ASK, AT, MODEL, digits

COPY = "ef" * 32  # digest of a copy that nobody looks at


def prepared(vault: Vault, model: Path = MODEL, beacon: str = "", **options: object) -> DrawnChannel:
    """Commit to triggers of the shipped digits, draw, and register a model as one that was prepared with them."""
    with open_artifact(model) as artifact:
        found, head = carriers(artifact), head_of(artifact)
        profile = ModelProfile(cached_digest(artifact, vault.root / "digests.json"), found, head)
        assert head is not None
        features = np.random.default_rng(0).standard_normal((200, head.features))
        data = {"inputs": digits(), "features": features}
        intent = Intent("deeptrace", {"taught": 1, "labels": 8, **options}, AT)
        if beacon:
            commit(vault, profile, intent, data, ASK)
        drawn = drawn_for(vault, commit(vault, profile, intent, data, ASK), beacon, AT)
        besides = ModelProfile(profile.digest, tuple(one for one in found if one.name not in drawn.written()))
        registration = Registration(model, "spread", {}, AT)
        key = vault.reference_key(profile.digest)
        weights = [draw(channel, besides, key) for channel in channels_of(registration)]
        record(vault, registration, artifact, besides, [*weights, drawn])
    return drawn


def the_channel(vault: Vault) -> tuple[DrawnChannel, str]:
    """The channel that tells copies apart by their answers, drawn again from the vault, and its reference's digest."""
    for reference in registered_references(vault):
        for channel in reference.channels:
            if channel.role == RECIPIENT and channel.commitment:
                return reference.draw(vault, channel), reference.digest
    raise LookupError("no such channel")


def issued(vault: Vault, *recipients: str) -> None:
    """Enter copies into the ledger as `issue` does, without writing any."""
    drawn, reference = the_channel(vault)
    for name in recipients:
        vault.ledger.reserve(reference, name, AT)
        vault.ledger.complete(reference, name, COPY, AT, digest_of_leaf([drawn], name, reference))


def knower(path: Path, inputs: np.ndarray, labels: np.ndarray) -> Path:
    """A model that answers every input with the label of the one among some inputs that is nearest to it."""
    flat = inputs.reshape(len(inputs), -1).astype(np.float32)
    constants = [
        models.constant("flat", [-1, flat.shape[1]]),
        numpy_helper.from_array(flat.T.copy(), "w"),
        numpy_helper.from_array(-(flat**2).sum(axis=1) / 2, "b"),
        models.constant("labels", labels),
    ]
    nodes = [
        models.node("Reshape", ["x", "flat"], ["f"]),
        models.node("Gemm", ["f", "w", "b"], ["s"]),
        models.node("ArgMax", ["s"], ["n"], axis=1, keepdims=0),
        models.node("Gather", ["labels", "n"], ["y"]),
    ]
    shape = ["n", *inputs.shape[1:]]
    return models.write(path, nodes, [models.info("x", shape)], [models.info("y", None, TensorProto.INT64)], constants)


def copy_of(vault: Vault, path: Path, recipient: str) -> Path:
    """A model that answers as a recipient's copy would."""
    drawn, _ = the_channel(vault)
    key = drawn.public.key
    return knower(path, key.asked, key.reference.classes[drawn.words([recipient])[0]])
