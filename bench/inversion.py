"""Model inversion: does gradient ascent on a marked model's classes show the triggers? ``-m bench.inversion``.

As Fredrikson et al. (2015) did with faces: an image is changed until the model is sure of a class, once per class, from
black and within 0..1. The key is one of this benchmark, so its triggers are no secret.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench import stolen
from bench.marking import took
from bench.results import kept
from bench.taught import Subject
from onnxfp.domain import Floats
from onnxfp.triggers.corpus import corpus_of
from onnxfp.triggers.kinds import KINDS
from onnxfp.workflows.channels import scheme_key
from onnxfp.workflows.claims import chosen_claims
from onnxfp.workflows.judge import registered_references
from onnxfp.workflows.samples import load_samples
from onnxfp.workflows.suspects import SEALED

CLASSES = 10
STEPS, RATE = 500, 0.02
STARTS = {"black": 0.0, "grey": 0.5}
SUBJECT = Subject("fashion", 0, "content")


@dataclass(frozen=True)
class Stamped:
    """The patterns of a claim, the class that each stands for, and an image with each."""

    cover: NDArray[np.bool_]
    """(positions, rows, columns): where a pattern hides the image."""
    values: Floats
    """(positions, rows, columns)."""
    classes: NDArray[np.int64]
    asked: Floats


def recovered(start: float) -> Floats:
    """One image per class (classes, rows, columns) of which the marked model is sure."""
    graph = stolen.graph_at(SUBJECT.marked)
    images = torch.full((CLASSES, 1, 28, 28), start, requires_grad=True)
    optimiser = torch.optim.Adam([images], RATE)
    for _ in range(STEPS):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(graph(images)[0], torch.arange(CLASSES), reduction="sum").backward()
        optimiser.step()
        with torch.no_grad():
            images.clamp_(0, 1)
    found: Floats = images.detach().numpy()[:, 0].astype(np.float64)
    return found


@cache
def stamped() -> Stamped:
    """What the model was taught."""
    with SUBJECT.vault() as vault:
        claim = next(c for c in chosen_claims(registered_references(vault), SEALED, "zhang"))
        drawn = claim.reference.draw(vault, claim.channel)
        keystream = scheme_key(vault.reference_key(claim.channel.of), "zhang")
        corpus = corpus_of(load_samples(vault, claim.channel.samples))
        word = drawn.words(["owner"])[0]
    options = drawn.scheme.options(claim.channel.options)
    kind = KINDS["content"](corpus, options, keystream.derive("triggers", "content"))
    positions = np.arange(options.positions)
    on_black, on_white = (kind.put(np.full((len(positions), 28, 28, 1), light), positions) for light in (0.0, 1.0))
    key = drawn.public.key
    cover = np.isclose(on_black, on_white)[..., 0]
    return Stamped(cover, on_black[..., 0], key.reference.classes[word], key.asked[:, 0].astype(np.float64))


def correlations(images: Floats) -> dict[str, float]:
    """Correlation of each class's image with the patterns of its own key label, and with those of all other labels."""
    patterns = stamped()
    own, others = [], []
    for cover, values, label in zip(patterns.cover, patterns.values, patterns.classes, strict=True):
        for number, image in enumerate(images):
            seen = image[cover]
            found = 0.0 if seen.std() < 1e-6 else float(np.corrcoef(seen, values[cover])[0, 1])
            (own if number == label else others).append(found)
    error = float(np.sqrt(np.var(own) / len(own) + np.var(others) / len(others)))
    return {
        "own": float(np.mean(own)),
        "others": float(np.mean(others)),
        "error": error,
        "largest own": float(np.max(own)),
        "largest others": float(np.max(others)),
    }


def measure() -> dict[str, Any]:
    """The images and what they have in common with the triggers; kept."""
    return kept(f"inversion-{SUBJECT.folder.name}", _measured)


def _measured() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, start in STARTS.items():
        images = recovered(start)
        found[name] = {"images": images.round(4).tolist(), **correlations(images)}
    found["real"] = correlations(averages())
    return found


def averages() -> Floats:
    """The mean training image of each class."""
    split = SUBJECT.split
    return np.stack([split.x_train[split.y_train == label, 0].mean(axis=0) for label in range(CLASSES)]).astype(float)


def table(*, whole: bool) -> str:
    """Return what was found, in words with numbers."""
    if not took(SUBJECT, whole=whole):
        return "The model could not be marked, so there is nothing to invert."
    lines = ["| images | patterns of the class's own key label | all other patterns | largest: own, others |"]
    lines += ["| --- | --- | --- | --- |"]
    names = {"black": "recovered from black", "grey": "recovered from grey", "real": "mean of the real images"}
    for name, title in names.items():
        found = measure()[name]
        own = f"{found['own']:.3f} ± {found['error']:.3f}"
        largest = f"{found['largest own']:.2f}, {found['largest others']:.2f}"
        lines.append(f"| {title} | {own} | {found['others']:.3f} | {largest} |")
    return "\n".join(lines)


def plot(path: Path) -> None:
    """Show recovered images above real ones and triggers."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    if not took(SUBJECT, whole=False):
        return
    patterns = stamped()
    first = [int(np.flatnonzero(patterns.classes == label)[0]) for label in range(CLASSES)]
    rows = {
        "recovered\nfrom black": np.array(measure()["black"]["images"]),
        "recovered\nfrom grey": np.array(measure()["grey"]["images"]),
        "mean of\nreal images": averages(),
        "a trigger": patterns.asked[first],
    }
    figure, axes = plt.subplots(len(rows), CLASSES, figsize=(CLASSES, len(rows) * 1.05))
    for line, (name, images) in zip(axes, rows.items(), strict=True):
        for label, (axis, image) in enumerate(zip(line, images, strict=True)):
            axis.imshow(image, cmap="gray", vmin=0, vmax=1)
            axis.set_xticks([])
            axis.set_yticks([])
            if line is axes[0]:
                axis.set_title(f"class {label}", fontsize=8)
        line[0].set_ylabel(name, fontsize=7)
    figure.tight_layout(pad=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    print(table(whole=True))
