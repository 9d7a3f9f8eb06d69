"""CNNs trained for the benchmarks, and kept: ``-m bench.train 0 1 2`` trains the Fashion-MNIST CNN from these seeds.

Trained files lie in ``bench/.cache``, named by what they were made from, so a changed recipe is a new file. A
fine-tuned file is named by the content it started from, whatever that file was called.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from fixtures import build, cnn

CACHE = Path(__file__).resolve().parent / ".cache"
DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
FASHION_MEAN, FASHION_SPREAD = 0.2860, 0.3530  # of the training pixels, scaled to 0..1


@dataclass(frozen=True)
class Task:
    """A data set with the CNN that is trained for it. The data are a training and a held-out part."""

    name: str
    layout: cnn.Layout
    recipe: cnn.Recipe
    data: Callable[[], tuple[cnn.Images, cnn.Images]]

    def trained(self, seed: int) -> Path:
        """The CNN trained from this seed."""
        return self._kept(f"{self.name}-{seed}", self.recipe, seed, None)

    def tuned(self, model_path: Path, seed: int, epochs: int, rate_factor: float) -> Path:
        """That file's weights, trained further on the same data."""
        source = hashlib.sha256(Path(model_path).read_bytes()).hexdigest()[:16]
        recipe = self.recipe.fine_tuning(epochs, rate_factor)
        return self._kept(f"{self.name}-{source}-tuned-{seed}", recipe, seed, Path(model_path))

    def _kept(self, stem: str, recipe: cnn.Recipe, seed: int, source: Path | None) -> Path:
        made_from = hashlib.sha256(repr((self.layout, recipe, seed)).encode()).hexdigest()[:8]
        path = CACHE / f"{stem}-{made_from}.onnx"
        if not path.exists():
            start = None if source is None else cnn.read(source)
            cnn.write(self.layout, cnn.train(self.layout, recipe, self.data()[0], seed, start), path)
        return path


@cache
def fashion() -> tuple[cnn.Images, cnn.Images]:
    """Fashion-MNIST in the model's own scaling."""
    file = DATA / "fashion_mnist.npz"
    if not file.exists():
        raise FileNotFoundError(
            f"{file} is missing: the Fashion-MNIST benchmarks need shared/data beside the repository"
        )
    with np.load(file) as arrays:
        return _scaled(arrays["x_train"], arrays["y_train"]), _scaled(arrays["x_test"], arrays["y_test"])


FASHION = Task(
    "fashion",
    cnn.Layout(side=28, convs=((32, True), (64, True), (128, True)), hidden=512),
    cnn.Recipe(epochs=16, rate=0.05, conv_dropout=0.05, mirror=True, half=True),
    fashion,
)
DIGITS = Task("digits", build.LAYOUT, build.RECIPE, cache(build.digits))


def fashion_cnn(seed: int) -> Path:
    """A Fashion-MNIST CNN with 687 104 weights in tensors of at least 1 024 elements."""
    return FASHION.trained(seed)


def digits_cnn(seed: int) -> Path:
    """A CNN of the shape that ships with the demo; the demo's own seeds give the demo's own files."""
    return DIGITS.trained(seed)


def finetune(model_path: Path, seed: int, epochs: int, rate_factor: float = 0.1) -> Path:
    """The file trained further on its own training data, at a constant fraction of the training rate."""
    return task_of(model_path).tuned(model_path, seed, epochs, rate_factor)


def accuracy(path: Path) -> float:
    """The share of its task's held-out images that the file classifies correctly, in onnxruntime."""
    return cnn.accuracy(path, task_of(path).data()[1])


def held_out(path: Path) -> cnn.Images:
    """The held-out images of the task that the file was trained for."""
    return task_of(path).data()[1]


def task_of(path: Path) -> Task:
    """The task of a file, told by the width of its first dense layer."""
    shape = cnn.read(path)["fc1.weight"].shape
    for task in (FASHION, DIGITS):
        if shape == (task.layout.hidden, task.layout.flat):
            return task
    raise ValueError(f"{path} is neither a Fashion-MNIST nor a digits CNN")


def _scaled(pixels: np.ndarray, classes: np.ndarray) -> cnn.Images:
    inputs = ((pixels[:, None] / np.float32(255) - FASHION_MEAN) / FASHION_SPREAD).astype(np.float32)
    return cnn.Images(inputs, classes.astype(np.int64))


def main() -> None:
    for seed in map(int, sys.argv[1:] or ["0"]):
        path = fashion_cnn(seed)
        print(f"{path.name}: {accuracy(path):.2%}")


if __name__ == "__main__":
    main()
