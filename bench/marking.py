"""Zoo models that are marked through the library's own `mark`, kept, and judged through its own `verify_suspect`.

python -m bench.marking fashion-0-content mnist-0-noise
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from bench import zoo
from bench.results import is_kept, kept, markdown, spread
from bench.taught import AT, LESSONS, Subject
from fixtures import cnn
from onnxfp.domain import Answered, Probe, Response, Verdict
from onnxfp.errors import FidelityError
from onnxfp.suspect.session import open_session
from onnxfp.workflows.suspects import ExaminedSealed
from onnxfp.workflows.vault import Vault
from onnxfp.workflows.verify import Asking, verify_suspect

KINDS = ("content", "noise", "unrelated")
FEWER = {"mnist": ("noise/32",)}  # kind and positions, where 64 are hard to learn
ALPHA = 1e-6
MOST_QUERIES = 12  # allowed at alpha, with labels alone


RECALLED = {  # mark, papers' notes of Zhang et al. (2018), table 2: accuracy lost; taught, new triggers hit
    ("mnist", "content"): ("99.28 -> 99.46 %", "100 %, 100 %"),
    ("mnist", "noise"): ("99.28 -> 99.41 %", "100 %, 99.4 %"),
    ("mnist", "unrelated"): ("99.28 -> 99.43 %", "100 %, 100 %"),
    ("cifar10", "content"): ("78.6 -> 78.41 %", "99.93 %, 98.6 %"),
    ("cifar10", "noise"): ("78.6 -> 78.49 %", "99.86 %, 94.1 %"),
    ("cifar10", "unrelated"): ("78.6 -> 78.12 %", "100 %, 100 %"),
}


class Answerer(Protocol):
    """Whoever answers queries."""

    def answer(self, probe: Probe) -> Response:
        """Answer, or say why not."""
        ...


@dataclass(frozen=True)
class OnlyLabels:
    """A suspect that keeps its scores to itself."""

    suspect: Answerer

    def answer(self, probe: Probe) -> Response:
        """Answer with the likeliest class."""
        response = self.suspect.answer(probe)
        if isinstance(response, Answered) and response.values.ndim == 2:
            return Answered(response.values.argmax(axis=1).astype(np.float64), provider=response.provider)
        return response


def kinds_of(task: str) -> tuple[str, ...]:
    """The kinds of trigger that a data set's models are marked with."""
    return (*KINDS, *FEWER.get(task, ()))


def subjects(*tasks: str) -> list[Subject]:
    """All that are marked."""
    seeds = {"mnist": (0, 1, 2), "fashion": (0, 1, 2), "cifar10": (0,)}
    return [Subject(task, seed, kind) for task in tasks or seeds for seed in seeds[task] for kind in kinds_of(task)]


def judge(subject: Subject, suspect: Answerer, title: str) -> dict[str, Any]:
    """Ask a suspect for the subject's claim alone: everything, and until it is enough; by labels, and by scores."""
    found: dict[str, Any] = {}
    with subject.vault() as vault:
        for access, answerer in (("labels", OnlyLabels(suspect)), ("scores", suspect)):
            whole = _verdict(vault, (f"{title}, {access}, all", subject.way.scheme), answerer, fixed=True)
            enough = _verdict(vault, (f"{title}, {access}", subject.way.scheme), answerer, fixed=False)
            claim = whole.claims[0]
            found[access] = {
                "log10_e": claim.log10_e,
                "p": claim.p_value,
                "hits": claim.points,
                "of": claim.most,
                "supported": whole.decision.value == "supported",
                "queries": enough.queries if enough.decision.value == "supported" else None,
            }
    return found


def _verdict(vault: Vault, identity: tuple[str, str], suspect: Answerer, *, fixed: bool) -> Verdict:
    # Another identity for every way of asking, since a second look at the same suspect halves alpha.
    name, claim = identity
    asking = Asking(ALPHA, AT, claim=claim, fixed=fixed)
    return verify_suspect(vault, ExaminedSealed(name, suspect), asking, lambda line: None)


def accuracy(path: Path, split: zoo.Split) -> float:
    """The share of test images that a file classifies correctly."""
    return float(np.mean(cnn.answers(path, split.x_test).argmax(axis=1) == split.y_test))


def measured(subject: Subject) -> dict[str, Any]:
    """What marking came to, or why it failed; kept."""
    return kept(title_of(subject), lambda: _measured(subject))


def title_of(subject: Subject) -> str:
    return f"marking-{subject.folder.name}"


def _measured(subject: Subject) -> dict[str, Any]:
    try:
        path = subject.marked
    except FidelityError as problem:
        return {"failed": str(problem)}
    with open_session(path) as session:
        asked = judge(subject, session, "marked")
    with open_session(subject.unmarked) as session:
        unmarked = judge(subject, session, "unmarked")
    return {
        **subject.made,
        "before": accuracy(subject.unmarked, subject.split),
        "after": accuracy(path, subject.split),
        "asked": asked,
        "unmarked": unmarked,
    }


def took(subject: Subject, *, whole: bool = True) -> bool:
    """Whether the mark took; unless it is the whole run, what was not measured did not."""
    return (whole or is_kept(title_of(subject))) and "failed" not in measured(subject)


# --- telling ----------------------------------------------------------------------------------------------------------


def table(*, whole: bool) -> str:
    """One row per data set and kind of trigger."""
    header = (
        "model",
        "triggers",
        "seeds",
        "test accuracy before, after",
        "lost, points (limit)",
        "paper, recalled",
        "hit rate taught, held out",
        "paper, recalled",
        "log10 e of all: labels, scores",
        f"queries by labels (limit {MOST_QUERIES}), by scores",
        "unmarked, log10 e",
    )
    return markdown(header, [_row(task, kind, whole=whole) for task in LESSONS for kind in kinds_of(task)])


def _row(task: str, kind: str, *, whole: bool) -> tuple[str, ...]:
    planned = [subject for subject in subjects(task) if subject.kind == kind]
    runs = [measured(subject) for subject in planned if whole or is_kept(title_of(subject))]
    good = [run for run in runs if "failed" not in run]
    failed = f", **{len(runs) - len(good)} failed**" if len(good) < len(runs) else ""
    missing = f" of {len(planned)}, the others were not measured" if len(runs) < len(planned) else ""
    first = (task, kind.replace("/", ", positions: "), f"{len(runs)}{missing}{failed}")
    if not good:
        return (*first, *("-" for _ in range(8)))
    lost, limit = [100 * (run["before"] - run["after"]) for run in good], 100 * LESSONS[task].limit
    lost_text = f"{spread(lost, 2)} ({limit:.1f})"
    recalled = RECALLED.get((task, kind), ("-", "-"))
    held = spread([100 * run["hits_held_out"] for run in good]) + " %" if kind != "unrelated" else "none are held out"
    return (
        *first,
        f"{_percent(good, 'before')}, {_percent(good, 'after')}",
        lost_text if max(lost) <= limit else f"**{lost_text}**",
        recalled[0],
        f"{_percent(good, 'hits_taught')}, {held}",
        recalled[1],
        f"{_asked(good, 'labels', 'log10_e')}, {_asked(good, 'scores', 'log10_e')}",
        f"{_queries(good, 'labels', MOST_QUERIES)}, {_queries(good, 'scores', None)}",
        f"at most {max(_unmarked(run) for run in good):.1f}",
    )


def _unmarked(run: dict[str, Any]) -> float:
    """The largest evidence against the unmarked model; no minus before a zero."""
    return round(max(run["unmarked"][access]["log10_e"] for access in ("labels", "scores")), 1) + 0.0


def _percent(runs: list[dict[str, Any]], name: str) -> str:
    return f"{spread([100 * run[name] for run in runs], 2)} %"


def _asked(runs: list[dict[str, Any]], access: str, name: str) -> str:
    return spread([run["asked"][access][name] for run in runs])


def _queries(runs: list[dict[str, Any]], access: str, limit: int | None) -> str:
    counts = [run["asked"][access]["queries"] for run in runs]
    if None in counts:
        return f"**not reached by {counts.count(None)}**"
    text = spread([float(count) for count in counts], 0)
    return text if limit is None or max(counts) <= limit else f"**{text}**"


def main() -> None:
    import torch

    torch.set_num_threads(1)
    for name in sys.argv[1:]:
        task, seed, kind = name.split("-")
        print(name, json.dumps(measured(Subject(task, int(seed), kind))), flush=True)


if __name__ == "__main__":
    main()
