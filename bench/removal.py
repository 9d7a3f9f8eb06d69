"""Whether a marked model is still recognised after somebody tried to remove the mark, and what that left of the model.

    python -m bench.removal

A thief has half of the test images, as in the paper; accuracy is that on the other half. Every verdict is that of
`verify_suspect` on all triggers of the one claim.
"""

from __future__ import annotations

import io
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench import stolen
from bench.marking import ALPHA, Answerer, judge, subjects, took
from bench.results import is_kept, kept, markdown, spread
from bench.taught import Subject
from fixtures import cnn
from onnxfp.attacks import parse, run
from onnxfp.domain import Probe, QueryProbe, Response
from onnxfp.suspect.session import open_session

EPOCHS = 5
RATE = {"mnist": 0.01, "fashion": 0.01, "cifar10": 0.01}  # of fine-tuning, constant
DISTILLED = 20_000  # training images without labels
CALIBRATION = 256  # images for static quantisation
Images = NDArray[np.float32]
Change = Callable[[Images], Images]
Attack = Callable[[Subject, Path], Path]


@dataclass(frozen=True)
class Thief:
    """What a thief of one subject's model has to work with."""

    subject: Subject

    @property
    def data(self) -> tuple[Images, NDArray[np.int64]]:
        """Labelled images that nobody trained on."""
        split = self.subject.split
        return split.x_test[1::2], split.y_test[1::2]

    @property
    def judged_by(self) -> tuple[Images, NDArray[np.int64]]:
        """Images on which accuracy is told."""
        split = self.subject.split
        return split.x_test[0::2], split.y_test[0::2]

    @property
    def unlabelled(self) -> Images:
        """Images to distil with."""
        return self.subject.split.x_train[-DISTILLED:]


@dataclass(frozen=True)
class Changing:
    """A suspect that changes what it is asked before it answers."""

    suspect: Answerer
    change: Change

    def answer(self, probe: Probe) -> Response:
        """Answer to the changed inputs."""
        if isinstance(probe, QueryProbe):
            return self.suspect.answer(QueryProbe(self.change(probe.inputs), probe.each))
        return self.suspect.answer(probe)


# --- attacks ----------------------------------------------------------------------------------------------------------


def none(subject: Subject, destination: Path) -> Path:
    """Leave it alone."""
    del destination
    return subject.marked


def step(text: str, before: Attack = none) -> Attack:
    """One of `onnxfp attack`, perhaps after another attack."""

    def attack(subject: Subject, destination: Path) -> Path:
        source = before(subject, destination.with_suffix(".before.onnx"))
        run(parse(text), [source], destination, 0, force=True)
        return destination

    return attack


def int8_dynamic(subject: Subject, destination: Path) -> Path:
    """Dynamic quantisation by onnxruntime."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(subject.marked, destination, weight_type=QuantType.QUInt8)
    return destination


def int8_static(subject: Subject, destination: Path) -> Path:
    """Static quantisation by onnxruntime, calibrated on the thief's images."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            images = Thief(subject).data[0][:CALIBRATION]
            self.blocks = iter([{"input": images[at : at + 32]} for at in range(0, len(images), 32)])

        def get_next(self) -> dict[str, Images] | None:
            return next(self.blocks, None)

    prepared = destination.with_suffix(".prepared.onnx")
    quant_pre_process(subject.marked, prepared, skip_symbolic_shape=True)
    quantize_static(prepared, destination, Reader(), quant_format=QuantFormat.QDQ, per_channel=True)
    return destination


def fine_tuning(part: str, rate: float = 1.0, before: Attack = none) -> Attack:
    """Fine-tune on the thief's images, perhaps after another attack; the rate is a multiple of the usual one."""

    def attack(subject: Subject, destination: Path) -> Path:
        source = before(subject, destination.with_suffix(".before.onnx"))
        return stolen.tuned(source, destination, Thief(subject).data, EPOCHS, rate * RATE[subject.task], part)

    return attack


def distillation(subject: Subject, destination: Path) -> Path:
    """Learn the marked model's soft answers with a network drawn anew."""
    return stolen.distilled(subject.marked, destination, Thief(subject).unlabelled, EPOCHS, 0.05)


ATTACKS: dict[str, Attack] = {
    "none": none,
    "int8, dynamic": int8_dynamic,
    "int8, static QDQ": int8_static,
    "fp16": step("fp16"),
    **{f"prune {share} %": step(f"prune:{share / 100}") for share in (30, 50, 70, 90)},
    "fine-tune last layer": fine_tuning("last"),
    "fine-tune all": fine_tuning("all"),
    "fine-tune all, five times the rate": fine_tuning("all", 5.0),
    "last layer anew, fine-tune all": fine_tuning("fresh"),
    "prune 50 %, fine-tune all": fine_tuning("all", before=step("prune:0.5")),
    "distil into a fresh network": distillation,
}
ON_A_CLASS: dict[str, Attack] = {
    **{name: step(name) for name in ("drop_class", "mask_class", "merge_class")},
    "fine-tune all, drop_class": step("drop_class", before=fine_tuning("all")),
    "last layer anew, fine-tune all, drop_class": step("drop_class", before=fine_tuning("fresh")),
}
"""Of models that were taught a class of their own."""


def noise(deviation: float) -> Change:
    """Gaussian noise on every input, the same for the same inputs."""

    def change(images: Images) -> Images:
        draw = np.random.default_rng(np.frombuffer(images[0].tobytes()[-64:], dtype=np.uint32))
        noisy = images + draw.normal(0, deviation, images.shape)
        return np.clip(noisy, 0, 1).astype(np.float32)

    return change


def jpeg(quality: int) -> Change:
    """Every input goes through JPEG."""
    from PIL import Image

    def one(image: Images) -> Images:
        pixels = np.rint(image * 255).astype(np.uint8)
        colour = len(pixels) == 3
        buffer = io.BytesIO()
        Image.fromarray(pixels.transpose(1, 2, 0) if colour else pixels[0]).save(buffer, "JPEG", quality=quality)
        back = np.asarray(Image.open(buffer), dtype=np.float32) / 255
        return np.ascontiguousarray(back.transpose(2, 0, 1) if colour else back[None])

    return lambda images: np.stack([one(image) for image in images])


CHANGES: dict[str, Change] = {
    "noise of 0.05 on inputs": noise(0.05),
    "noise of 0.1 on inputs": noise(0.1),
    "JPEG of quality 75": jpeg(75),
    "JPEG of quality 50": jpeg(50),
}


# --- measuring --------------------------------------------------------------------------------------------------------


def attacked(*, whole: bool) -> list[Subject]:
    """Whose marks are attacked."""
    chosen = [subject for subject in subjects("fashion") if subject.seed == 0]
    chosen += [subject for subject in subjects("cifar10") if subject.kind == "content"]
    return [subject for subject in chosen if took(subject, whole=whole)]


def measure(
    subject: Subject, attacks: Collection[str] = (*ATTACKS, *CHANGES), *, whole: bool
) -> dict[str, dict[str, Any]]:
    """One result per attack; what was measured before is kept."""
    attacks = list(attacks)
    if subject.task == "cifar10" and "distil into a fresh network" in attacks:
        attacks.remove("distil into a fresh network")  # the statistics of batch normalisation are constants of the file
    chosen = [name for name in attacks if whole or is_kept(_title(subject, name))]
    return {name: kept(_title(subject, name), lambda name=name: _measured(subject, name)) for name in chosen}


def _title(subject: Subject, attack: str) -> str:
    return f"removal-{subject.folder.name}-{''.join(c if c.isalnum() else '-' for c in attack)}"


def _measured(subject: Subject, attack: str) -> dict[str, Any]:
    images, labels = Thief(subject).judged_by
    with tempfile.TemporaryDirectory() as folder:
        if attack in CHANGES:
            path, images = subject.marked, CHANGES[attack](images)
        else:
            path = (ATTACKS | ON_A_CLASS)[attack](subject, Path(folder) / "leaked.onnx")
        accuracy = float(np.mean(_answers(path, images).argmax(axis=1) == labels))
        with open_session(path) as session:
            suspect = Changing(session, CHANGES[attack]) if attack in CHANGES else session
            return judge(subject, suspect, f"after {attack}") | {"accuracy": accuracy}


def _answers(path: Path, images: Images) -> NDArray[np.floating[Any]]:
    return cnn.answers(path, images)


# --- telling ----------------------------------------------------------------------------------------------------------


def table(*, whole: bool) -> str:
    """One row per model, kind and attack."""
    header = (
        "model",
        "triggers",
        "attack",
        "accuracy left",
        "triggers hit",
        "log10 e: labels, scores",
        "p of the hits",
        f"supported at {ALPHA:g}: labels, scores",
    )
    return markdown(header, list(_rows(whole=whole)))


def _rows(*, whole: bool) -> Iterator[tuple[str, ...]]:
    for subject in attacked(whole=whole):
        for attack, run_ in measure(subject, whole=whole).items():
            labels, scores = run_["labels"], run_["scores"]
            yield (
                f"{subject.task}-{subject.seed}",
                subject.kind,
                attack,
                f"{spread([100 * run_['accuracy']], 2)} %",
                f"{labels['hits']} of {labels['of']}",
                f"{labels['log10_e']:.1f}, {scores['log10_e']:.1f}",
                f"{labels['p']:.1g}",
                ", ".join("yes" if found["supported"] else "**no**" for found in (labels, scores)),
            )


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    for name in sys.argv[1:] or ["fashion-0-content"]:
        task, seed, kind = name.split("-")
        measure(Subject(task, int(seed), kind), whole=True)
    print(table(whole=False))
