"""Claims about copies that answer each in its own way, as a release laid them down: words, leaves, bytes, verdicts.

`python -m tests.golden.copies` writes those of the present version to fixtures/copies/, once, each with the corpus that
its vault keeps and one recipient's leaf file; what a release has written stays there for ever. From it every later
release must draw the same triggers, words and leaves, write the same bytes into the same head, and judge the same
answers alike. Nothing is trained: the features are made from the shipped digits, the head by a formula, and suspects
answer from a table.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from onnxfp import __version__
from onnxfp.domain import Answered, Head, Probe, QueryProbe, Response, Segment, Unanswered
from onnxfp.embed.post_hoc import solve
from onnxfp.keys.keystream import Keystream
from onnxfp.ledger import CommitmentEntry
from onnxfp.report.plain import to_plain
from onnxfp.schemes.interface import Form
from onnxfp.workflows.channels import Channel, DrawnChannel
from onnxfp.workflows.check_leaf import check_shown
from onnxfp.workflows.commit import Committed, Intent, commit, drawn_for
from onnxfp.workflows.leaf_file import ShownLeaf, digest_of_leaf, leaf_of, read_leaf
from onnxfp.workflows.samples import load_samples
from onnxfp.workflows.suspects import ExaminedSealed
from onnxfp.workflows.trace import Tracing, trace_suspect
from onnxfp.workflows.vault import Vault
from tests.golden.triggers import CLASSES, PICTURES, reference
from tests.workflows.vaults import AT, SECRET, digits, fixed_vault, profile_of, quiet, registered

COPIES = Path(__file__).resolve().parents[2] / "fixtures" / "copies"
FEATURES = 128
ONE, OTHER = "Golden Recipient", "Zażółć & Söhne 株式会社"
RECIPIENTS = ("Holder 1", ONE, "Holder 2", OTHER, "Holder 3")
CLAIMS: dict[str, tuple[dict[str, Any], Head, str]] = {  # options, head, beacon
    "usual": ({}, Head("head", (CLASSES, FEATURES), 0, 1.9), ""),
    "few-answers": (
        {"positions": 18, "labels": 4, "taught": 5},
        Head("classes", (FEATURES, CLASSES), 1, 0.7),
        "a public value",
    ),
}


def ask(inputs: np.ndarray) -> np.ndarray:
    """The stand-in for the unmarked model, in steps that all machines take alike."""
    return np.rint(reference(inputs) * 64) / 64


def heard() -> np.ndarray:
    """What the head hears of the shipped digits: (samples, features) in whole numbers; of some features never any."""
    weights = Keystream(SECRET).derive("features").words32(FEATURES * 64).reshape(FEATURES, 64).astype(np.int64) % 3 - 1
    weights[::16] = -1
    return np.maximum(0, (digits().reshape(-1, 64) * 16).astype(np.int64) @ weights.T)


def head_weights(segment: Segment) -> np.ndarray:
    """The fixed head, row by row; some of its weights are 0."""
    number = np.arange(segment.start, segment.start + segment.size)
    return ((7 * number**2 + 3 * number) % 509 - 254).astype(np.float32) / 128


def laid_down(name: str) -> tuple[dict[str, Any], bytes]:
    """What this release records of a claim under its present defaults, and the file of its corpus."""
    options, head, _ = CLAIMS[name]
    with TemporaryDirectory() as folder, fixed_vault(Path(folder) / "vault") as vault:
        profile = replace(profile_of(vault), head=head)
        data = {"inputs": digits()[:PICTURES], "features": heard()}
        made = commit(vault, profile, Intent("deeptrace", options, AT), data, ask)
        (corpus,) = (vault.root / "samples").iterdir()
        (entry,) = vault.ledger.commitments()
        claim = {"commitment": entry.commitment, "claim": dict(entry.payload), "notes": list(made.notes)}
        return claim, corpus.read_bytes()


@contextmanager
def recalled(claim: Mapping[str, Any], corpus: Path) -> Iterator[Recalled]:
    """A vault with a recorded claim, its corpus and its recipients; all else is drawn by the owner's key."""
    channel = Channel.from_json(claim["claim"])
    with TemporaryDirectory() as folder, fixed_vault(Path(folder) / "vault") as vault:
        (vault.root / "samples").mkdir()
        shutil.copy(corpus, vault.root / "samples" / f"{channel.samples[:32]}.npz")
        vault.ledger.commit(CommitmentEntry(claim["commitment"], channel.of, claim["claim"], AT))
        made = replace(channel, commitment=claim["commitment"], committed_at=AT)
        known = Committed(made, profile_of(vault), load_samples(vault, channel.samples), Form(), True, ())
        drawn = drawn_for(vault, known, claim["beacon"], AT)
        registered(vault, drawn)
        (entry,) = vault.ledger.references()
        for name in RECIPIENTS:
            vault.ledger.reserve(entry.reference, name, AT)
        yield Recalled(vault, drawn, entry.digest)


@dataclass(frozen=True)
class Recalled:
    """What follows from a recorded claim."""

    vault: Vault
    drawn: DrawnChannel
    reference: str

    def draws(self) -> dict[str, Any]:
        """What is asked, taught and written."""
        public, both = self.drawn.public, (ONE, OTHER)
        (probe,), (taught,) = self.drawn.scheme.probes(public), self.drawn.scheme.prepare(public)
        return {
            "asked": _digest(probe.inputs),
            "taught": _digest(taught.inputs, taught.positions, taught.classes),
            "words": {name: self.drawn.words([name])[0].tolist() for name in both},
            "leaves": {name: digest_of_leaf([self.drawn], name, self.reference) for name in both},
            "bytes": {name: _digest(*_written(self.drawn, name)) for name in both},
        }

    def leaf_file(self) -> bytes:
        """The leaf file of `ONE`."""
        shown = leaf_of(self.drawn, ONE, self.reference)
        assert shown is not None
        return shown.packed(AT)

    def verdicts(self) -> dict[str, Any]:
        """Who is named for the answers of each suspect."""
        found = {}
        for number, (name, make) in enumerate(SUSPECTS.items()):
            examined = ExaminedSealed(f"suspect {number}", make(self.drawn))
            plain = to_plain(trace_suspect(self.vault, examined, Tracing(1e-6, AT, "answers"), quiet))
            found[name] = {key: value for key, value in plain.items() if key != "onnxfp_version"}
        return found


def checked(leaf: Path) -> dict[str, Any]:
    """What whoever was given a leaf file finds, of who knows all of its word, half of it, and nothing."""
    shown, issued_at = read_leaf(leaf)
    found = {}
    for kept in (1.0, 0.5, 0.0):
        suspect = Suspect(_known_of(shown, kept), _labels)
        told = to_plain(check_shown(shown, issued_at, suspect, 1e-6))
        found[f"{kept:.0%} known"] = {key: told[key] for key in ("decision", "recipient", "leaf", "hits", "issued_at")}
    return found


def _written(drawn: DrawnChannel, name: str) -> list[np.ndarray]:
    """The whole head of a recipient's copy."""
    changes = solve(drawn.scheme.plan(drawn.claim(name)), head_weights, budget=1.0)
    assert [change.segment.size for change in changes] == [prod(drawn.public.key.head.shape)]
    return [change.values for change in changes]


def _digest(*arrays: np.ndarray) -> str:
    total = hashlib.sha256()
    for array in arrays:
        total.update(repr((array.dtype.str, array.shape)).encode() + array.tobytes())
    return total.hexdigest()


# --- suspects ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Suspect:
    """Answers by a table of what it knows, and else like the reference."""

    known: Mapping[bytes, np.ndarray]
    """Trigger to log-probabilities (classes,)."""
    form: Callable[[np.ndarray], Response]

    def answer(self, probe: Probe) -> Response:
        """Answer in this suspect's form."""
        assert isinstance(probe, QueryProbe)
        usual = ask(probe.inputs)
        rows = [self.known.get(one.tobytes(), own) for one, own in zip(probe.inputs, usual, strict=True)]
        return self.form(np.stack(rows))


def _known(drawn: DrawnChannel, whose: Callable[[int], Sequence[str]]) -> dict[bytes, np.ndarray]:
    """Each trigger with the symbols of those whose it is there; named twice, one's is twice as probable."""
    key = drawn.public.key
    labels = {name: key.reference.classes[drawn.words([name])[0]] for name in RECIPIENTS}
    held = {row: [labels[name][row] for name in whose(row)] for row in range(key.positions)}
    return {key.asked[row].tobytes(): _sure(classes) for row, classes in held.items() if classes}


def _known_of(shown: ShownLeaf, share: float) -> dict[bytes, np.ndarray]:
    labels = shown.asked.classes[shown.word[0]]
    kept = range(int(share * len(labels)))
    return {shown.inputs[row].tobytes(): _sure([labels[row]]) for row in kept}


def _sure(classes: Sequence[int]) -> np.ndarray:
    return np.log(0.005 + 0.95 * np.mean(np.eye(CLASSES)[classes], axis=0))


def _labels(scores: np.ndarray) -> Response:
    return Answered(scores.argmax(axis=1).astype(np.float64), provider="golden")


def _scores(scores: np.ndarray) -> Response:
    return Answered(scores, provider="golden")


def _garbage(scores: np.ndarray) -> Response:
    return Answered(np.resize([np.inf, -np.inf, np.nan, -1.0, 0.5, 1e300], len(scores)))


def _silent(scores: np.ndarray) -> Response:
    return Unanswered("the door was shut")


def _suspect(whose: Callable[[int], Sequence[str]], form: Callable[[np.ndarray], Response]) -> Callable[..., Suspect]:
    return lambda drawn: Suspect(_known(drawn, whose), form)


SUSPECTS: dict[str, Callable[[DrawnChannel], Suspect]] = {
    "knows all, labels": _suspect(lambda row: [ONE], _labels),
    "knows all, scores": _suspect(lambda row: [ONE], _scores),
    "knows all of the other, labels": _suspect(lambda row: [OTHER], _labels),
    "knows three quarters, labels": _suspect(lambda row: [ONE] if row % 4 else [], _labels),
    "knows an eighth, labels": _suspect(lambda row: [] if row % 8 else [ONE], _labels),
    "one or the other, labels": _suspect(lambda row: [ONE] if row % 5 < 3 else [OTHER], _labels),
    "mix of both, scores": _suspect(lambda row: [ONE, ONE, OTHER], _scores),
    "the reference, labels": _suspect(lambda row: [], _labels),
    "the reference, scores": _suspect(lambda row: [], _scores),
    "silent": _suspect(lambda row: [ONE], _silent),
    "garbage": _suspect(lambda row: [ONE], _garbage),
}


def main() -> None:
    """Write the claims of the present version."""
    folder = COPIES / f"v{__version__}"
    folder.mkdir(parents=True)
    for name, (_, _, beacon) in CLAIMS.items():
        claim, corpus = laid_down(name)
        kept, leaf = folder / f"{name}.npz", folder / f"{name}.leaf.npz"
        kept.write_bytes(corpus)
        claim |= {"beacon": beacon}
        with recalled(claim, kept) as follows:
            leaf.write_bytes(follows.leaf_file())
            text = {**claim, **follows.draws(), "verdicts": follows.verdicts(), "checked": checked(leaf)}
        (folder / f"{name}.json").write_text(json.dumps(text, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
