"""Copies that are issued and drawn: is each traced by its weights alone, and by its answers alone, and nobody else?

N = 100 000 recipients: those to whom copies were issued, and as many more as are lacking. Answers are labels only,
asked trigger by trigger until one recipient passes. ``-m bench.deep_trace`` alone.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from bench.deep_marked import ALPHA, CALLED, RECIPIENTS, THRESHOLD, copies, subject, subjects
from bench.deep_read import Judge
from bench.results import is_kept, kept, markdown, spread
from bench.taught import Subject
from onnxfp.codes.words import BLOCK
from onnxfp.domain import Reading
from onnxfp.verdict.crowd import Crowd
from onnxfp.verdict.look import Look

ISSUED, DRAWN = {("fashion", 0): 1_000}, 100
FEW = 20  # copies of every other model
NAMES = tuple(f"recipient {number}" for number in range(RECIPIENTS))


def measure(one: Subject) -> dict[str, Any]:
    """Issue copies of one model, and trace those that are drawn."""
    return dict(kept(f"deeptrace-traced-{one.folder.name}", lambda: _measured(one)))


def _measured(one: Subject) -> dict[str, Any]:
    issued = ISSUED.get((one.task, one.seed), FEW)
    drawn = sorted(np.random.default_rng(0).permutation(issued)[:DRAWN].tolist())
    judge, began = Judge.of(one), time.monotonic()
    looks: dict[int, dict[str, Look]] = {}
    for number in range(issued):
        with copies(one, [NAMES[number]]) as (path,):
            if number in drawn:
                looks[number] = judge.looks(path)
    seconds = time.monotonic() - began
    found = {
        channel: _named(judge, {number: look[channel] for number, look in looks.items()}, channel)
        for channel in ("weights", "answers")
    }
    asked = [_asked(judge, look["answers"]) for look in looks.values()]
    return {"issued": issued, "drawn": len(drawn), "seconds": seconds, "asked": asked, **found}


def _named(judge: Judge, looks: dict[int, Look], channel: str) -> dict[str, Any]:
    """Weigh all recipients against every suspect; words are drawn once for all suspects."""
    bets = {number: look.bet() for number, look in looks.items()}
    right, innocents, strongest = dict.fromkeys(looks, -np.inf), 0, -np.inf
    for start in range(0, RECIPIENTS, BLOCK):
        words = judge.channels[channel].words(list(NAMES[start : start + BLOCK]))
        for number, bet in bets.items():
            scores = np.full(len(words), -np.inf) if bet is None else bet.log10_e(words)
            if start <= number < start + len(words):
                right[number] = float(scores[number - start])
                scores = np.delete(scores, number - start)
            innocents += int((scores >= THRESHOLD).sum())
            strongest = max(strongest, float(scores.max(initial=-np.inf)))
    named = sum(value >= THRESHOLD for value in right.values())
    return {"named": named, "innocents": innocents, "strongest": strongest, "log10_e": list(right.values())}


def _asked(judge: Judge, look: Look) -> int:
    """How many triggers it takes, in their order, until somebody is named; 0 if nobody ever is."""
    words = judge.channels["answers"].words(list(NAMES[: max(ISSUED.values())]))
    crowd = Crowd(words, np.full(len(words), THRESHOLD))
    positions = look.codebook.positions
    for asked in range(1, positions + 1):
        scores = look.reading.log_scores.copy()
        scores[:, asked:] = 0.0
        heard = Look("", look.codebook, look.words, independent=True, reading=Reading(scores, look.reading.weights))
        if crowd.has_passed(heard):
            return asked
    return 0


def table(*, whole: bool) -> str:
    """One row per model."""
    header = (
        "model", "copies issued, drawn", "named by weights", "named by answers", "triggers until named",
        "log10 e: weights", "log10 e: answers", "innocents named", "strongest innocent: weights, answers",
    )  # fmt: skip
    rows: list[tuple[str, ...]] = []
    for one in subjects(whole=whole):
        if not whole and not is_kept(f"deeptrace-traced-{one.folder.name}"):
            continue
        run = measure(one)
        weights, answers = run["weights"], run["answers"]
        asked = [float(count) for count in run["asked"] if count]
        rows.append(
            (
                f"{CALLED[one.task]}, seed {one.seed}",
                f"{run['issued']:,}, {run['drawn']}",
                f"{weights['named']} of {run['drawn']}",
                f"{answers['named']} of {run['drawn']}",
                spread(asked, 0) if asked else "never",
                spread(weights["log10_e"], 0),
                spread(answers["log10_e"], 1),
                f"{weights['innocents'] + answers['innocents']} of {2 * run['drawn'] * (RECIPIENTS - 1):,}",
                f"{weights['strongest']:.1f}, {answers['strongest']:.1f}",
            )
        )
    return markdown(header, rows) + f"\n\nalpha = {ALPHA:g}, N = {RECIPIENTS:,}: {THRESHOLD:.0f} is needed."


if __name__ == "__main__":
    print(measure(subject("fashion", 0)))
