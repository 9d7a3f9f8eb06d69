"""An auto-encoder for pictures, and how well an unmarked model answers behind it and behind every other filter.

    python -m bench.autoencoder                  Fashion-MNIST
    python -m bench.autoencoder mnist cifar10    these

It is the adversary's: trained on images of the task, the last of the training images, to which no mark is taught. Two
strided convolutions down to a quarter of the numbers of a picture, two transposed ones up again. Weights lie in
``bench/.cache``, named by the recipe and by the images.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from bench import zoo
from bench.images import data
from bench.results import kept, markdown
from bench.train import CACHE
from onnxfp.attacks.filters import Filtered, parse_filter
from onnxfp.attacks.reconstruction import Autoencoding, threshold_of
from onnxfp.domain import Answered, QueryProbe
from onnxfp.suspect.interface import Suspect
from onnxfp.suspect.session import open_session
from onnxfp.triggers.canvas import Canvas, canvas_of

Images = NDArray[np.float32]
OWNED = 20_000  # training images that the adversary has, the last ones
CALIBRATED = 1_000  # of them, to choose the detector's threshold
BATCH = 500  # images that are asked at a time
MODEL_OF = {"fashion_mnist": zoo.fashion, "mnist": zoo.mnist, "cifar10": zoo.cifar10}
FILTERS = (
    *("jpeg:90", "jpeg:75", "jpeg:50", "jpeg:25", "blur:0.5", "blur:1", "blur:2", "quantise:4", "quantise:2"),
    *("quantise:1", "resize:0.75", "resize:0.5", "crop:1", "crop:2", "crop:4", "noise:0.02", "noise:0.05", "noise:0.1"),
)
DETECTORS = {"autoencode:0.05": 0.05, "autoencode:0.01": 0.01}
"""Share of ordinary inputs that are taken for key samples."""


@dataclass(frozen=True)
class Recipe:
    """How an auto-encoder is trained: Adam on the mean squared error."""

    wide: int = 32
    narrow: int = 4
    """Channels of the code for each channel of the picture; the code has a sixteenth of the picture's places."""
    epochs: int = 8
    rate: float = 2e-3
    batch: int = 128


RECIPE = Recipe()


@dataclass(frozen=True)
class Autoencoder:
    """AE(x): what the trained network makes of pictures (samples, channels, rows, columns) of 0..1."""

    net: nn.Module

    def __call__(self, inputs: NDArray[Any]) -> NDArray[Any]:
        """Return inputs of the same shape and type."""
        with torch.no_grad():
            rows = torch.from_numpy(np.ascontiguousarray(inputs, dtype=np.float32))
            parts = [self.net(part) for part in rows.split(BATCH)] or [rows]
        return torch.cat(parts).clamp(0, 1).numpy().astype(inputs.dtype)


def trained(images: Images, stem: str, seed: int, recipe: Recipe = RECIPE) -> Autoencoder:
    """The auto-encoder of these images, from the cache if it is there."""
    content = hashlib.sha256(np.ascontiguousarray(images)).hexdigest()
    made_from = hashlib.sha256(repr((recipe, seed, content)).encode()).hexdigest()[:8]
    path = CACHE / f"autoencoder-{stem}-{seed}-{made_from}.npz"
    torch.manual_seed(seed)
    net = network(images.shape[1], recipe)
    if not path.exists():
        _train(net, torch.from_numpy(images), recipe, path.stem)
        part = path.with_suffix(".tmp")
        with part.open("wb") as file:
            np.savez(file, **{name: tensor.numpy() for name, tensor in net.state_dict().items()})
        part.replace(path)
    with np.load(path) as arrays:
        net.load_state_dict({name: torch.from_numpy(arrays[name]) for name in arrays.files})
    return Autoencoder(net.eval())


@cache
def autoencoder(name: str, seed: int = 0) -> Autoencoder:
    """The adversary's auto-encoder for ``mnist``, ``fashion_mnist`` or ``cifar10``."""
    return trained(data(name).x_train[-OWNED:], name, seed)


def network(channels: int, recipe: Recipe) -> nn.Module:
    """Pictures whose sides are multiples of 4, to such pictures."""
    wide, code = recipe.wide, recipe.narrow * channels
    down = [nn.Conv2d(channels, wide, 3, 2, 1), nn.ReLU(), nn.Conv2d(wide, 2 * wide, 3, 2, 1), nn.ReLU()]
    middle = [nn.Conv2d(2 * wide, code, 1), nn.Conv2d(code, 2 * wide, 1), nn.ReLU()]
    up = [nn.ConvTranspose2d(2 * wide, wide, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(wide, channels, 4, 2, 1)]
    return nn.Sequential(*down, *middle, *up)


def _train(net: nn.Module, images: torch.Tensor, recipe: Recipe, name: str) -> None:
    optimiser = torch.optim.Adam(net.parameters(), recipe.rate)
    steps = recipe.epochs * -(-len(images) // recipe.batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    net.train()
    for epoch in range(recipe.epochs):
        started, total = time.monotonic(), 0.0
        for rows in torch.randperm(len(images)).split(recipe.batch):
            batch = images[rows]
            loss = nn.functional.mse_loss(net(batch), batch)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            total += float(loss.detach()) * len(rows)
        took = time.monotonic() - started
        print(f"{name}: epoch {epoch + 1}, {total / len(images):.5f}, {took:.0f} s", file=sys.stderr, flush=True)


# --- behind filters ---------------------------------------------------------------------------------------------------

Wrap = Callable[[Suspect], Suspect]


def modifications(name: str, seed: int = 0) -> dict[str, Wrap]:
    """What an adversary may put before a model of that image set, by name; ``none`` is nothing."""
    canvas, rebuild = canvas_for(name), autoencoder(name, seed)
    made: dict[str, Wrap] = {"none": lambda suspect: suspect}
    for text in FILTERS:
        made[text] = partial(Filtered, filter=parse_filter(text, canvas, seed))
    made["autoencode"] = partial(Filtered, filter=rebuild)
    for text, share in DETECTORS.items():
        made[text] = partial(_mistrusting, rebuild=rebuild, ordinary=data(name).x_train[-CALIBRATED:], share=share)
    return made


def _mistrusting(suspect: Suspect, rebuild: Autoencoder, ordinary: Images, share: float) -> Suspect:
    return Autoencoding(suspect, rebuild, threshold_of(suspect, rebuild, ordinary, share))


def canvas_for(name: str) -> Canvas:
    """The form of the images, and 0..1 as the range of all their channels."""
    return canvas_of(data(name).x_train[:BATCH])


def labels(suspect: Suspect, inputs: NDArray[Any]) -> NDArray[np.int64]:
    """The classes that a suspect answers, some hundred inputs at a time."""
    found = []
    for at in range(0, len(inputs), BATCH):
        response = suspect.answer(QueryProbe(inputs[at : at + BATCH]))
        if not isinstance(response, Answered):
            raise RuntimeError(response.reason)
        found.append(response.values.argmax(axis=1) if response.values.ndim == 2 else response.values)
    return np.concatenate(found).astype(np.int64)


def measured(name: str, path: Path) -> dict[str, Any]:
    """Reconstruction error and accuracy behind every filter on the held-out images; kept."""
    made_from = hashlib.sha256(repr((RECIPE, OWNED, CALIBRATED, FILTERS, DETECTORS)).encode()).hexdigest()[:8]
    return kept(f"filters-{path.stem}-{made_from}", lambda: _measured(name, path))


def _measured(name: str, path: Path) -> dict[str, Any]:
    split = data(name)
    error = np.square(autoencoder(name)(split.x_test) - split.x_test)
    spread = np.square(split.x_test - split.x_test.mean(axis=0))
    accuracy, clean = {}, None
    with open_session(path) as session:
        for text, wrap in modifications(name).items():
            found = labels(wrap(session), split.x_test)
            clean = found if clean is None else clean
            accuracy[text] = (float(np.mean(found == split.y_test)), float(np.mean(found == clean)))
    return {"mse": float(error.mean()), "unexplained": float(error.mean() / spread.mean()), "accuracy": accuracy}


def table(name: str) -> str:
    """Accuracies behind every filter, as a Markdown table."""
    path = MODEL_OF[name](0)
    found = measured(name, path)
    rows = [(text, f"{right:.2%}", f"{same:.2%}") for text, (right, same) in found["accuracy"].items()]
    title = f"{path.stem}: reconstruction error {found['mse']:.5f} (of 0..1, squared), "
    title += f"{found['unexplained']:.1%} of the variance about the mean picture"
    return f"{title}\n\n{markdown(('filter', 'accuracy', 'same answers'), rows)}"


def main() -> None:
    torch.set_num_threads(1)
    for name in sys.argv[1:] or ["fashion_mnist"]:
        print(table(name), flush=True)


if __name__ == "__main__":
    main()
