"""False claims: fresh keys of trigger sets against models that were trained without them. ``-m bench.strangers``.

Every key commits to triggers on the unmarked Fashion-MNIST model and draws key labels for them; models trained
from other seeds are asked, in this process, and read with the scheme's own `read`. Over the draw of the labels an
e-value has mean 1 at most, and p is the exact tail of the hits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench import zoo
from bench.marking import subjects, took
from bench.results import is_kept, kept, markdown
from onnxfp.artifact import open_artifact, profile
from onnxfp.domain import Answered, Floats, ModelProfile, PublicClaim
from onnxfp.keys.keystream import Keystream
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
Ask = Callable[[NDArray[Any]], Floats]


def strangers() -> dict[str, Path]:
    """Those who are asked, by name: independent trainings in the cache, and others who know nothing of a fresh key."""
    recipe = zoo.INDEPENDENT
    made_from = [hashlib.sha256(repr((recipe, 1000 + seed)).encode()).hexdigest()[:8] for seed in range(STRANGERS)]
    paths = [zoo.CACHE / f"zoo-independent-{1000 + seed}-{name}.onnx" for seed, name in enumerate(made_from)]
    found = {f"independent {seed}": path for seed, path in enumerate(paths) if path.exists()}
    found |= {f"fashion {seed}": zoo.fashion(seed) for seed in (1, 2)}
    found |= {f"mnist {seed}": zoo.mnist(seed) for seed in (0, 1, 2)}
    marked = [subject for subject in subjects("fashion") if subject.seed == 0 and took(subject, whole=False)]
    return found | {f"fashion 0, marked with {subject.kind}": subject.marked for subject in marked}


def measure(*, whole: bool) -> dict[str, dict[str, Any]]:
    """All values, per kind of trigger: (keys, models) each."""
    crowd = hashlib.sha256(repr(list(strangers())).encode()).hexdigest()[:8]
    found: dict[str, dict[str, Any]] = {}
    for kind, keys in KEYS.items():
        chunks = [
            kept(f"strangers-{kind}-{crowd}-{at}", lambda kind=kind, at=at: _chunk(kind, range(at, at + CHUNK)))
            for at in range(0, keys, CHUNK)
            if whole or is_kept(f"strangers-{kind}-{crowd}-{at}")
        ]
        if not chunks:
            continue
        found[kind] = {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}
    return found


def _chunk(kind: str, keys: range) -> dict[str, Any]:
    rows = [_under_key(kind, Keystream(hashlib.sha256(f"stranger {kind} {key}".encode()).digest())) for key in keys]
    return {name: np.array([row[name] for row in rows]).round(6).tolist() for name in rows[0]}


def _under_key(kind: str, keystream: Keystream) -> dict[str, list[float]]:
    """log10 e by labels and by scores, and p, of all strangers under one fresh key."""
    scheme, asks = Zhang(), _asks()
    options = scheme.options({"triggers": kind, "taught": 1})  # nobody is taught
    own = {"inputs": zoo.data("fashion_mnist").x_train[:OWN]}
    samples = scheme.select(own, options, keystream, _ask(str(zoo.fashion(0))))
    key = scheme.keygen(_profile(), samples, options, keystream)
    secret = keystream.derive("words", "owner")
    claim = PublicClaim(key, key.code.codebook(secret, key.positions))
    word = key.code.words(secret, claim.codebook, ["owner"])
    found: dict[str, list[float]] = {"labels": [], "scores": [], "p": []}
    for ask in asks:
        scores = ask(key.asked)
        for access, values in (("labels", scores.argmax(axis=1).astype(np.float64)), ("scores", scores)):
            reading = scheme.read(claim, [Answered(values)])
            found[access].append(float(log10_e(reading, claim.codebook, word)[0]))
        assert reading.tally is not None
        found["p"].append(exact_tail(reading.tally, claim.codebook, word[0]))
    return found


@cache
def _asks() -> list[Ask]:
    return [_ask(str(path)) for path in strangers().values()]


@cache
def _ask(path: str) -> Ask:
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
        keys, models = found["p"].shape
        claims = sum(int((found[access] >= 6).sum()) for access in ("labels", "scores"))
        rows.append(
            (
                kind,
                f"{keys:,}",
                str(models),
                f"{keys * models:,}",
                ", ".join(f"{found[access].max():.2f}" for access in ("labels", "scores")),
                ", ".join(f"{np.mean(10.0 ** found[access]):.2f}" for access in ("labels", "scores")),
                str(claims) if claims == 0 else f"**{claims}**",
                ", ".join(f"{np.mean(found['p'] <= level):.3g}" for level in LEVELS),
                "yes" if all(_kept(found["p"], level) for level in LEVELS) else "**no**",
            )
        )
    independent = sum(name.startswith("independent") for name in strangers())
    short = "" if independent == STRANGERS else f" ({STRANGERS} were planned; the others had not been trained)"
    others = ", ".join(name for name in strangers() if not name.startswith("independent"))
    return f"{markdown(header, rows)}\n\nModels: {independent} independent trainings{short}; {others}."


def _kept(p: Floats, level: float) -> bool:
    """Whether no more p-values are below a level than chance allows; models under one key depend on one another."""
    per_key = np.mean(p <= level, axis=1)
    deviation = max(np.std(per_key) / np.sqrt(len(p)), np.sqrt(level * (1 - level) / p.size))
    return bool(per_key.mean() <= level + DEVIATIONS * deviation)


def plot(path: Path) -> None:
    """Plot the tail of log10 e against Markov's bound, and the share of p-values below each level."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2))
    for kind, access, values in _curves(measure(whole=False)):
        upper = np.sort(values.reshape(-1))
        share = np.arange(len(upper), 0, -1) / len(upper)
        left.step(upper, share, where="post", label=f"{kind}, {access}", lw=1)
    grid = np.linspace(0, 6, 50)
    left.plot(grid, 10.0**-grid, "k--", label="Markov: P(e >= 1/a) <= a")
    left.set(yscale="log", xlabel="log10 e", ylabel="share of e-values at least as large", xlim=(-2, 6.2))
    for kind, found in measure(whole=False).items():
        ordered = np.sort(found["p"].reshape(-1))
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


def _curves(found: dict[str, dict[str, Any]]) -> Iterator[tuple[str, str, Floats]]:
    for kind, values in found.items():
        for access in ("labels", "scores"):
            yield kind, access, values[access]


if __name__ == "__main__":
    print(table(whole=True))
