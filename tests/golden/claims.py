"""Claims as a release laid them down: a fixed owner, the demo's model, one recipient, and all that became of it.

`python -m tests.golden.claims` writes those of the present version to fixtures/claims/, once; what a release has
written stays there for ever, and every later release must reproduce it and judge it alike.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from onnxfp import __version__
from onnxfp.demo import path as demo_file
from onnxfp.domain import Verdict
from onnxfp.keys.keyfile import OwnerKey
from onnxfp.keys.keystream import Keystream
from onnxfp.ledger import ReferenceEntry, create_ledger
from onnxfp.report.plain import to_plain
from onnxfp.workflows.attack import attack
from onnxfp.workflows.issue import Issuing, issue
from onnxfp.workflows.judge import Question
from onnxfp.workflows.reference import Reference
from onnxfp.workflows.register import Registration, register
from onnxfp.workflows.trace import trace_file
from onnxfp.workflows.vault import Vault
from onnxfp.workflows.verify import verify_file

CLAIMS = Path(__file__).resolve().parents[2] / "fixtures" / "claims"
SECRET = bytes(range(32))
AT = "2026-01-02T03:04:05+00:00"
RECIPIENT = "Golden Recipient"
SCHEMES = {"spread": {}, "spread-uniform": {"code": "uniform"}, "deepmarks": {}, "deepmarks-tardos": {"code": "tardos"}}


@contextmanager
def golden_vault() -> Iterator[Vault]:
    """A vault of the fixed owner, gone afterwards."""
    with TemporaryDirectory() as folder:
        root = Path(folder)
        chain_key = Keystream(SECRET).derive("ledger").secret
        with create_ledger(root / "ledger.db", chain_key) as ledger:
            yield Vault(root, OwnerKey(SECRET), ledger)


def laid_down(name: str) -> dict[str, Any]:
    """What this release records of the model under one scheme and its present defaults."""
    with golden_vault() as vault:
        register(vault, Registration(demo_file("digits.onnx"), name.partition("-")[0], SCHEMES[name], AT))
        (entry,) = vault.ledger.references()
        return {"commitment": entry.commitment, "digest": entry.digest, "payload": dict(entry.payload)}


def consequences(claim: dict[str, Any]) -> dict[str, Any]:
    """What follows from a recorded claim, by the owner's key alone: words, a copy, and verdicts."""
    with golden_vault() as vault:
        model = vault.root / "model.onnx"
        model.write_bytes(demo_file("digits.onnx").read_bytes())
        commitment, digest, payload = claim["commitment"], claim["digest"], claim["payload"]
        entry = vault.ledger.register(ReferenceEntry(digest, digest, "model.onnx", commitment, payload, AT))
        words = {
            drawn.channel.role: "".join(map(str, drawn.words([RECIPIENT])[0][:64].tolist()))
            for drawn in Reference.of_entry(vault, entry).drawn(vault)
        }
        copy, pruned = vault.root / "copy.onnx", vault.root / "pruned.onnx"
        issue(vault, Issuing(model, RECIPIENT, copy, AT, budget=1.0))
        attack([copy], "prune:0.5", pruned, 1, force=False)
        (issued,) = vault.ledger.issues()
        return {
            "words": words,
            "mark": issued.artifact,
            "copy": hashlib.sha256(copy.read_bytes()).hexdigest(),
            "verdicts": {
                f"{question} {suspect.stem}": _told(judge(vault, Question(suspect, 1e-6, AT), lambda step: None))
                for suspect in (copy, pruned, model)
                for question, judge in (("trace", trace_file), ("verify", verify_file))
            },
        }


def _told(verdict: Verdict) -> dict[str, Any]:
    return {key: value for key, value in to_plain(verdict).items() if key != "onnxfp_version"}


def main() -> None:
    """Write the claims of the present version."""
    folder = CLAIMS / f"v{__version__}"
    folder.mkdir(parents=True)
    for name in SCHEMES:
        claim = laid_down(name)
        text = json.dumps({**claim, **consequences(claim)}, indent=1, sort_keys=True)
        (folder / f"{name}.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
