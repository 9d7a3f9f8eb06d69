"""What a mark of default strength costs the model that bears it, beside what 8-bit rounding costs it.

    python -m bench.fidelity

Every model is registered and issued five times, each time under a fresh owner key. Limits: 0.1 percentage points of
task accuracy where there are labels, else 99.5 % agreement with the unmarked model, in the mean over the five copies.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from bench.inputs import Subject, own, third_party
from bench.marked import Marked, mark
from bench.results import kept, markdown, spread
from onnxfp.artifact import Patch, carriers, open_artifact, write_patched
from onnxfp.attacks import parse, run
from onnxfp.errors import CapacityError, FidelityError
from onnxfp.workflows.inspect import inspect

COPIES = 5
LOSS, AGREEMENT = 0.001, 0.995  # the limits
ATTACKS = ("round:8", "round:4", "prune:0.5")
_HALVINGS = 5  # tried at most below the default strength


def measure() -> dict[str, Any]:
    """One result per model; what was measured before is kept."""
    results = {}
    for subject in (*own(), *third_party()):
        result = kept(f"fidelity-{subject.name}", lambda subject=subject: _measure(subject))
        if _verdict(result) == "**no**":
            gentler = kept(f"fidelity-{subject.name}-gentler", lambda s=subject, r=result: _gentler(s, r["strength"]))
            result["gentler"] = gentler
        results[subject.name] = result
    return results


def table() -> str:
    """Return both tables: default strength, and the strength that passes where that one does not."""
    results = measure()
    header = ("model", "positions (owner's)", "strength", "largest change of a carrier", "measure", "unmarked")
    header = (*header, "marked: mean (worst)", "8-bit rounding", "within the limits")
    rows = [_row(name, result) for name, result in results.items()]
    gentle = [_gentle_row(name, result) for name, result in results.items() if "gentler" in result]
    head = ("model", "strength", "marked: mean (worst)", "log10 e, owner's", *(f"after {step}" for step in ATTACKS))
    return "\n\n".join([markdown(header, rows), *([markdown(head, gentle)] if gentle else [])])


# --- measuring --------------------------------------------------------------------------------------------------------


def _measure(subject: Subject) -> dict[str, Any]:
    """Issue copies at default strength and score them, or say why there are none."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        try:
            copies = [mark(subject.path, folder / str(number), "r7") for number in range(COPIES)]
        except CapacityError:
            return {"refused": _refusal(subject.path)}
        rounded = folder / "rounded.onnx"
        round_per_channel(subject.path, rounded)
        return {
            **_facts(copies),
            "words": subject.words,
            "before": subject.score(subject.path),
            "copies": [subject.score(copy.copy) for copy in copies],
            "rounded": subject.score(rounded),
        }


def _gentler(subject: Subject, default: float) -> dict[str, Any] | None:
    """Halve the strength until the limits are kept; then see what of the mark survives."""
    before = subject.score(subject.path)
    for halving in range(1, _HALVINGS + 1):
        with TemporaryDirectory() as name:
            options = {"strength": default / 2**halving}
            try:
                copies = [mark(subject.path, Path(name) / str(number), "r7", options) for number in range(COPIES)]
            except FidelityError as problem:
                return {"refused": str(problem)}
            result = {**_facts(copies), "before": before, "copies": [subject.score(copy.copy) for copy in copies]}
            if _verdict(result) != "**no**":
                return result | {"attacked": {step: [_attacked(copy, step) for copy in copies] for step in ATTACKS}}
    return None


def _facts(copies: list[Marked]) -> dict[str, Any]:
    facts = [copy.facts for copy in copies]
    same = {key: facts[0][key] for key in ("strength", "positions", "owner_positions")}
    return {
        **same,
        "change": max(fact["relative_change"] for fact in facts),
        "log10_e": [fact["log10_e"] for fact in facts],
        "log10_e_owner": [fact["log10_e_owner"] for fact in facts],
    }


def _attacked(copy: Marked, step: str) -> dict[str, float]:
    leaked = copy.folder / "leaked" / "model.onnx"  # a folder of its own: external data keep their name
    leaked.parent.mkdir(exist_ok=True)
    run(parse(step), [copy.copy], leaked, seed=1, force=True)
    judged = copy.judged(leaked, (), issued=100_000)
    return {key: judged[key] for key in ("log10_e", "owner")}


def _refusal(model: Path) -> str:
    facts = inspect(model).inspection
    if facts.writable_weights:
        return f"not enough positions: {facts.writable_weights:,} weights"
    if facts.carrier_weights:
        return "cannot be marked: integer weights only"
    return "cannot be marked: no weights of these operators"


def round_per_channel(source: Path, destination: Path) -> None:
    """Write the model with every carrier on the grid of int8 with one scale per output channel, as deployment does."""
    import onnx

    nodes = onnx.load(source, load_external_data=False).graph.node
    transposed = {node.input[1] for node in nodes for fact in node.attribute if fact.name == "transB" and fact.i == 1}
    with open_artifact(source) as artifact:

        def patches() -> Iterator[Patch]:
            for carrier in carriers(artifact):
                if carrier.writable and carrier.dtype.endswith(("float", "float16")):
                    record = artifact.tensor(carrier.name)
                    weights = artifact.read(record).reshape(carrier.shape)
                    kept_axes = _channels(carrier.operator, weights.ndim, carrier.name in transposed)
                    others = tuple(axis for axis in range(weights.ndim) if axis not in kept_axes)
                    step = np.abs(weights).max(axis=others, keepdims=True) / 127
                    rounded = np.rint(weights / np.where(step > 0, step, 1)) * step
                    yield Patch(carrier.name, 0, rounded.astype(np.float32).reshape(-1))

        write_patched(artifact, destination, patches())


def _channels(operator: str, dimensions: int, transposed: bool) -> tuple[int, ...]:
    """Return the axes along which outputs lie."""
    match operator:
        case "Conv":
            return (0,)
        case "ConvTranspose":
            return (1,)
        case "LSTM" | "GRU" | "RNN":
            return (0, 1)
        case _:
            return (0,) if transposed else (dimensions - 1,)


# --- telling ----------------------------------------------------------------------------------------------------------


def _verdict(result: dict[str, Any]) -> str:
    """Whether the limits are kept: by every copy, in the mean, or not."""
    values = _values(result)
    if "refused" in result or not values:
        return "-"
    before, limit = result["before"], AGREEMENT
    if "accuracy" in before:
        limit = before["accuracy"] - LOSS
    if min(values) >= limit - 1e-9:
        return "yes"
    return "in the mean" if np.mean(values) >= limit - 1e-9 else "**no**"


def _values(result: dict[str, Any]) -> list[float]:
    return [score.get("accuracy", score.get("agreement")) for score in result.get("copies", ()) if score]


def _row(name: str, result: dict[str, Any]) -> tuple[str, ...]:
    if "refused" in result:
        return (name, result["refused"], *("-" for _ in range(7)))
    before, values, rounded = result["before"], _values(result), result["rounded"]
    start = (name, f"{result['positions']} ({result['owner_positions']})", f"{result['strength']:.4f}")
    start = (*start, f"{result['change']:.1%}")
    if not before:
        return (*start, "onnxruntime cannot load it", *("-" for _ in range(4)))
    if "accuracy" not in before:
        return (*start, result["words"], "-", _mean_and_worst(values), f"{rounded['agreement']:.2%}", _verdict(result))
    alike = np.mean([score["agreement"] for score in result["copies"]])
    return (
        *start,
        "accuracy; top-1 agreement",
        f"{before['accuracy']:.2%}",
        f"{_mean_and_worst(values)}; {alike:.2%}",
        f"{rounded['accuracy']:.2%}; {rounded['agreement']:.2%}",
        _verdict(result),
    )


def _gentle_row(name: str, result: dict[str, Any]) -> tuple[str, ...]:
    gentler = result["gentler"]
    if gentler is None or "refused" in gentler:
        why = "no strength passes" if gentler is None else gentler["refused"].partition(";")[0]
        return (name, why, *("-" for _ in range(5)))
    evidence = f"{spread(gentler['log10_e'], 0)}, {spread(gentler['log10_e_owner'], 0)}"
    attacked = [gentler["attacked"][step] for step in ATTACKS]
    left = [f"{_evidence(runs, 'log10_e')}, {_evidence(runs, 'owner')}" for runs in attacked]
    return (name, f"{gentler['strength']:.4f}", _mean_and_worst(_values(gentler)), evidence, *left)


def _evidence(runs: list[dict[str, float]], key: str) -> str:
    return spread([run_[key] for run_ in runs], 0)


def _mean_and_worst(values: list[float]) -> str:
    return f"{np.mean(values):.2%} ({min(values):.2%})"


if __name__ == "__main__":
    print(table())
