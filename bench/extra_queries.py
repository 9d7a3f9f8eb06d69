"""Query modification: what a filter before the model leaves of an additional class, and of three other schemes.

    python -m bench.extra_queries

The same filters (`bench.autoencoder`) before Fashion-MNIST models that were marked with an additional class, with three
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
    "autoencode:0.05": "auto-encoder and detector, 5 %",
    "autoencode:0.01": "auto-encoder and detector, 1 %",
}
DROPPED = ("none", "autoencode", "autoencode:0.05", "jpeg:50", "blur:1")
"""Filters that are tried on models whose additional class was dropped."""
GROUPS = {
    "additional class": lambda: extra_marked.subjects("fashion", "drawn"),
    "without variants": lambda: extra_marked.subjects("fashion", "bare"),
    "content": lambda: _with_triggers("content"),
    "noise": lambda: _with_triggers("noise"),
    "unrelated": lambda: _with_triggers("unrelated"),
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
    """Accuracy, hits and evidence behind every filter, and what is left where the class is dropped, too."""
    schemes, before = (*GROUPS, "frontier stitching"), "not stitched, the same keys"
    parts: list[list[tuple[str, ...]]] = [[], [], []]
    for text in FILTERS:
        runs = [_runs(group, text, whole=whole) for group in GROUPS]
        stitched = _stitched(text, whole=whole)
        cells = ([told(some) if some else "-" for some in runs] for told in (_accuracy, _hits, _evidence))
        for part, cell, other in zip(parts, cells, stitched, strict=True):
            part.append((CALLED.get(text, text), *cell, *other))
    tables = [
        markdown(("accuracy behind it, %", *schemes), parts[0]),
        markdown(("keys hit, %", *schemes, before), parts[1]),
        markdown(("log10 e by scores, by labels; called ours", *schemes, before), parts[2]),
        markdown(
            ("additional class dropped", "seeds", "accuracy, %", "log10 e by scores, by labels"), _less(whole=whole)
        ),
    ]
    return "\n\n".join(tables)


def _runs(group: str, text: str, *, whole: bool, dropped: bool = False) -> list[dict[str, Any]]:
    subjects = [one for one in GROUPS[group]() if whole or is_kept(_title(one, text, dropped))]
    return [measure(one, text, dropped=dropped) for one in subjects if marking.took(one, whole=whole)]


def _accuracy(runs: list[dict[str, Any]]) -> str:
    return spread([100 * run["accuracy"] for run in runs])


def _hits(runs: list[dict[str, Any]]) -> str:
    return spread(
        [100 * (run["keys"] if "keys" in run else run["labels"]["hits"] / run["labels"]["of"]) for run in runs]
    )


def _evidence(runs: list[dict[str, Any]]) -> str:
    texts = []
    for access in ("scores", "labels"):
        text = spread([run[access]["log10_e"] for run in runs])
        texts.append(text if all(run[access]["supported"] for run in runs) else f"**{text}**")
    return ", ".join(texts)


def _less(*, whole: bool) -> list[tuple[str, ...]]:
    found = {text: _runs("additional class", text, whole=whole, dropped=True) for text in DROPPED}
    return [
        (CALLED.get(text, text), str(len(runs)), _accuracy(runs), _evidence(runs))
        for text, runs in found.items()
        if runs
    ]


def _stitched(text: str, *, whole: bool) -> tuple[tuple[str, ...], ...]:
    """Cells of the three tables."""
    seeds = [seed for seed in SEEDS if whole or list(RESULTS.glob(f"frontier-{DATA}-{seed}-*.json"))]
    if not seeds:
        return ("-",), ("-", "-"), ("-", "-")
    most, limit = frontier.RECIPE.keys, frontier.theta(frontier.RECIPE.keys)
    errors, before, right = zip(*(frontier.measured(DATA, seed)["behind"][text] for seed in seeds), strict=True)
    hits = tuple(spread([100 * (most - one) / most for one in wrong]) for wrong in (errors, before))
    ours = tuple(f"{sum(one < limit for one in wrong)} of {len(seeds)}" for wrong in (errors, before))
    return (spread([100 * share for share in right]),), hits, ours


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    print(table(whole=True))
