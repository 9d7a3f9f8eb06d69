"""Models to be marked, each with inputs to try it on and a measure of how much a changed file still agrees with it.

Own CNNs with their held-out images, and every model of ``shared/data/models``. Where a third-party model came without
data, its inputs are made here: crops of photographs for image models, synthetic vowels for speech models, strips of
handwritten digits for the text direction classifier, random states for the control policy.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from bench import train
from onnxfp.demo import path as demo_file

MODELS = train.DATA / "models"
Run = Callable[[Any], np.ndarray]  # an onnxruntime session to its answers (samples, ...)
Agree = Callable[[np.ndarray, np.ndarray], float]  # answers and the reference's answers to a share
_RATE = 16_000  # of speech, per second


@dataclass(frozen=True, eq=False)
class Subject:
    """A model, how it is run and how its answers are compared."""

    name: str
    path: Path
    run: Run | None = None
    agree: Agree | None = None
    words: str = ""
    """What agreement counts."""
    labels: np.ndarray | None = field(default=None, repr=False)

    def score(self, path: Path) -> dict[str, float]:
        """Agreement with the unmarked model and, with labels, the accuracy; nothing if the model does not run."""
        if self.run is None or self.agree is None:
            return {}
        answers = self.run(session(path))
        scores = {"agreement": self.agree(answers, self._reference)}
        if self.labels is not None:
            scores["accuracy"] = float(np.mean(answers.argmax(1) == self.labels))
        return scores

    def quality(self, path: Path) -> float | None:
        """The one number that a thief cares for: accuracy, or else agreement."""
        scores = self.score(path)
        return scores.get("accuracy", scores.get("agreement"))

    @cached_property
    def _reference(self) -> np.ndarray:
        assert self.run is not None
        return self.run(session(self.path))


def session(path: Path) -> Any:
    """The file in onnxruntime, on the CPU."""
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def own() -> list[Subject]:
    """The CNN of the demo and the Fashion-MNIST CNN from three seeds."""
    paths = {"digits": demo_file("digits.onnx")} | {f"fashion-{seed}": train.fashion_cnn(seed) for seed in range(3)}
    return [_classifier(name, Path(path), *_held_out(Path(path))) for name, path in paths.items()]


def third_party() -> list[Subject]:
    """Every model file of ``shared/data/models``; those that cannot be run, or are of no use here, without inputs."""
    if not MODELS.is_dir():
        raise FileNotFoundError(f"{MODELS} is missing: these benchmarks need shared/data beside the repository")
    makers = {
        "mnist_cntk": lambda path: _classifier(path.stem, path, *_mnist(lambda x: x[:, None])),
        "self_attention_mnist": lambda path: _classifier(path.stem, path, *_mnist(lambda x: x[..., None] / 255)),
        "cifar10_cnn_winml": lambda path: _classifier(path.stem, path, *_cifar(0.5, 0.5)),
        "cifar_base_kw": lambda path: _classifier(path.stem, path, *_cifar((0.485, 0.456, 0.406), 0.225)),
        "cifar_base_kw_simp": lambda path: _classifier(path.stem, path, *_cifar((0.485, 0.456, 0.406), 0.225)),
        "policy": lambda path: Subject(path.stem, path, partial(_batches, _states()), _same_signs, "all signs alike"),
        "espcn_x3_float": lambda path: Subject(
            path.stem, path, partial(_batches, _patches()), _close_pixels, "pixels within 1/255"
        ),
        "ppocr_mobile_v2_cls": lambda path: Subject(path.stem, path, partial(_batches, _strips()), _top1, "top-1"),
        "silero_vad_16k_op15": lambda path: Subject(path.stem, path, _silero, _speaking, "frames: speech or not"),
        "dtln_model_1": lambda path: Subject(path.stem, path, _dtln, _close_bins, "bins within 5 %"),
        "gtcrn_simple": lambda path: Subject(path.stem, path, _gtcrn, _close_bins, "bins within 5 %"),
        "fastestdet": lambda path: Subject(path.stem, path, partial(_batches, _scenes()), _detections, "F1 of boxes"),
        "squeezenet_fp16": lambda path: Subject(path.stem, path, partial(_batches, _photographs()), _top1, "top-1"),
    }
    return [
        makers.get(path.stem, lambda path: Subject(path.stem, path))(path) for path in sorted(MODELS.rglob("*.onnx"))
    ]


# --- how models are run -----------------------------------------------------------------------------------------------


def _classifier(name: str, path: Path, inputs: np.ndarray, labels: np.ndarray) -> Subject:
    return Subject(name, path, partial(_batches, inputs), _top1, "top-1", labels)


def _batches(inputs: np.ndarray, model: Any) -> np.ndarray:
    declared = model.get_inputs()[0]
    size = declared.shape[0] if isinstance(declared.shape[0], int) else 500
    blocks = [inputs[at : at + size] for at in range(0, len(inputs), size)]
    return np.concatenate([model.run(None, {declared.name: block})[0] for block in blocks]).astype(np.float32)


def _silero(model: Any) -> np.ndarray:
    state, context, answers = np.zeros((2, 1, 128), np.float32), np.zeros(64, np.float32), []
    for frame in _frames(_speech(12), 512, 512):
        sound = np.concatenate([context, frame])[None]
        answer, state = model.run(None, {"input": sound, "state": state, "sr": np.array(_RATE, np.int64)})
        context = frame[-64:]
        answers.append(answer[0, 0])
    return np.array(answers)


def _dtln(model: Any) -> np.ndarray:
    state, answers = np.zeros((1, 2, 128, 2), np.float32), []
    for frame in _frames(_noisy_speech(8), 512, 128):
        magnitude = np.abs(np.fft.rfft(frame)).astype(np.float32)[None, None]
        mask, state = model.run(None, {"input_2": magnitude, "input_3": state})
        answers.append((mask * magnitude)[0, 0])
    return np.array(answers)


def _gtcrn(model: Any) -> np.ndarray:
    window = np.sqrt(np.hanning(513)[:-1])
    shapes = {"conv_cache": (2, 1, 16, 16, 33), "tra_cache": (2, 3, 1, 1, 16), "inter_cache": (2, 1, 33, 16)}
    caches, answers = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}, []
    for frame in _frames(_noisy_speech(5), 512, 256):
        spectrum = np.fft.rfft(frame * window)
        mixed = np.stack([spectrum.real, spectrum.imag], -1)[None, :, None].astype(np.float32)
        answer, *rest = model.run(None, {"mix": mixed, **caches})
        caches = dict(zip(shapes, rest, strict=True))
        answers.append(answer.ravel())
    return np.array(answers)


# --- how answers are compared -----------------------------------------------------------------------------------------


def _top1(answers: np.ndarray, reference: np.ndarray) -> float:
    return float(np.mean(answers.argmax(1) == reference.argmax(1)))


def _same_signs(answers: np.ndarray, reference: np.ndarray) -> float:
    return float(np.mean(((answers > 0) == (reference > 0)).all(axis=1)))


def _close_pixels(answers: np.ndarray, reference: np.ndarray) -> float:
    return float(np.mean(np.abs(answers - reference) <= 1 / 255))


def _speaking(answers: np.ndarray, reference: np.ndarray) -> float:
    return float(np.mean((answers > 0.5) == (reference > 0.5)))


def _close_bins(answers: np.ndarray, reference: np.ndarray) -> float:
    allowed = 0.05 * np.abs(reference) + 1e-3 * np.abs(reference).max()
    return float(np.mean(np.abs(answers - reference) <= allowed))


def _detections(answers: np.ndarray, reference: np.ndarray) -> float:
    """F1: a cell that reports an object must report one of the same class."""

    def found(maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        classes = maps[:, 5:]
        return maps[:, 0] ** 0.6 * classes.max(1) ** 0.4 > 0.5, classes.argmax(1)

    (mine, my_class), (theirs, their_class) = found(answers), found(reference)
    both = int((mine & theirs & (my_class == their_class)).sum())
    return 2 * both / max(1, int(mine.sum() + theirs.sum()))


# --- what they are run on ---------------------------------------------------------------------------------------------


def _held_out(path: Path) -> tuple[np.ndarray, np.ndarray]:
    images = train.held_out(path)
    return images.inputs, images.labels


@cache
def _test_set(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Test images and classes, uint8; kept, since unpacking CIFAR-10 takes a while."""
    file = train.CACHE / f"{name}-test.npz"
    if not file.exists():
        source = train.DATA / "load_data.py"
        if not source.exists():
            raise FileNotFoundError(f"{source} is missing: these benchmarks need shared/data beside the repository")
        spec = importlib.util.spec_from_file_location("load_data", source)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        arrays = module.load(name)
        file.parent.mkdir(exist_ok=True)
        np.savez(file, x=arrays["x_test"], y=arrays["y_test"])
    with np.load(file) as arrays:
        return arrays["x"], arrays["y"].astype(np.int64)


def _mnist(scale: Callable[[np.ndarray], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    images, labels = _test_set("mnist")
    return scale(images).astype(np.float32), labels


def _cifar(mean: float | tuple[float, ...], spread: float) -> tuple[np.ndarray, np.ndarray]:
    images, labels = _test_set("cifar10")
    scaled = (images / np.float32(255) - np.asarray(mean, np.float32)) / np.float32(spread)
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2)), labels


def _patches() -> np.ndarray:
    images, _ = _test_set("cifar10")
    return (images[:500, 14:18, 14:18].transpose(0, 3, 1, 2) / 255).astype(np.float32)


def _states() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((2000, 13)).astype(np.float32)


def _strips() -> np.ndarray:
    """Lines of six handwritten digits, every second one upside down."""
    from PIL import Image

    rng, digits = np.random.default_rng(5), _test_set("mnist")[0]
    strips = []
    for number in range(300):
        line = np.concatenate([255 - digits[index] for index in rng.integers(0, len(digits), 6)], axis=1)
        image = np.asarray(Image.fromarray(line).resize((192, 48)))
        strips.append(image[::-1, ::-1] if number % 2 else image)
    return (np.repeat(np.stack(strips)[:, None], 3, axis=1) / 127.5 - 1).astype(np.float32)


def _photographs() -> np.ndarray:
    """For SqueezeNet: blue first, less the usual mean."""
    mean = np.array([104, 117, 123], np.float32)
    return (_crops(300, 224)[..., ::-1] - mean).transpose(0, 3, 1, 2).astype(np.float16)


def _scenes() -> np.ndarray:
    """For FastestDet: blue first, 0 to 1."""
    return (_crops(120, 352)[..., ::-1].transpose(0, 3, 1, 2) / 255).astype(np.float32)


def _crops(count: int, side: int) -> np.ndarray:
    """Random crops of the three photographs that come with scikit-learn and matplotlib, every other one mirrored."""
    from matplotlib.cbook import get_sample_data
    from PIL import Image
    from sklearn.datasets import load_sample_images

    portrait = Image.open(get_sample_data("grace_hopper.jpg", asfileobj=False)).convert("RGB")
    photographs = [*load_sample_images().images, np.asarray(portrait)]
    rng, crops = np.random.default_rng(0), []
    for number in range(count):
        image = photographs[number % len(photographs)]
        height, width = image.shape[:2]
        size = int(min(height, width) * rng.uniform(0.45, 1))
        top, left = rng.integers(0, height - size + 1), rng.integers(0, width - size + 1)
        crop = Image.fromarray(image[top : top + size, left : left + size]).resize((side, side), Image.BICUBIC)
        crops.append(np.asarray(crop)[:, :: 1 if number % 2 else -1])
    return np.stack(crops)


def _frames(sound: np.ndarray, length: int, step: int) -> Iterator[np.ndarray]:
    for start in range(0, len(sound) - length, step):
        yield sound[start : start + length]


def _noisy_speech(seconds: int) -> np.ndarray:
    noise = np.random.default_rng(1).standard_normal(seconds * _RATE)
    return _speech(seconds) + 0.03 * noise.astype(np.float32)


@cache
def _speech(seconds: int) -> np.ndarray:
    """A voice of moving pitch through the formants of five vowels, ten of them a second, with pauses."""
    from scipy.signal import lfilter

    vowels = ((730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240), (530, 1840, 2480), (640, 1190, 2390))
    rng, time = np.random.default_rng(0), np.arange(seconds * _RATE) / _RATE
    pitch = 120 + 25 * np.sin(2 * np.pi * 0.7 * time) + 10 * np.sin(2 * np.pi * 2.3 * time + 1)
    phase = 2 * np.pi * np.cumsum(pitch) / _RATE
    buzz, voice = sum(np.cos(k * phase) / k for k in range(1, 30)), np.zeros(len(time))
    radius, length = np.exp(-np.pi * 80 / _RATE), _RATE // 10
    for start in range(0, len(time), length):
        part = buzz[start : start + length]
        if rng.random() < 0.2:  # a consonant
            part = 0.5 * rng.standard_normal(len(part))
        for formant in vowels[rng.integers(0, len(vowels))]:
            part = lfilter([1 - radius], [1, -2 * radius * np.cos(2 * np.pi * formant / _RATE), radius**2], part)
        voice[start : start + length] = part / (np.abs(part).max() + 1e-9)
    loudness = np.clip(np.sin(2 * np.pi * 3.1 * time) + 0.4, 0, 1) * (np.sin(2 * np.pi * 0.35 * time) > -0.3)
    return (0.4 * voice * loudness + 0.01 * rng.standard_normal(len(time))).astype(np.float32)
