"""False accusations: fresh keys against models that know none of their symbols. ``-m bench.innocents`` alone.

Over the draw of the key every e-value has mean 1, so at most a share a of them passes 1/a (Markov). Residuals do not
depend on the key while all weights are used, so that each suspect is read once and projected under every key.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.arrays import NAMES, Loaded, Marked, fresh_key
from bench.results import kept, markdown
from bench.train import DATA, digits_cnn, fashion_cnn, finetune
from onnxfp.artifact import carriers, open_artifact
from onnxfp.domain import Floats, Weights
from onnxfp.verdict.look import weigh
from onnxfp.workflows.channels import OWNER
from onnxfp.workflows.judge import read_channels

KEYS = {"digits": 2_000, "fashion": 100}  # for each of six suspects, all different: 12 600 fresh keys
RECIPIENTS = 20  # weighed under each key, beside the owner
LEVELS = (0.1, 0.01, 1e-3, 1e-4, 1e-5, 1e-6)


def measure() -> dict[str, Any]:
    """Measure everything that is not kept yet."""
    result = {}
    for model, keys in KEYS.items():
        reference = Loaded.of(digits_cnn(1) if model == "digits" else fashion_cnn(0))
        for number, (name, suspect) in enumerate(_suspects(model, reference).items()):
            label = f"innocents-{model}-{name}".replace(" ", "-")
            result[f"{model}: {name}"] = kept(
                label, _scored(reference, suspect, range(1 + number * keys, 1 + (number + 1) * keys))
            )
    return result


def _suspects(model: str, reference: Loaded) -> dict[str, Callable[[], Weights]]:
    """Suspects of the reference's own shapes, as weights (n,) in a row; made when needed."""
    trained, path = (digits_cnn, digits_cnn(1)) if model == "digits" else (fashion_cnn, fashion_cnn(0))
    found: dict[str, Callable[[], Weights]] = {
        "another seed": lambda: Loaded.of(trained(2)).weights,
        "a fine-tuned sibling": lambda: Loaded.of(finetune(path, 0, 1)).weights,
        "the reference itself": lambda: reference.weights,
        "a copy under another key": lambda: Marked(reference, fresh_key(10**9)).copy("somebody"),
    }
    for file in ("squeezenet_fp16.onnx", "dtln_model_1.onnx") if DATA.exists() else ():
        found[f"weights of {file}"] = lambda file=file: _foreign(DATA / "models" / file, reference)
    return found


def _foreign(path: Path, reference: Loaded) -> Weights:
    """Return an unrelated real model's weights, cut into the reference's shapes."""
    with open_artifact(path) as artifact:
        parts = [artifact.read(artifact.tensor(carrier.name)) for carrier in carriers(artifact, finite=False)]
    weights: Weights = np.resize(np.concatenate(parts), reference.weights.size)
    return weights


def _scored(reference: Loaded, suspect: Callable[[], Weights], keys: range) -> Callable[[], Any]:
    def scored() -> dict[str, Any]:
        opened = reference.opened(suspect())
        scores = np.stack([_under_key(reference, opened, seed) for seed in keys])
        flat = np.sort(scores.reshape(-1))
        return {
            "keys": len(keys),
            "values": int(flat.size),
            "largest": float(flat[-1]),
            "largest_owner": float(scores[:, 0].max()),
            "over": {str(level): float(np.mean(flat >= -np.log10(level))) for level in LEVELS},
            "mean_e": float(np.mean(10.0**flat)),
            "upper": flat[-2000:].tolist(),
        }

    return scored


def _under_key(reference: Loaded, opened: Any, seed: int) -> Floats:
    """Return log10 e of the owner and of some recipients under one fresh key."""
    marked = Marked(reference, fresh_key(seed))
    owner, copies = read_channels(marked.channels, opened)
    names = NAMES[:RECIPIENTS]
    return np.concatenate([weigh([owner], [owner.bet()], [OWNER]), weigh([copies], [copies.bet()], names)])


def table() -> str:
    """Return the table in Markdown."""
    rows = []
    for name, found in measure().items():
        shares = ", ".join(f"{found['over'][str(level)]:.2g}" for level in LEVELS[:4])
        passed = round(found["over"][str(1e-6)] * found["values"])
        rows.append(
            (name, f"{found['keys']:,}", f"{found['values']:,}", f"{found['largest']:.2f}", shares, str(passed))
        )
    header = (
        "suspect",
        "fresh keys",
        "e-values",
        "largest log10 e",
        "share over 1/a, a = 0.1, 0.01, 1e-3, 1e-4",
        "over 1e6",
    )
    return markdown(header, rows)


def plot(path: Path) -> None:
    """Plot the upper tail of log10 e against Markov's bound."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(7.5, 4.5))
    for name, found in measure().items():
        upper = np.array(found["upper"])
        share = np.arange(len(upper), 0, -1) / found["values"]
        axis.step(upper, share, where="post", label=name, lw=1)
    grid = np.linspace(0, 6, 50)
    axis.plot(grid, 10.0**-grid, "k--", label="Markov: P(e >= 1/a) <= a")
    axis.set(yscale="log", xlabel="log10 e", ylabel="share of e-values at least as large", xlim=(-1, 6.2))
    axis.legend(fontsize=7)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    print(table())
