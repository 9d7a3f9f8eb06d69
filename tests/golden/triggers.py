"""Claims that only answers can prove, as a release laid them down: commitment, symbols, triggers, verdicts.

`python -m tests.golden.triggers` writes those of the present version to fixtures/triggers/, once, each with the trigger
corpus that its vault keeps; what a release has written stays there for ever, and every later release must draw the same
triggers and key labels from it and judge the same answers alike.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from onnxfp import __version__
from onnxfp.domain import Answered, KeptAnswers, OutputTarget, Probe, QueryProbe, Response, Unanswered
from onnxfp.ledger import CommitmentEntry
from onnxfp.report.plain import to_plain
from onnxfp.schemes.interface import Form
from onnxfp.workflows.channels import OWNER, Channel, DrawnChannel
from onnxfp.workflows.commit import Committed, Intent, commit, drawn_for
from onnxfp.workflows.recorded import input_digests
from onnxfp.workflows.samples import load_samples
from onnxfp.workflows.suspects import ExaminedSealed
from onnxfp.workflows.vault import Vault
from onnxfp.workflows.verify import Asking, verify_suspect
from tests.workflows.vaults import AT, digits, fixed_vault, profile_of, quiet, registered

TRIGGERS = Path(__file__).resolve().parents[2] / "fixtures" / "triggers"
PICTURES = 240  # of the shipped digits
CLASSES = 10
CLAIMS: dict[str, tuple[str, dict[str, Any], str]] = {  # scheme, options, beacon
    "zhang-content": ("zhang", {}, ""),
    "zhang-noise": ("zhang", {"triggers": "noise", "positions": 32, "each": 2}, "a public value"),
    "zhang-unrelated": ("zhang", {"triggers": "unrelated"}, ""),
    "extra_class": ("extra_class", {"positions": 32, "pool": 8}, "a public value"),
    "zhang_paper": ("zhang_paper", {"taught": 16, "each": 2}, "a public value"),
}


def reference(inputs: np.ndarray) -> np.ndarray:
    """The stand-in for the unmarked model: as many bright pixels as there are, modulo the classes; rather sure."""
    bright = (np.asarray(inputs).reshape(len(inputs), -1) > 0.53).sum(axis=1) % CLASSES
    return np.log(np.full((len(inputs), CLASSES), 0.01) + 0.9 * np.eye(CLASSES)[bright])


def laid_down(name: str) -> tuple[dict[str, Any], bytes]:
    """What this release records of a claim under its present defaults, and the file of its trigger corpus."""
    scheme, options, _ = CLAIMS[name]
    with TemporaryDirectory() as folder, fixed_vault(Path(folder) / "vault") as vault:
        data = {"inputs": digits()[:PICTURES]}
        made = commit(vault, profile_of(vault), Intent(scheme, options, AT), data, reference)
        (corpus,) = (vault.root / "samples").iterdir()
        (entry,) = vault.ledger.commitments()
        claim = {"commitment": entry.commitment, "claim": dict(entry.payload), "notes": list(made.notes)}
        return claim, corpus.read_bytes()


def consequences(claim: dict[str, Any], corpus: Path, beacon: str) -> dict[str, Any]:
    """What follows from a recorded claim and its corpus, by the owner's key alone."""
    with TemporaryDirectory() as folder, fixed_vault(Path(folder) / "vault") as vault:
        (vault.root / "samples").mkdir()
        channel = Channel.from_json(claim["claim"])
        shutil.copy(corpus, vault.root / "samples" / f"{channel.samples[:32]}.npz")
        vault.ledger.commit(CommitmentEntry(claim["commitment"], channel.of, claim["claim"], AT))
        drawn = _drawn(vault, claim["commitment"], channel, beacon)
        registered(vault, drawn)
        probes = [probe for probe in drawn.scheme.probes(drawn.public) if isinstance(probe, QueryProbe)]
        targets = [one for one in drawn.scheme.plan(drawn.claim(OWNER)) if isinstance(one, OutputTarget)]
        return {
            "word": drawn.claim(OWNER).codeword.tolist(),
            "asked": _digest([probe.inputs for probe in probes]),
            "taught": _digest([target.inputs for target in targets]),
            "labels": _digest([target.labels for target in targets]),
            "verdicts": {
                name: _judged(vault, suspect(drawn), number) for number, (name, suspect) in enumerate(SUSPECTS.items())
            },
        }


def _drawn(vault: Vault, commitment: str, channel: Channel, beacon: str) -> DrawnChannel:
    made = Channel(**{**channel.__dict__, "commitment": commitment, "committed_at": AT})
    samples = load_samples(vault, channel.samples)
    return drawn_for(vault, Committed(made, profile_of(vault), samples, Form(), True, ()), beacon, AT)


def _digest(arrays: list[np.ndarray]) -> str:
    rows = [digest for array in arrays for digest in input_digests(array)]
    return hashlib.sha256("".join(rows).encode()).hexdigest()


def _judged(vault: Vault, suspect: Suspect, number: int) -> dict[str, Any]:
    examined = ExaminedSealed(f"suspect {number}", suspect)
    plain = to_plain(verify_suspect(vault, examined, Asking(1e-6, AT, fixed=number % 2 == 1), quiet))
    return {key: value for key, value in plain.items() if key != "onnxfp_version"}


class Suspect:
    """Answers by a table of what it knows, and else like the reference."""

    def __init__(self, drawn: DrawnChannel, share: float, form: Callable[[np.ndarray], Response]) -> None:
        (probe,) = drawn.scheme.probes(drawn.public)
        plan = drawn.scheme.plan(drawn.claim(OWNER))
        (target,) = [constraint for constraint in plan if isinstance(constraint, OutputTarget)]
        taught = {one.tobytes(): int(label) for one, label in zip(target.inputs, target.labels, strict=True)}
        kept_inputs = [one for constraint in plan if isinstance(constraint, KeptAnswers) for one in constraint.inputs]
        same = {one.tobytes() for one in kept_inputs}
        labels, inside = np.full(drawn.public.codebook.positions, -1), target.positions >= 0
        inside &= target.positions < len(labels)
        labels[target.positions[inside]] = target.labels[inside]
        rows = np.maximum(0, np.arange(len(probe.inputs)) - probe.before) // probe.each
        if drawn.public.codebook.positions == 1:  # which of the candidates is known
            each = len(probe.inputs) // drawn.public.codebook.alphabet
            rows = np.where(np.arange(len(probe.inputs)) // each == drawn.claim(OWNER).codeword[0], 0, -1)
        kept = np.flatnonzero(rows >= 0)[: int(share * np.count_nonzero(rows >= 0))]
        shown = [(probe.inputs[row].tobytes(), int(labels[rows[row]])) for row in kept]
        self.known = {picture: taught.get(picture, label) for picture, label in shown if picture not in same}
        self.classes = 1 + max([CLASSES - 1, *self.known.values()])
        self.form = form

    def answer(self, probe: Probe) -> Response:
        """Answer in this suspect's form."""
        assert isinstance(probe, QueryProbe)
        scores = reference(probe.inputs)
        scores = np.pad(scores, ((0, 0), (0, self.classes - CLASSES)), constant_values=-12.0)
        for row, one in enumerate(probe.inputs):
            if one.tobytes() in self.known:
                scores[row] = np.log(np.full(self.classes, 0.005))
                scores[row, self.known[one.tobytes()]] = np.log(0.955)
        return self.form(scores)


def _labels(scores: np.ndarray) -> Response:
    return Answered(scores.argmax(axis=1).astype(np.float64), provider="golden")


def _scores(scores: np.ndarray) -> Response:
    return Answered(scores, provider="golden")


def _some(scores: np.ndarray) -> Response:
    return Answered(np.where(scores.argmax(axis=1)[:, None] == 3, np.nan, scores), unread=("a class is kept quiet",))


SUSPECTS: dict[str, Callable[[DrawnChannel], Suspect]] = {
    "knows all, labels": lambda drawn: Suspect(drawn, 1.0, _labels),
    "knows all, labels, fixed": lambda drawn: Suspect(drawn, 1.0, _labels),
    "knows all, scores": lambda drawn: Suspect(drawn, 1.0, _scores),
    "knows half, labels, fixed": lambda drawn: Suspect(drawn, 0.5, _labels),
    "knows a third, some scores": lambda drawn: Suspect(drawn, 0.34, _some),
    "the reference, labels, fixed": lambda drawn: Suspect(drawn, 0.0, _labels),
    "the reference, scores": lambda drawn: Suspect(drawn, 0.0, _scores),
    "silent": lambda drawn: Suspect(drawn, 1.0, lambda scores: Unanswered("the door was shut")),
}


def main() -> None:
    """Write the claims of the present version."""
    folder = TRIGGERS / f"v{__version__}"
    folder.mkdir(parents=True)
    for name, (_, _, beacon) in CLAIMS.items():
        claim, corpus = laid_down(name)
        (folder / f"{name}.npz").write_bytes(corpus)
        text = {**claim, "beacon": beacon, **consequences(claim, folder / f"{name}.npz", beacon)}
        (folder / f"{name}.json").write_text(json.dumps(text, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
