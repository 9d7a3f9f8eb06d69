"""False claims: fresh keys of trigger sets against models that were trained without them. ``-m bench.strangers``.

Every key commits to triggers on the unmarked Fashion-MNIST model and draws key labels for them; models trained
from other seeds are asked, in this process, and read with the scheme's own `read`. Over the draw of the labels an
e-value has mean 1 at most, and p is the exact tail of the hits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench import zoo
from bench.marking import subjects, took
from bench.results import is_kept, kept, markdown
from onnxfp.artifact import open_artifact, profile
from onnxfp.domain import Answered, Floats, ModelProfile, PublicClaim, QueryProbe, Symbols
from onnxfp.keys.keystream import Keystream
from onnxfp.schemes.interface import Scheme
from onnxfp.schemes.zhang import Zhang
from onnxfp.suspect.outputs import class_answers
from onnxfp.verdict.betting import log10_e
from onnxfp.verdict.tails import exact_tail

KEYS = {"content": 2_000, "noise": 300, "unrelated": 300}
CHUNK = 100  # keys that are kept as one result
OWN = 1_000  # training images from which the owner makes triggers
LEVELS = (0.5, 0.1, 0.01, 0.001)
DEVIATIONS = 4.0  # that a count may lie above its bound
STRANGERS = 20
CROWDS = (range(2), range(2, 6), range(6, 10), range(10, 14), range(14, STRANGERS))
VALUES = ("labels", "scores", "p")
Ask = Callable[[NDArray[Any]], Floats]


def independent() -> dict[str, Path]:
    """Independent trainings that are in the cache."""
    made_from = [
        hashlib.sha256(repr((zoo.INDEPENDENT, 1000 + seed)).encode()).hexdigest()[:8] for seed in range(STRANGERS)
    ]
    paths = [zoo.CACHE / f"zoo-independent-{1000 + seed}-{name}.onnx" for seed, name in enumerate(made_from)]
    return {f"independent {seed}": path for seed, path in enumerate(paths) if path.exists()}


def crowds() -> list[dict[str, Path]]:
    """Those who are asked, by name, in crowds that are asked together; a crowd is there when all of it was trained."""
    there = independent()
    named = [[f"independent {seed}" for seed in crowd] for crowd in CROWDS]
    alike = [{name: there[name] for name in crowd} for crowd in named if all(name in there for name in crowd)]
    others = {f"fashion {seed}": zoo.fashion(seed) for seed in (1, 2)}
    others |= {f"mnist {seed}": zoo.mnist(seed) for seed in (0, 1, 2)}
    marked = [subject for subject in subjects("fashion") if subject.seed == 0 and took(subject, whole=False)]
    others |= {f"fashion 0, marked with {subject.kind}": subject.marked for subject in marked}
    return [alike[0] | others, *alike[1:]]


def measure(*, whole: bool) -> dict[str, dict[str, Floats]]:
    """All values, per kind of trigger: (keys, models) each, NaN for what was not measured."""
    found: dict[str, dict[str, Floats]] = {}
    for kind, keys in KEYS.items():
        parts = [_of_crowd(kind, keys, crowd, whole=whole) for crowd in crowds()]
        told = [part for part in parts if part]
        if told:
            found[kind] = {name: np.concatenate([part[name] for part in told], axis=1) for name in VALUES}
    return found


def _of_crowd(kind: str, keys: int, crowd: dict[str, Path], *, whole: bool) -> dict[str, Floats]:
    """The values of one crowd, (keys, its models); empty if there are none."""
    named = hashlib.sha256(repr(list(crowd)).encode()).hexdigest()[:8]
    found = {name: np.full((keys, len(crowd)), np.nan) for name in VALUES}
    starts = [at for at in range(0, keys, CHUNK) if whole or is_kept(f"strangers-{kind}-{named}-{at}")]
    for at in starts:
        chunk = kept(f"strangers-{kind}-{named}-{at}", lambda at=at: _chunk(kind, range(at, at + CHUNK), crowd))
        for name in VALUES:
            found[name][at : at + CHUNK] = chunk[name]
    return found if starts else {}


def _chunk(kind: str, keys: range, crowd: dict[str, Path]) -> dict[str, Any]:
    asks = [asker(str(path)) for path in crowd.values()]
    secrets = [Keystream(hashlib.sha256(f"stranger {kind} {key}".encode()).digest()) for key in keys]
    rows = [_under_key(kind, secret, asks) for secret in secrets]
    return {name: np.array([row[name] for row in rows]).round(6).tolist() for name in VALUES}


@dataclass(frozen=True)
class Fresh:
    """A claim that a fresh key made on the unmarked Fashion-MNIST model; nobody was taught it."""

    scheme: Scheme[Any]
    claim: PublicClaim[Any]
    word: Symbols

    @property
    def inputs(self) -> NDArray[Any]:
        """What is asked, (samples, ...)."""
        (probe,) = self.scheme.probes(self.claim)
        assert isinstance(probe, QueryProbe)
        return probe.inputs

    def weighed(self, scores: Floats) -> dict[str, float]:
        """log10 e of answers (samples, classes) by labels and by scores, and p of the hits."""
        found: dict[str, float] = {}
        for access, values in (("labels", scores.argmax(axis=1).astype(np.float64)), ("scores", scores)):
            reading = self.scheme.read(self.claim, [Answered(values)])
            found[access] = float(log10_e(reading, self.claim.codebook, self.word[None])[0])
        assert reading.tally is not None
        return found | {"p": exact_tail(reading.tally, self.claim.codebook, self.word)}


def fresh(scheme: Scheme[Any], values: dict[str, Any], keystream: Keystream) -> Fresh:
    """Draw a claim."""
    options = scheme.options(values)
    own = {"inputs": zoo.data("fashion_mnist").x_train[:OWN]}
    samples = scheme.select(own, options, keystream, asker(str(zoo.fashion(0))))
    key = scheme.keygen(_profile(), samples, options, keystream)
    secret = keystream.derive("words", "owner")
    codebook = key.code.codebook(secret, key.positions)
    return Fresh(scheme, PublicClaim(key, codebook), key.code.words(secret, codebook, ["owner"])[0])


def _under_key(kind: str, keystream: Keystream, asks: list[Ask]) -> dict[str, list[float]]:
    """log10 e by labels and by scores, and p, of all strangers under one fresh key."""
    drawn = fresh(Zhang(), {"triggers": kind, "taught": 1}, keystream)  # nobody is taught
    found = [drawn.weighed(ask(drawn.inputs)) for ask in asks]
    return {name: [one[name] for one in found] for name in VALUES}


@cache
def asker(path: str) -> Ask:
    """Whoever answers for a file, in this process: log-probabilities (samples, classes)."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def ask(inputs: NDArray[Any]) -> Floats:
        return class_answers([("logits", session.run(None, {"input": inputs})[0])], len(inputs))

    return ask


@cache
def _profile() -> ModelProfile:
    with open_artifact(zoo.fashion(0)) as artifact:
        return profile(artifact)


# --- telling ----------------------------------------------------------------------------------------------------------


def table(*, whole: bool) -> str:
    """Return e-values and p-values beside their bounds."""
    header = (
        "triggers",
        "fresh keys",
        "models",
        "values",
        "largest log10 e: labels, scores",
        "mean e: labels, scores",
        "claims (e >= 1e6)",
        f"share of p <= t, t = {', '.join(f'{level:g}' for level in LEVELS)}",
        f"at most t + {DEVIATIONS:g} deviations",
    )
    rows = []
    for kind, found in measure(whole=whole).items():
        told = ~np.isnan(found["p"])
        values = {name: found[name][told] for name in VALUES}
        claims = sum(int((values[access] >= 6).sum()) for access in ("labels", "scores"))
        rows.append(
            (
                kind,
                f"{int(told.any(axis=1).sum()):,}",
                str(int(told.any(axis=0).sum())),
                f"{int(told.sum()):,}",
                ", ".join(f"{values[access].max():.2f}" for access in ("labels", "scores")),
                ", ".join(f"{np.mean(10.0 ** values[access]):.2f}" for access in ("labels", "scores")),
                str(claims) if claims == 0 else f"**{claims}**",
                ", ".join(f"{np.mean(values['p'] <= level):.3g}" for level in LEVELS),
                "yes" if all(is_bounded(found["p"], level) for level in LEVELS) else "**no**",
            )
        )
    told_of = [crowd for crowd in crowds() if _of_crowd("content", KEYS["content"], crowd, whole=False)]
    names = [name for crowd in told_of for name in crowd]
    independent = sum(name.startswith("independent") for name in names)
    short = "" if independent == STRANGERS else f" ({STRANGERS} were planned; the others were not asked)"
    others = ", ".join(name for name in names if not name.startswith("independent"))
    return f"{markdown(header, rows)}\n\nModels: {independent} independent trainings{short}; {others}."


def is_bounded(p: Floats, level: float) -> bool:
    """Whether no more p-values are below a level than chance allows; models under one key depend on one another."""
    told = ~np.isnan(p)
    keys = told.any(axis=1)
    per_key = (p <= level).sum(axis=1)[keys] / told.sum(axis=1)[keys]
    deviation = max(np.std(per_key) / np.sqrt(len(per_key)), np.sqrt(level * (1 - level) / told.sum()))
    return bool(per_key.mean() <= level + DEVIATIONS * deviation)


def plot(path: Path) -> None:
    """Plot the tail of log10 e against Markov's bound, and the share of p-values below each level."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2))
    for kind, access, values in _curves(measure(whole=False)):
        upper = np.sort(values[~np.isnan(values)])
        share = np.arange(len(upper), 0, -1) / len(upper)
        left.step(upper, share, where="post", label=f"{kind}, {access}", lw=1)
    grid = np.linspace(0, 6, 50)
    left.plot(grid, 10.0**-grid, "k--", label="Markov: P(e >= 1/a) <= a")
    left.set(yscale="log", xlabel="log10 e", ylabel="share of e-values at least as large", xlim=(-2, 6.2))
    for kind, found in measure(whole=False).items():
        ordered = np.sort(found["p"][~np.isnan(found["p"])])
        right.step(ordered, np.arange(1, len(ordered) + 1) / len(ordered), where="post", label=kind, lw=1)
    ends = np.array([1e-4, 1.0])
    right.plot(ends, ends, "k--", label="uniform")
    right.set(xscale="log", yscale="log", xlim=(1e-4, 1), ylim=(1e-5, 1), xlabel="p", ylabel="share of p-values below")
    for axis in (left, right):
        axis.legend(fontsize=7)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _curves(found: dict[str, dict[str, Floats]]) -> Iterator[tuple[str, str, Floats]]:
    for kind, values in found.items():
        for access in ("labels", "scores"):
            yield kind, access, values[access]


if __name__ == "__main__":
    print(table(whole=True))
