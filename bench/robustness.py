"""Who is named after a leaked copy has been attacked, and what the attack leaves of the model.

    python -m bench.robustness

Three copies of every model under three fresh owner keys (Fashion-MNIST: one copy of each of three trainings), traced
among 100 000 recipients at alpha = 1e-6, so that log10 e must reach 11. A thousand innocents are weighed beside the
leaker; for one hard case all 100 000 are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench import train
from bench.inputs import Subject, own, third_party
from bench.marked import Marked, mark
from bench.results import kept, markdown, spread
from onnxfp.attacks import parse, run
from onnxfp.errors import CapacityError, UsageError

ISSUED = 100_000
LEAKER = "r7"
KEYS = 3
STEPS = ("fp16", "round:8", "round:4", "prune:0.5", "prune:0.7", "prune:0.9")
NOISE, TUNING = "noise", "fine-tuning"
LOST = 0.05  # of accuracy or agreement, just before which noise stops
EPOCHS, RATE = 30, 0.1  # of fine-tuning, and its share of the training rate
_HALVINGS = 10  # of the noise level's interval
_INNOCENTS = [f"r{number}" for number in range(1000, 2000)]
_HARDEST = "prune:0.9"


@dataclass(frozen=True)
class Leak:
    """One copy of one model."""

    group: str
    """The row of the table in which it is told."""
    number: int
    subject: Subject
    tunable: bool

    @property
    def marked(self) -> Marked:
        """The copy and its vault; kept, since fine-tuned models are made from it."""
        return mark(self.subject.path, train.CACHE / "leaks" / f"{self.subject.name}-{self.number}", LEAKER)


def measure() -> dict[str, Any]:
    """One result per model, attack and copy; what was measured before is kept."""
    results: dict[str, Any] = {}
    for leak in _leaks():
        try:
            copy = leak.marked
        except CapacityError:
            continue
        name = f"{leak.subject.name}-{leak.number}"
        rows = results.setdefault(leak.group, {})
        unchanged = kept(f"robustness-{name}-none", lambda leak=leak, copy=copy: _judged(leak, copy, copy.copy))
        rows.setdefault("none", []).append(unchanged)
        for attack in (*STEPS, NOISE, *([TUNING] if leak.tunable else [])):
            title = f"robustness-{name}-{attack.replace(':', '-')}"
            result = kept(title, lambda leak=leak, copy=copy, attack=attack: _attacked(leak, copy, attack))
            if result is not None:
                rows.setdefault(attack, []).append(result)
    results["all"] = kept("robustness-all-recipients", _all_recipients)
    return results


def table() -> str:
    """Return a table of all models and attacks, and a line on all 100 000 recipients."""
    results = measure()
    everybody = results.pop("all")
    header = ("model", "attack", "log10 e", "owner's", "best of 1 000 innocents", "quality before", "left", "named")
    rows = [
        (group, attack, *_row(runs, attacks["none"]))
        for group, attacks in results.items()
        for attack, runs in attacks.items()
    ]
    line = (
        f"All {ISSUED:,} recipients of fashion-0 after {_HARDEST}: the leaker has log10 e = "
        f"{everybody['log10_e']:.1f}, the best of the others {everybody['innocent']:.1f}, "
        f"{everybody['threshold']:.0f} is needed; {everybody['innocents_named']} innocents named."
    )
    return f"{markdown(header, rows)}\n\n{line}"


# --- measuring --------------------------------------------------------------------------------------------------------


def _leaks() -> Iterator[Leak]:
    for subject in own():
        if subject.name == "digits":
            yield from (Leak("digits", number, subject, tunable=True) for number in range(KEYS))
        else:
            # Thirty epochs take several minutes, so one of the three trainings is tuned.
            yield Leak("fashion (3 trainings)", 0, subject, tunable=subject.name == "fashion-0")
    for subject in third_party():
        yield from (Leak(subject.name, number, subject, tunable=False) for number in range(KEYS))


def _judged(leak: Leak, copy: Marked, suspect: Path) -> dict[str, Any]:
    return copy.judged(suspect, _INNOCENTS, ISSUED) | {"quality": leak.subject.quality(suspect)}


def _attacked(leak: Leak, copy: Marked, attack: str) -> dict[str, Any] | None:
    """Attack the copy's file and trace what comes of it; None if the attack has nothing to do."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        if attack == TUNING:
            return _judged(leak, copy, train.finetune(copy.copy, seed=leak.number, epochs=EPOCHS, rate_factor=RATE))
        if attack == NOISE:
            return _noised(leak, copy, folder)
        try:
            return _judged(leak, copy, _run(copy, attack, folder / "leaked.onnx", leak.number))
        except UsageError as problem:
            if "half precision already" in str(problem):
                return None
            raise


def _noised(leak: Leak, copy: Marked, folder: Path) -> dict[str, Any] | None:
    """Find the level at which the noise costs 5 points, by bisection, and stop just before."""
    before = leak.subject.quality(copy.copy)
    if before is None:
        return None
    low, high = math.log(0.001), math.log(10.0)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        noisy = _run(copy, f"{NOISE}:{math.exp(middle):.6f}", folder / "leaked.onnx", leak.number)
        left = leak.subject.quality(noisy)
        assert left is not None
        low, high = (low, middle) if before - left >= LOST else (middle, high)
    noisy = _run(copy, f"{NOISE}:{math.exp(low):.6f}", folder / "leaked.onnx", leak.number)
    return _judged(leak, copy, noisy) | {"level": math.exp(low)}


def _run(copy: Marked, step: str, destination: Path, seed: int) -> Path:
    run(parse(step), [copy.copy], destination, seed, force=True)
    return destination


def _all_recipients() -> dict[str, Any]:
    """Weigh everybody once, where it is hardest."""
    leak = next(leak for leak in _leaks() if leak.subject.name == "fashion-0")
    with TemporaryDirectory() as name:
        leaked = _run(leak.marked, _HARDEST, Path(name) / "leaked.onnx", leak.number)
        everybody = (f"r{number}" for number in range(ISSUED) if f"r{number}" != LEAKER)
        return leak.marked.judged(leaked, everybody, ISSUED)


# --- telling ----------------------------------------------------------------------------------------------------------


def _row(runs: list[dict[str, Any]], unchanged: list[dict[str, Any]]) -> tuple[str, ...]:
    named, innocents = sum(run_["named"] for run_ in runs), sum(run_["innocents_named"] for run_ in runs)
    verdict = f"{named} of {len(runs)}" if named == len(runs) else f"**{named} of {len(runs)}**"
    left = _shares(runs)
    if "level" in runs[0]:
        left += f" at {spread([run_['level'] for run_ in runs], 3)} deviations"
    return (
        _numbers(runs, lambda run_: run_["log10_e"]),
        _numbers(runs, lambda run_: run_["owner"]),
        f"{max(run_['innocent'] for run_ in runs):.1f}",
        _shares(unchanged),
        left,
        verdict + (f", **{innocents} innocents**" if innocents else ""),
    )


def _numbers(runs: list[dict[str, Any]], value: Callable[[dict[str, Any]], float]) -> str:
    return spread([value(run_) for run_ in runs], 0)


def _shares(runs: list[dict[str, Any]]) -> str:
    if runs[0]["quality"] is None:
        return "does not run"
    return f"{spread([100 * run_['quality'] for run_ in runs])} %"


if __name__ == "__main__":
    print(table())
