"""Coalitions: how many of those who combined their copies are named, and whether anybody else is.

Fashion-MNIST CNN (687 104 carrier weights), N = 100 000 recipients, alpha = 1e-6. ``-m bench.coalitions`` alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bench.arrays import NAMES, Loaded, Marked, fresh_key
from bench.results import kept, markdown
from bench.train import fashion_cnn
from onnxfp.attacks import coalition
from onnxfp.attacks.prune import prune
from onnxfp.domain import Answered, Weights
from onnxfp.schemes.deepmarks import paper_decode

THRESHOLD = 11.0  # log10 of 100 000 recipients / 1e-6
KERNELS = {
    "average": coalition.average,
    "random pick": coalition.random_pick,
    "minimum": coalition.minimum,
    "maximum": coalition.maximum,
    "(min+max)/2": coalition.midrange,
    "median": coalition.median,
}
KEYS = (0, 1, 2)
SIZES = (2, 5, 10, 15, 20, 30, 40, 50, 60, 70, 80, 90, 100)
POSITIONS = (2048, 8192, 32768)
INNOCENTS = 2000


def measure() -> dict[str, Any]:
    """Measure everything that is not kept yet."""
    named = {
        f"{size} of {positions}": {
            str(key): kept(f"coalition-{size}-{positions}-{key}", _row(size, positions, key)) for key in KEYS
        }
        for size, positions in ((30, 8192), (50, 32768))
    }
    pruned = {str(key): kept(f"coalition-pruned-{key}", _pruned(key)) for key in KEYS}
    curves = {str(positions): kept(f"coalition-curve-{positions}", _curve(positions)) for positions in POSITIONS}
    return {"named": named, "pruned": pruned, "curves": curves, "bibd31": kept("coalition-bibd31", _bibd)}


def _marked(positions: int, key: int) -> Marked:
    return Marked(Loaded.of(fashion_cnn(0)), fresh_key(key), options=(("positions", positions),))


def _judged(marked: Marked, suspect: Weights, size: int) -> dict[str, float]:
    scores = marked.log10_e(suspect, NAMES[: size + INNOCENTS])
    return {
        "named": int(np.sum(scores[:size] >= THRESHOLD)),
        "weakest": float(scores[:size].min()),
        "innocent": float(scores[size:].max()),
    }


def _row(size: int, positions: int, key: int) -> Any:
    def row() -> dict[str, dict[str, float]]:
        marked, rng = _marked(positions, key), np.random.default_rng(key)
        copies = np.stack([marked.copy(name) for name in NAMES[:size]])
        found = {}
        for name, kernel in KERNELS.items():
            suspect = kernel(copies, rng)
            noise = rng.standard_normal(suspect.size, dtype=np.float32) * marked.amplitude
            found[name] = _judged(marked, suspect, size)
            found[f"{name} + noise"] = _judged(marked, suspect + noise, size)
        return found

    return row


def _pruned(key: int) -> Any:
    def row() -> dict[str, float]:
        marked, rng = _marked(8192, key), np.random.default_rng(key)
        suspect = coalition.average(np.stack([marked.copy(name) for name in NAMES[:10]]), rng)
        suspect = suspect + rng.standard_normal(suspect.size, dtype=np.float32) * marked.amplitude
        return _judged(marked, prune(suspect, 0.5), 10)

    return row


def _curve(positions: int) -> Any:
    def curve() -> dict[str, dict[str, dict[str, float]]]:
        marked, rng = _marked(positions, 0), np.random.default_rng(0)
        copies = np.stack([marked.copy(name) for name in NAMES[: max(SIZES)]])
        kernels = ("average", "minimum", "random pick")
        return {
            name: {str(size): _judged(marked, KERNELS[name](copies[:size], rng), size) for size in SIZES}
            for name in kernels
        }

    return curve


def _bibd() -> dict[str, dict[str, float]]:
    """DeepMarks as published, (31,6,1): colluders named and innocents framed, mean over 20 random coalitions."""
    marked = Marked(Loaded.of(fashion_cnn(0)), fresh_key(0), "deepmarks", (("code", "bibd31"),))
    channel = marked.channels[1]
    code, secret = channel.public.key.code, channel.secret
    holders: dict[int, str] = {}
    for name in NAMES:
        holders.setdefault(code.column(secret, name), name)
        if len(holders) == 31:
            break
    copies = {column: marked.copy(name) for column, name in holders.items()}
    rng, result = np.random.default_rng(0), {}
    for size in (1, 2, 3, 4, 5, 6, 7, 8, 10, 15, 20, 25, 31):
        named, framed = [], []
        for _ in range(20):
            colluders = set(rng.choice(31, size, replace=False).tolist())
            suspect = np.mean([copies[column] for column in colluders], axis=0, dtype=np.float64).astype(np.float32)
            probes = channel.scheme.probes(channel.public)
            answers = [marked.loaded.opened(suspect).answer(probe) for probe in probes]
            assert isinstance(answers[0], Answered)
            decoded = paper_decode(channel.public, answers, code.signs(secret, 31))
            accused = set(decoded.superset)
            named.append(len(accused & colluders))
            framed.append(len(accused - colluders))
        result[str(size)] = {"named": float(np.mean(named)), "framed": float(np.mean(framed))}
    return result


def table() -> str:
    """Return the tables in Markdown."""
    found = measure()
    rows = []
    for title, keys in found["named"].items():
        size = int(title.split()[0])
        for attack in next(iter(keys.values())):
            values = [keys[key][attack] for key in keys]
            rows.append(_line(f"{size} colluders, {title.split()[-1]} positions", attack, size, values))
    rows.append(
        _line("10 colluders, 8192 positions", "average + noise + prune 50 %", 10, list(found["pruned"].values()))
    )
    return markdown(("coalition", "attack", "named (per key)", "weakest log10 e", "best innocent log10 e"), rows)


def _line(who: str, attack: str, size: int, values: list[dict[str, float]]) -> tuple[str, ...]:
    named = ", ".join(f"{value['named']}/{size}" for value in values)
    weakest, innocent = min(value["weakest"] for value in values), max(value["innocent"] for value in values)
    return who, attack, named, f"{weakest:.1f}", f"{innocent:.1f}"


def plot(path: Path) -> None:
    """Plot colluders named against coalition size."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    found = measure()
    figure, axes = plt.subplots(1, 3, figsize=(13, 4), sharey=True)
    for axis, attack in zip(axes, ("average", "minimum", "random pick"), strict=True):
        for positions, curve in found["curves"].items():
            sizes = [int(size) for size in curve[attack]]
            axis.plot(
                sizes,
                [row["named"] for row in curve[attack].values()],
                marker="o",
                ms=3,
                label=f"{positions} positions",
            )
        axis.plot((0, 100), (0, 100), color="0.8", zorder=0)
        axis.set(title=attack, xlabel="colluders")
    bibd = found["bibd31"]
    sizes = [int(size) for size in bibd]
    axes[0].plot(sizes, [row["named"] for row in bibd.values()], "k--", label="deepmarks (31,6,1): named")
    axes[0].plot(sizes, [row["framed"] for row in bibd.values()], "r--", label="deepmarks: INNOCENTS named")
    axes[0].set(ylabel="recipients named (alpha = 1e-6, N = 100 000)")
    axes[0].legend(fontsize=8)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    print(table())
