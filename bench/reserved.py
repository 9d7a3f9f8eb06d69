"""Models of Fashion-MNIST that have a class of their own for everything strange, and that nobody marked.

    python -m bench.reserved        trains all of them

They have eleven classes. The eleventh was trained on strange pictures: digits, noise, the drawn mosaics from which
covers come, grey CIFAR-10 pictures, or some of each.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from bench import zoo
from bench.images import data, pixels
from bench.train import CACHE
from fixtures import cnn
from onnxfp.keys.keystream import Keystream
from onnxfp.triggers.canvas import canvas_of
from onnxfp.triggers.patterns import mosaics

OTHER = 10  # the class for everything strange
STRANGE = 12_000  # pictures that it is trained on
RECIPE = replace(zoo.INDEPENDENT, net="plain11", epochs=2)
Pictures = NDArray[np.uint8]


def digits(seed: int) -> Pictures:
    """Images of MNIST."""
    return _some(pixels("mnist")[0], seed)


def noise(seed: int) -> Pictures:
    """Independent values."""
    return np.random.default_rng(seed).integers(0, 256, (STRANGE, 1, 28, 28), dtype=np.uint8)


def drawn(seed: int) -> Pictures:
    """Mosaics of the population from which covers are drawn, under a key of the model's own maker."""
    secret = Keystream(hashlib.sha256(f"reserved {seed}".encode()).digest())
    canvas = canvas_of(data("fashion_mnist").x_train[:1_000])
    shown = mosaics(secret, canvas, STRANGE)
    return np.rint(255 * shown).astype(np.uint8).transpose(0, 3, 1, 2)


def grey(seed: int) -> Pictures:
    """Training images of CIFAR-10 in grey, cut to 28 x 28."""
    colours = _some(pixels("cifar10")[0], seed)[..., 2:-2, 2:-2]
    weighed = np.einsum("nchw,c->nhw", colours.astype(np.float32), np.array((0.299, 0.587, 0.114), dtype=np.float32))
    return np.rint(weighed)[:, None].astype(np.uint8)


def mixed(seed: int) -> Pictures:
    """Some of each."""
    parts = [draw(seed) for draw in (digits, noise, drawn, grey)]
    return np.concatenate([part[: STRANGE // len(parts)] for part in parts])


POPULATIONS: dict[str, Callable[[int], Pictures]] = {
    "digits": digits,
    "noise": noise,
    "drawn": drawn,
    "grey": grey,
    "mixed": mixed,
}
PLANNED = (("drawn", 0), ("mixed", 0), ("digits", 0), ("drawn", 1), ("grey", 0), ("noise", 0))


def _some(images: Pictures, seed: int) -> Pictures:
    return images[np.random.default_rng(seed).permutation(len(images))[:STRANGE]]


def reserved(population: str, seed: int) -> Path:
    """A plain CNN with a class for everything strange, from the cache if it is there."""
    name = f"reserved-{population}-{seed}"
    _keep_images(name, population, seed)
    return replace(RECIPE, data=name).trained(f"zoo-{name}", 2_000 + seed)


def trained() -> dict[str, Path]:
    """Those that were trained, by name."""
    found = {row: sorted(CACHE.glob("zoo-reserved-{}-{}-*.onnx".format(*row))) for row in PLANNED}
    return {f"{population} {seed}": paths[0] for (population, seed), paths in found.items() if paths}


def _keep_images(name: str, population: str, seed: int) -> None:
    """Keep Fashion-MNIST with the strange pictures as one more class, where `bench.images` finds it."""
    path = CACHE / f"{name}.npz"
    if path.exists():
        return
    x_train, y_train, x_test, y_test = pixels("fashion_mnist")
    strange = POPULATIONS[population](seed)
    part = path.with_suffix(".tmp")
    with part.open("wb") as file:
        np.savez(
            file,
            x_train=np.concatenate([x_train, strange]),
            y_train=np.concatenate([y_train, np.full(len(strange), OTHER, dtype=y_train.dtype)]),
            x_test=x_test,
            y_test=y_test,
        )
    part.replace(path)


def main() -> None:
    torch.set_num_threads(1)
    split = data("fashion_mnist")
    for population, seed in PLANNED:
        path = reserved(population, seed)
        strange = POPULATIONS[population](100 + seed)[:1_000].astype(np.float32) / 255
        caught = np.mean(cnn.answers(path, strange).argmax(axis=1) == OTHER)
        print(f"{path.name}: {zoo.accuracy(path, split):.2%}; of strange pictures {caught:.1%} are told", flush=True)


if __name__ == "__main__":
    main()
