"""What is left of the evidence after somebody changed the model, or what it answers."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench import removal, stolen, zoo
from bench.pool_models import CALLED, PLANNED, Subject
from bench.pool_read import NEEDED, Judge, codebook, judge_of, log_probabilities
from bench.results import is_kept, kept, markdown, spread
from fixtures import cnn
from onnxfp.domain import Answered, Floats
from onnxfp.membership.reading import AskedPools, pool_reading
from onnxfp.membership.views import Views
from onnxfp.verdict.betting import log10_e

EPOCHS, RATE = 5, 0.01  # of fine-tuning, constant
PAIRS = 5_000
ALL = "all 10 000 pairs"
MOVED = 8  # moved copies of each row, where only labels are answered
Answers = Callable[[Floats], Floats]


@dataclass(frozen=True)
class Stolen:
    """A protected model in the hands of a thief, who has the last rows of the training images."""

    subject: Subject

    @property
    def task(self) -> str:
        """Which data it is for."""
        return self.subject.task

    @property
    def split(self) -> Any:
        """Its data."""
        return self.subject.split

    @property
    def marked(self) -> Path:
        """The file."""
        return self.subject.protected

    @property
    def rows(self) -> NDArray[np.int64]:
        """The thief's own images."""
        count = len(self.split.y_train)
        return np.arange(count - self.subject.kind.taken, count)


def _tuned(stolen_model: Stolen, destination: Path) -> Path:
    rows, split = stolen_model.rows, stolen_model.split
    data = (split.x_train[rows], split.y_train[rows])
    return stolen.tuned(stolen_model.marked, destination, data, EPOCHS, RATE, "all")


def _distilled(stolen_model: Stolen, destination: Path) -> Path:
    del destination
    kind = stolen_model.subject.kind
    return zoo.distilled(kind.recipe, stolen_model.marked, 50 + stolen_model.subject.seed, stolen_model.rows)


ATTACKS: dict[str, Callable[..., Path]] = {
    "none": removal.none,
    "fp16": removal.step("fp16"),
    "int8, static QDQ": removal.int8_static,
    "round to 4 bits": removal.step("round:4"),
    "prune 50 %": removal.step("prune:0.5"),
    "fine-tune on other data": _tuned,
    "distil on other data": _distilled,
    f"distil on other data, {ALL}": _distilled,
}


def noisy(scale: float) -> Answers:
    """Laplace noise on probabilities, drawn once for each answer."""

    def change(values: Floats) -> Floats:
        draw = np.random.default_rng(5)
        noise = np.exp(values) + draw.laplace(0, scale, values.shape)
        return np.log(np.clip(noise, 1e-6, None) / np.clip(noise, 1e-6, None).sum(axis=1, keepdims=True))

    return change


def only_top(values: Floats) -> Floats:
    """The probability of the first class alone."""
    return np.where(values == values.max(axis=1, keepdims=True), values, -np.inf)


CHANGES: dict[str, Answers] = {
    "answers with Laplace noise of 0.05": noisy(0.05),
    "answers with Laplace noise of 0.2": noisy(0.2),
    "top-1 probability only": only_top,
    "labels only": lambda values: values.argmax(axis=1).astype(np.float64),
}
LABELS = f"labels only, {MOVED} moved copies"


def measure(one: Subject, name: str) -> dict[str, Any]:
    """Evidence after one attack: without shadow models, beside one and beside three."""
    return dict(kept(_title(one, name), lambda: _measured(one, name)))


def _title(one: Subject, name: str) -> str:
    return f"pools-removal-{one.folder.name}-{''.join(c if c.isalnum() else '-' for c in name)}"


def _measured(one: Subject, name: str) -> dict[str, Any]:
    judge = judge_of(one)
    if name == LABELS:
        return _by_moved(judge)
    with tempfile.TemporaryDirectory() as folder:
        attack = ATTACKS.get(name, removal.none)
        path = attack(Stolen(one), Path(folder) / "suspect.onnx")
        rows = judge.drawn.public.key.views.rows
        values = log_probabilities(path, one.split.x_train[: one.kind.candidates])[rows]
        right = cnn.answers(path, one.split.x_test).argmax(axis=1) == one.split.y_test
    values = CHANGES.get(name, lambda same: same)(values)
    beside = {"0": judge.beside(0), "1": judge.beside(1), "3": judge.beside(3, learning=True)}
    pairs = 0 if name.endswith(ALL) else PAIRS
    found = {count: judge.evidence(values, shadows, pairs)["together"] for count, shadows in beside.items()}
    return {"accuracy": float(np.mean(right)), "evidence": found}


def _by_moved(judge: Judge) -> dict[str, Any]:
    one, key = judge.subject, judge.drawn.public.key
    part = judge.part(PAIRS, ())
    views = Views(one.split.x_train, key.views.rows[: len(part.labels)], MOVED)
    said = np.concatenate([cnn.answers(one.protected, views[at : at + 9000]) for at in range(0, len(views), 9000)])
    asked = AskedPools(part.form, views.each, part.labels)
    book = codebook(part.form)
    reading = pool_reading(asked, book, Answered(said.argmax(axis=1).astype(np.float64)))
    value = float(log10_e(reading, book, judge.word[None, : part.form[0]])[0])
    right = cnn.answers(one.protected, one.split.x_test).argmax(axis=1) == one.split.y_test
    return {"accuracy": float(np.mean(right)), "evidence": {"0": value}}


def table(*, whole: bool) -> str:
    """One row per data set and attack."""
    header = ("model", "after", "accuracy left", "no shadow", "one shadow", "three, and one to learn from", "supported")
    rows: list[tuple[str, ...]] = []
    for task in CALLED:
        chosen = [Subject(*pair) for pair in PLANNED if pair[0] == task]
        for name in (*ATTACKS, *CHANGES, LABELS):
            runs = [measure(one, name) for one in chosen if whole or is_kept(_title(one, name))]
            if runs:
                rows.append((CALLED[task], name, *_cells(runs)))
    told = f"log10 e over {PAIRS:,} pairs or as said, all scores together; {NEEDED:.0f} is needed at alpha = 1e-6."
    return markdown(header, rows) + "\n\n" + told


def _cells(runs: list[dict[str, Any]]) -> tuple[str, ...]:
    counts = [count for count in ("0", "1", "3") if count in runs[0]["evidence"]]
    cells = {count: spread([run["evidence"][count] for run in runs]) for count in counts}
    best = counts[-1]
    found = sum(run["evidence"][best] >= NEEDED for run in runs)
    told = f"{found} of {len(runs)}"
    return (
        f"{spread([100 * run['accuracy'] for run in runs])} %",
        *(cells.get(count, "") for count in ("0", "1", "3")),
        told if found == len(runs) else f"**{told}**",
    )


if __name__ == "__main__":
    print(table(whole=True))
