"""Models that never saw a trigger: what schemes ask as the unmarked reference, and what they must not accuse."""

from __future__ import annotations

import numpy as np

from onnxfp.domain import Answered, Claim, ModelProfile, PublicClaim

PROFILE = ModelProfile("00" * 32, ())


def classifier(classes: int, seed: int = 0):
    """A fixed random linear model: inputs (samples, ...) to log-probabilities (samples, classes)."""

    def ask(inputs: np.ndarray) -> np.ndarray:
        flat = np.asarray(inputs, dtype=np.float64).reshape(len(inputs), -1)
        weights = np.random.default_rng(seed).standard_normal((flat.shape[1], classes))
        logits = (flat - flat.mean()) / max(float(flat.std()), 1e-12) @ weights / np.sqrt(flat.shape[1]) * 3
        return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))

    return ask


def key_of(scheme, keystream, data, ask, **options):
    """Draw a key as marking does: select, keygen, lint."""
    chosen = scheme.options(options)
    key = scheme.keygen(PROFILE, scheme.select(data, chosen, keystream, ask), chosen, keystream)
    scheme.lint(key)
    return key


def claim_of(key, keystream, name: str = "owner") -> Claim:
    """The claim about one name under a key."""
    codebook = key.code.codebook(keystream, key.positions)
    return Claim(PublicClaim(key, codebook), key.code.words(keystream, codebook, [name])[0])


def labels_of(answers: np.ndarray) -> Answered:
    """Answers (samples, classes) as labels."""
    return Answered(answers.argmax(axis=1).astype(np.float64))
