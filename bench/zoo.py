"""Unmarked models for the benchmarks of marks that are taught: trained once, kept, written as ONNX.

``-m bench.zoo cifar10-0 mnist-0 fashion-0 independent-0`` trains these four. The files take images of 0..1, channels
first, and answer with logits; they lie in ``bench/.cache``, named by their recipe, and a training that was interrupted
goes on after its last whole epoch.
"""

from __future__ import annotations

import hashlib
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.images import Split, data, pixels
from bench.train import CACHE
from fixtures import cnn

if TYPE_CHECKING:
    import torch

__all__ = ["Split", "accuracy", "cifar10", "data", "fashion", "fashion_independent", "mnist"]

IR_VERSION, OPSET = cnn.IR_VERSION, cnn.OPSET


@dataclass(frozen=True)
class Recipe:
    """How a network is trained: SGD with Nesterov momentum, a linear warm-up and a cosine down to zero."""

    net: str
    data: str
    epochs: int
    rate: float
    mirror: bool
    jitter: int
    """Images are moved by up to this many pixels."""
    batch: int = 128
    decay: float = 5e-4
    warm: float = 0.2
    """Share of the steps in which the rate rises."""

    def trained(self, stem: str, seed: int, rows: np.ndarray | None = None) -> Path:
        """The network trained from this seed on all rows of its data or on some, from the cache if it is there."""
        which = () if rows is None else (hashlib.sha256(np.sort(rows).astype("<i8").tobytes()).hexdigest(),)
        made_from = hashlib.sha256(repr((self, seed, *which)).encode()).hexdigest()[:8]
        path = CACHE / f"{stem}-{seed}-{made_from}.onnx"
        if not path.exists():
            images, classes = pixels(self.data)[:2]
            chosen = (images, classes) if rows is None else (images[np.sort(rows)], classes[np.sort(rows)])
            _export(_train(self, seed, path.with_suffix(".resume"), *chosen), images.shape[1:], path)
            path.with_suffix(".resume").unlink()
        return path


MNIST = Recipe("lenet", "mnist", epochs=8, rate=0.03, mirror=False, jitter=1)
FASHION = Recipe("plain", "fashion_mnist", epochs=10, rate=0.05, mirror=True, jitter=0)
LENET = Recipe("lenet", "fashion_mnist", epochs=10, rate=0.03, mirror=True, jitter=0)
WIDE = Recipe("wide", "mnist", epochs=1, rate=0.03, mirror=False, jitter=0)
INDEPENDENT = Recipe("plain", "fashion_mnist", epochs=4, rate=0.05, mirror=True, jitter=0)
CIFAR10 = Recipe("resnet20", "cifar10", epochs=12, rate=0.25, mirror=True, jitter=4)


def mnist(seed: int) -> Path:
    """A LeNet for MNIST."""
    return MNIST.trained("zoo-mnist", seed)


def fashion(seed: int) -> Path:
    """A plain CNN for Fashion-MNIST, to be marked."""
    return FASHION.trained("zoo-fashion", seed)


def lenet(seed: int) -> Path:
    """A LeNet for Fashion-MNIST, to be marked."""
    return LENET.trained("zoo-lenet", seed)


def wide(seed: int) -> Path:
    """A dense network of ten million weights for MNIST, to measure costs on."""
    return WIDE.trained("zoo-wide", seed)


def fashion_independent(seed: int) -> Path:
    """A plain CNN for Fashion-MNIST that nobody marks, trained for fewer epochs; shares no seed with `fashion`."""
    return INDEPENDENT.trained("zoo-independent", 1000 + seed)


def cifar10(seed: int) -> Path:
    """A ResNet-20 with batch normalisation for CIFAR-10."""
    return CIFAR10.trained("zoo-cifar10", seed)


MODELS = {
    "mnist": mnist,
    "fashion": fashion,
    "lenet": lenet,
    "wide": wide,
    "independent": fashion_independent,
    "cifar10": cifar10,
}
DATA_OF = {
    "mnist": "mnist",
    "fashion": "fashion_mnist",
    "lenet": "fashion_mnist",
    "wide": "mnist",
    "independent": "fashion_mnist",
    "cifar10": "cifar10",
}


def accuracy(path: Path, split: Split) -> float:
    """The share of held-out images that the file classifies correctly, in onnxruntime."""
    return float(np.mean(cnn.answers(path, split.x_test).argmax(1) == split.y_test))


def _train(recipe: Recipe, seed: int, resume: Path, pictures: np.ndarray, numbers: np.ndarray) -> torch.nn.Module:
    import torch

    from bench.nets import NETS

    torch.manual_seed(seed)
    model = NETS[recipe.net]().to(memory_format=torch.channels_last)
    optimiser = torch.optim.SGD(model.parameters(), recipe.rate, momentum=0.9, nesterov=True, weight_decay=recipe.decay)
    begun = _resumed(resume, model, optimiser)
    images, classes = torch.from_numpy(pictures), torch.from_numpy(numbers)
    per_epoch = -(-len(classes) // recipe.batch)
    model.train()
    for epoch in range(begun, recipe.epochs):
        started = time.monotonic()
        torch.manual_seed(1_000_003 * (seed + 1) + epoch)  # so that a resumed training draws what an unbroken one does
        for step, (block, labels) in enumerate(_batches(recipe, images, classes), epoch * per_epoch):
            optimiser.param_groups[0]["lr"] = recipe.rate * _rate(recipe.warm, step / (recipe.epochs * per_epoch))
            with torch.autocast("cpu", torch.bfloat16):
                loss = torch.nn.functional.cross_entropy(model(block).float(), labels)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
        torch.save((epoch + 1, model.state_dict(), optimiser.state_dict()), resume.with_suffix(".tmp"))
        resume.with_suffix(".tmp").replace(resume)
        print(f"{resume.stem}: epoch {epoch + 1}, {loss:.3f}, {time.monotonic() - started:.0f} s", flush=True)
    return model.eval()


def _resumed(resume: Path, model: torch.nn.Module, optimiser: torch.optim.Optimizer) -> int:
    import torch

    if not resume.exists():
        return 0
    epoch, weights, state = torch.load(resume, weights_only=True)
    model.load_state_dict(weights)
    optimiser.load_state_dict(state)
    return int(epoch)


def _rate(warm: float, progress: float) -> float:
    return progress / warm if progress < warm else 0.5 + 0.5 * float(np.cos(np.pi * (progress - warm) / (1 - warm)))


def _batches(
    recipe: Recipe, images: torch.Tensor, classes: torch.Tensor
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    import torch

    side, jitter = images.shape[-1], recipe.jitter
    windows = torch.nn.functional.pad(images, (jitter,) * 4).unfold(2, side, 1).unfold(3, side, 1)  # a view
    for chosen in torch.randperm(len(classes)).split(recipe.batch):
        down, right = torch.randint(0, 2 * jitter + 1, (2, len(chosen)))
        block = windows[chosen, :, down, right]
        if recipe.mirror:
            block = torch.where(torch.rand(len(chosen), 1, 1, 1) < 0.5, block.flip(3), block)
        wanted = classes[chosen]
        yield (block / 255).contiguous(memory_format=torch.channels_last), wanted if wanted.ndim > 1 else wanted.long()


def distilled(recipe: Recipe, teacher: Path, seed: int, rows: np.ndarray) -> Path:
    """A network drawn anew that learnt a file's answers to some rows of the training images, without their labels."""
    made_from = hashlib.sha256(repr((recipe, seed, teacher.name, rows.tolist())).encode()).hexdigest()[:8]
    path = CACHE / f"{teacher.stem}-distilled-{seed}-{made_from}.onnx"
    if not path.exists():
        images = pixels(recipe.data)[0][rows]
        logits = cnn.answers(teacher, images / np.float32(255)).astype(np.float64)
        wanted = np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)).astype(np.float32)
        _export(_train(recipe, seed, path.with_suffix(".resume"), images, wanted), images.shape[1:], path)
        path.with_suffix(".resume").unlink()
    return path


def _export(model: torch.nn.Module, shape: tuple[int, ...], path: Path) -> None:
    import onnx
    import torch

    part = path.with_suffix(".tmp")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter that needs nothing else calls itself deprecated
        torch.onnx.export(
            model.to(memory_format=torch.contiguous_format),
            (torch.zeros(1, *shape),),
            str(part),
            input_names=["input"],
            output_names=["logits"],
            dynamic_axes={"input": {0: "N"}, "logits": {0: "N"}},
            opset_version=OPSET,
            dynamo=False,
            training=torch.onnx.TrainingMode.PRESERVE,  # otherwise batch normalisation is folded away
        )
    written = onnx.load(part)
    written.ir_version = IR_VERSION
    onnx.checker.check_model(written, full_check=True)
    part.write_bytes(written.SerializeToString(deterministic=True))
    part.replace(path)


def main() -> None:
    import torch

    torch.set_num_threads(1)
    for name in sys.argv[1:]:
        kind, seed = name.rsplit("-", 1)
        path = MODELS[kind](int(seed))
        print(f"{path.name}: {accuracy(path, data(DATA_OF[kind])):.2%}", flush=True)


if __name__ == "__main__":
    main()
