"""Query modification: what a filter before the model leaves of an additional class, and of three other schemes.

    python -m bench.extra_queries

The same filters (`bench.autoencoder`) before Fashion-MNIST models that were marked with an additional class, with two
kinds of triggers (`bench.marking`), and by adversarial frontier stitching (`bench.frontier`).
"""

from __future__ import annotations

import hashlib
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from bench import autoencoder, extra_marked, frontier, marking, removal
from bench.autoencoder import Wrap
from bench.extra_strangers import in_the_class
from bench.images import data
from bench.marking import ALPHA
from bench.results import RESULTS, is_kept, kept, markdown, spread
from bench.strangers import Fresh
from bench.taught import Subject
from onnxfp.domain import Access
from onnxfp.suspect.session import open_session
from onnxfp.workflows.channels import OWNER
from onnxfp.workflows.claims import chosen_claims
from onnxfp.workflows.judge import registered_references

DATA = "fashion_mnist"
SEEDS = (0, 1, 2)
FILTERS = (
    *(
        "none",
        "autoencode",
        "autoencode:0.05",
        "autoencode:0.01",
        "jpeg:75",
        "jpeg:50",
        "jpeg:25",
        "blur:0.5",
        "blur:1",
    ),
    *("blur:2", "quantise:4", "quantise:2", "resize:0.5", "crop:2", "crop:4", "noise:0.1"),
)
CALLED = {
    "none": "nothing",
    "autoencode": "auto-encoder, always",
    "autoencode:0.05": "auto-encoder, where the divergence exceeds that of 95 % of ordinary inputs",
    "autoencode:0.01": "auto-encoder, where it exceeds that of 99 %",
}
DROPPED = ("none", "autoencode", "autoencode:0.05", "jpeg:50", "blur:1")
"""Filters that are tried on models whose additional class was dropped."""
GROUPS = {
    "additional class": lambda: extra_marked.subjects("fashion", "drawn"),
    "content": lambda: _with_triggers("content"),
    "noise": lambda: _with_triggers("noise"),
}


def measure(one: Subject, text: str, *, dropped: bool = False) -> dict[str, Any]:
    """Evidence, hits and accuracy behind one filter; kept."""
    return kept(_title(one, text, dropped), lambda: _measured(one, text, dropped))


def _title(one: Subject, text: str, dropped: bool) -> str:
    recipe = repr((autoencoder.RECIPE, autoencoder.OWNED, autoencoder.CALIBRATED))
    made_from = hashlib.sha256(recipe.encode()).hexdigest()[:8]
    return f"queries-{one.folder.name}-{text.replace(':', '-')}{'-dropped' if dropped else ''}-{made_from}"


def _measured(one: Subject, text: str, dropped: bool) -> dict[str, Any]:
    split, wrap = data(DATA), _wraps()[text]
    with tempfile.TemporaryDirectory() as folder:
        path = one.marked
        if dropped:
            path = removal.ON_A_CLASS["drop_class"](one, Path(folder) / "leaked.onnx")
        with open_session(path) as session:
            suspect = wrap(session)
            found = marking.judge(one, suspect, f"behind {text}{', class dropped' if dropped else ''}")
            found["accuracy"] = float(np.mean(autoencoder.labels(suspect, split.x_test) == split.y_test))
            if one.way.scheme == extra_marked.SCHEME:
                claim = _claim(one)
                found |= in_the_class(claim, autoencoder.labels(suspect, claim.inputs))
    return found


def _claim(one: Subject) -> Fresh:
    """The claim that a model was marked with."""
    with one.vault() as vault:
        (claim,) = chosen_claims(registered_references(vault), frozenset({Access.LABELS}), one.way.scheme)
        drawn = claim.reference.draw(vault, claim.channel)
        return Fresh(drawn.scheme, drawn.public, drawn.words([OWNER])[0])


@cache
def _wraps() -> dict[str, Wrap]:
    return autoencoder.modifications(DATA)


def _with_triggers(kind: str) -> list[Subject]:
    return [one for one in marking.subjects("fashion") if one.kind == kind]


# --- telling ----------------------------------------------------------------------------------------------------------


def table(*, whole: bool) -> str:
    """The comparison, and what is left where the class is dropped, too."""
    header = (
        "before the model",
        "additional class: accuracy; keys in the class; log10 e by scores, by labels",
        "content triggers: accuracy; hits; log10 e by scores, by labels",
        "noise triggers: accuracy; hits; log10 e by scores, by labels",
        "frontier stitching: accuracy; keys hit; called ours; the same keys and decision before it was marked",
    )
    rows = [
        (CALLED.get(text, text), *(_group(group, text, whole=whole) for group in GROUPS), _stitched(text, whole=whole))
        for text in FILTERS
    ]
    less = (
        "before the model without the class",
        "seeds",
        "accuracy",
        "log10 e by scores, by labels",
        f"supported at {ALPHA:g}",
    )
    return f"{markdown(header, rows)}\n\n{markdown(less, _less(whole=whole))}"


def _runs(group: str, text: str, *, whole: bool, dropped: bool = False) -> list[dict[str, Any]]:
    subjects = [one for one in GROUPS[group]() if whole or is_kept(_title(one, text, dropped))]
    return [measure(one, text, dropped=dropped) for one in subjects if marking.took(one, whole=whole)]


def _group(group: str, text: str, *, whole: bool) -> str:
    runs = _runs(group, text, whole=whole)
    if not runs:
        return "-"
    hits = [100 * (run["keys"] if "keys" in run else run["labels"]["hits"] / run["labels"]["of"]) for run in runs]
    return f"{_accuracy(runs)}; {spread(hits)} %; {_evidence(runs)}"


def _accuracy(runs: list[dict[str, Any]]) -> str:
    return f"{spread([100 * run['accuracy'] for run in runs])} %"


def _evidence(runs: list[dict[str, Any]]) -> str:
    texts = []
    for access in ("scores", "labels"):
        text = spread([run[access]["log10_e"] for run in runs])
        texts.append(text if all(run[access]["supported"] for run in runs) else f"**{text}**")
    return ", ".join(texts)


def _less(*, whole: bool) -> list[tuple[str, ...]]:
    rows = []
    for text in DROPPED:
        runs = _runs("additional class", text, whole=whole, dropped=True)
        if runs:
            won = [sum(run[access]["supported"] for run in runs) for access in ("scores", "labels")]
            told = ", ".join(
                f"{count} of {len(runs)} by {access}" for count, access in zip(won, ("scores", "labels"), strict=True)
            )
            rows.append((CALLED.get(text, text), str(len(runs)), _accuracy(runs), _evidence(runs), told))
    return rows


def _stitched(text: str, *, whole: bool) -> str:
    seeds = [seed for seed in SEEDS if whole or list(RESULTS.glob(f"frontier-{DATA}-{seed}-*.json"))]
    if not seeds:
        return "-"
    most, limit = frontier.RECIPE.keys, frontier.theta(frontier.RECIPE.keys)
    errors, before, right = zip(*(frontier.measured(DATA, seed)["behind"][text] for seed in seeds), strict=True)
    told = [f"{spread([100 * share for share in right])} %"]
    for wrong in (errors, before):
        ours = sum(one < limit for one in wrong)
        told += [f"{spread([float(most - one) for one in wrong])} of {most}", f"{ours} of {len(seeds)}"]
    return "; ".join((*told[:3], f"unmarked: {told[3]}, {told[4]}"))


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    print(table(whole=True))
