"""Plans of pools as a release laid them down: commitment, pools, rows to train on, verdicts.

`python -m tests.golden.pools` writes those of the present version to fixtures/pools/, once, each with what its vault
keeps; what a release has written stays there for ever, and every later release must draw the same rows from it and
judge the same answers alike. Nothing is trained: suspects answer by a formula, rather surely where they are members.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from onnxfp import __version__
from onnxfp.demo import path as demo_file
from onnxfp.domain import Answered, Membership, ModelProfile, Probe, QueryProbe, Response
from onnxfp.ledger import CommitmentEntry
from onnxfp.report.plain import to_plain
from onnxfp.schemes.interface import Form
from onnxfp.workflows.candidates import Candidates
from onnxfp.workflows.channels import OWNER, RECIPIENT, Channel, DrawnChannel
from onnxfp.workflows.commit import Committed, Intent, commit, drawn_for
from onnxfp.workflows.plan_pools import register_plan
from onnxfp.workflows.pool_data import PoolData
from onnxfp.workflows.samples import load_samples
from onnxfp.workflows.suspects import ExaminedSealed
from onnxfp.workflows.trace import ANSWERS, Tracing, trace_suspect
from onnxfp.workflows.vault import Vault
from onnxfp.workflows.verify import Asking, verify_suspect
from tests.workflows.vaults import AT, fixed_vault, quiet

POOLS = Path(__file__).resolve().parents[2] / "fixtures" / "pools"
CLASSES = 10
RECIPIENTS = ("Acme Corp", "Beta GmbH")
PLANS: dict[str, tuple[str, dict[str, Any]]] = {  # whose, options
    "pairs": (OWNER, {}),
    "one-of-five": (OWNER, {"pools": 5, "size": 2}),
    "recipients": (RECIPIENT, {"positions": 400}),
}


def candidates() -> Candidates:
    """The shipped digits."""
    with np.load(demo_file("digits_train.npz")) as arrays:
        return Candidates(arrays["inputs"], arrays["labels"].astype(np.int64), "d1" * 32)


def laid_down(name: str) -> tuple[dict[str, Any], bytes]:
    """What this release records of a plan under its present defaults, and the file of what its vault keeps."""
    role, options = PLANS[name]
    data = candidates()
    with TemporaryDirectory() as folder, fixed_vault(Path(folder) / "vault") as vault:
        made = commit(vault, ModelProfile(data.digest, ()), Intent("pools", options, AT, role), data.samples, _nobody)
        (kept,) = (vault.root / "samples").iterdir()
        (entry,) = vault.ledger.commitments()
        plan = {"commitment": entry.commitment, "claim": dict(entry.payload), "notes": list(made.notes)}
        return plan, kept.read_bytes()


def consequences(plan: Mapping[str, Any], kept: Path) -> dict[str, Any]:
    """What follows from a recorded plan and what is kept of it, by the owner's key alone."""
    with TemporaryDirectory() as folder, fixed_vault(Path(folder) / "vault") as vault:
        (vault.root / "samples").mkdir()
        channel = Channel.from_json(plan["claim"])
        shutil.copy(kept, vault.root / "samples" / f"{channel.samples[:32]}.npz")
        vault.ledger.commit(CommitmentEntry(plan["commitment"], channel.of, plan["claim"], AT))
        made = Channel(**{**channel.__dict__, "commitment": plan["commitment"], "committed_at": AT})
        data = candidates()
        samples = {**load_samples(vault, channel.samples), **data.samples}
        profile = ModelProfile(data.digest, ())
        drawn = drawn_for(vault, Committed(made, profile, samples, Form(), True, ()), "", AT)
        entry = register_plan(vault, drawn, profile, AT)
        names = RECIPIENTS if channel.role == RECIPIENT else (OWNER,)
        for recipient in names if channel.role == RECIPIENT else ():
            vault.ledger.reserve(entry.reference, recipient, AT)
        return {
            "words": {one: _digest(drawn.words([one]).astype("<u2")) for one in names},
            "rows": {one: _digest(_rows(drawn, one).astype("<i8")) for one in names},
            "verdicts": {
                form: _judged(vault, drawn, names[0], form, data) for form in ("scores", "labels", "stranger", "sure")
            },
        }


def _judged(vault: Vault, drawn: DrawnChannel, whose: str, form: str, data: Candidates) -> dict[str, Any]:
    suspect = ExaminedSealed(form, Suspect(data, set(_rows(drawn, whose).tolist()), form))
    given = PoolData(data)
    if drawn.channel.role == RECIPIENT:
        verdict = trace_suspect(vault, suspect, Tracing(1e-6, AT, ANSWERS), quiet, None, given)
    else:
        verdict = verify_suspect(vault, suspect, Asking(1e-6, AT), quiet, None, given)
    return {key: value for key, value in to_plain(verdict).items() if key != "onnxfp_version"}


def _rows(drawn: DrawnChannel, name: str) -> np.ndarray:
    (constraint,) = drawn.scheme.plan(drawn.claim(name))
    assert isinstance(constraint, Membership)
    return constraint.rows


def _digest(array: np.ndarray) -> str:
    return hashlib.sha256(array.tobytes()).hexdigest()


@dataclass(frozen=True)
class Suspect:
    """Answers by a formula, with half the doubt where it is a member; a stranger is a member of nothing."""

    data: Candidates
    members: set[int]
    form: str

    def answer(self, probe: Probe) -> Response:
        """Answer in this suspect's form."""
        assert isinstance(probe, QueryProbe)
        known = {row.tobytes(): number for number, row in enumerate(self.data.inputs)}
        rows = [known[one.tobytes()] for one in np.asarray(probe.inputs)]
        bright = self.data.inputs[rows].reshape(len(rows), -1).sum(axis=1, dtype=np.float64)
        doubt = 0.02 + 0.6 * np.abs(np.sin(1000.0 * bright))
        if self.form != "stranger":
            doubt = np.where(np.isin(rows, list(self.members)), 0.5 * doubt, doubt)
        if self.form == "sure":
            doubt = np.full_like(doubt, 0.01)
        labels = self.data.labels[rows]
        scores = np.repeat(doubt[:, None] / (CLASSES - 1), CLASSES, axis=1)
        scores[np.arange(len(rows)), (labels + 1) % CLASSES] += np.where(doubt > 0.35, 0.4, 0.0)
        scores[np.arange(len(rows)), labels] = 1.0 - doubt
        values = np.log(scores / scores.sum(axis=1, keepdims=True))
        if self.form == "labels":
            return Answered(values.argmax(axis=1).astype(np.float64), provider="golden")
        return Answered(values, provider="golden")


def _nobody(inputs: np.ndarray) -> np.ndarray:
    raise AssertionError(f"a plan asks no model, and none about {len(inputs)} inputs")


def main() -> None:
    """Write the plans of this release; what it has written before must not change."""
    for name in PLANS:
        path = POOLS / f"v{__version__}" / f"{name}.json"
        if path.exists():
            continue
        plan, kept = laid_down(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".npz").write_bytes(kept)
        document = {**plan, **consequences(plan, path.with_suffix(".npz"))}
        path.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
