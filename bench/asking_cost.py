"""What asking costs: the process of its own, the interpreted graph, and how verify grows with the number of claims.

    python -m bench.asking_cost

The machine should do nothing else; how busy it was is told beside the numbers.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from bench import interpreted, session_cost, zoo
from bench.marking import ALPHA
from bench.results import is_kept, kept, markdown, spread
from bench.taught import AT
from fixtures import cnn
from onnxfp.artifact import Patch, open_artifact, profile, write_patched
from onnxfp.suspect.outputs import class_answers
from onnxfp.workflows.commit import Intent, commit, drawn_for
from onnxfp.workflows.judge import Question
from onnxfp.workflows.register import Registration, record
from onnxfp.workflows.vault import Vault, create_vault, open_vault
from onnxfp.workflows.verify import verify_file

REPEATS = 3
LEAST_RATIO, MOST_RATIO = 0.9, 1.3
CLAIMS = (1, 3, 10)
IMAGES = 1_000  # of which triggers are made


def measure() -> dict[str, Any]:
    """Measure what is not kept yet."""
    return {
        "session": kept("cost-session", lambda: [_loaded(session_cost.measure) for _ in range(REPEATS)]),
        "interpreted": kept("cost-interpreted", lambda: [_loaded(interpreted.measure) for _ in range(REPEATS)]),
        "claims": {str(count): kept(f"cost-claims-{count}", lambda count=count: _claims(count)) for count in CLAIMS},
    }


def _loaded(deed: Any) -> dict[str, Any]:
    before = os.getloadavg()[0]
    return {**deed(), "load": before}


def _claims(count: int) -> list[float]:
    """Seconds of `verify` on an unmarked model, so that everything of every claim is asked."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        create_vault(folder / "vault", None)
        with open_vault(folder / "vault", None) as vault:
            for number in range(count):
                _claim(vault, folder / f"{number}.onnx", number)
            return [_seconds(vault) for _ in range(REPEATS)]


def _claim(vault: Vault, path: Path, number: int) -> None:
    """Register a model that differs by one weight, with a claim of its own; nothing is taught."""
    with open_artifact(zoo.fashion(0)) as artifact:
        first = profile(artifact).carriers[0].name
        change = Patch(first, 0, artifact.read(artifact.tensor(first), 0, 1) + np.float32(1e-4 * number))
        write_patched(artifact, path, [change])
    with open_artifact(path) as artifact:
        model = profile(artifact)
        data = {"inputs": zoo.data("fashion_mnist").x_train[:IMAGES]}
        intent = Intent("zhang", {}, AT)
        committed = commit(
            vault,
            model,
            intent,
            data,
            lambda inputs: class_answers([("logits", cnn.answers(path, inputs))], len(inputs)),
        )
        drawn = drawn_for(vault, committed, "", AT)
        record(vault, Registration(path, "spread", {}, AT), artifact, model, [drawn])


def _seconds(vault: Vault) -> float:
    began = time.perf_counter()
    verify_file(vault, Question(zoo.fashion(1), ALPHA, AT), lambda line: None)
    return time.perf_counter() - began


def table(*, whole: bool) -> str:
    """Return ratios with their limits, and seconds per number of claims."""
    if not whole and not all(map(is_kept, ("cost-session", "cost-interpreted", f"cost-claims-{CLAIMS[-1]}"))):
        return "Not measured."
    found = measure()
    session, steps = found["session"], found["interpreted"]
    rows = [
        (
            "answers through the confined process, over a bare loop of onnxruntime",
            _limited([run["ratio"] for run in session], lambda ratio: ratio >= LEAST_RATIO),
            f"at least {LEAST_RATIO}",
            f"{_each(session, 'session inputs/s', 0)} inputs/s; opening {_each(session, 'opening, s', 2)} s; one input "
            f"{_each(session, 'one input, ms', 1)} ms",
            _each(session, "load", 1),
        ),
        (
            "a training step of the interpreted graph, over the same network written by hand",
            _limited([run["ratio"] for run in steps], lambda ratio: ratio <= MOST_RATIO),
            f"at most {MOST_RATIO}",
            f"{spread([1e3 * run['graph'] for run in steps], 0)} ms a step on {steps[0]['threads']} threads",
            _each(steps, "load", 1),
        ),
    ]
    ratios = markdown(("what", "ratio", "limit", "beside", "load before"), rows)
    claims = [(count, spread(seconds, 2)) for count, seconds in found["claims"].items()]
    return f"{ratios}\n\n{markdown(('claims of 64 triggers', 'verify of an unmarked file, s'), claims)}"


def _each(runs: list[dict[str, Any]], name: str, digits: int) -> str:
    return spread([run[name] for run in runs], digits)


def _limited(ratios: list[float], good: Any) -> str:
    text = spread(ratios, 2)
    return text if good(sorted(ratios)[len(ratios) // 2]) else f"**{text}**"


if __name__ == "__main__":
    print(table(whole=True))
