"""What issuing, reading and weighing cost, each beside the bare work that cannot be avoided.

    python -m bench.cost

Start-up is excluded: a job runs in a fresh process that has imported everything before the clock starts. Both sides of
a ratio alternate, with all files in the page cache; ratios are medians. Run it on a machine that does nothing else.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.marked import mark
from bench.results import kept, markdown
from bench.work import REPEATS

SIZES = (0.125, 0.25, 0.5, 1.0)  # GB of weights
PLACES = ("inline", "external")
PLAIN = 0.5  # GB, for what one would do without us
RECIPIENTS = (10_000, 100_000, 1_000_000)
LEDGERS = (1, 1_000, 10_000)  # recipients in the ledger
Row = dict[str, Any]


def measure() -> dict[str, Any]:
    """All parts; what was measured before is kept."""
    results = {}
    for place in PLACES:
        for size in SIZES:
            name = f"cost-{place}-{size}"
            results[name] = kept(name, lambda size=size, place=place: _model_costs(size, place))
    results["plain"] = kept("cost-plain", _plain_costs)
    for count in RECIPIENTS:
        results[f"weighing-{count}"] = kept(f"cost-weighing-{count}", lambda count=count: _weighing_costs(count))
    for count in LEDGERS:
        results[f"ledger-{count}"] = kept(f"cost-ledger-{count}", lambda count=count: _job("ledger", count))
    return results


def table() -> str:
    """Return one table per question."""
    results = measure()
    models = {name: result for name, result in results.items() if name.startswith("cost-")}
    return "\n\n".join(
        [
            _issue_table(models),
            _plain_table(results["plain"]),
            _reading_table(models),
            _weighing_table({count: results[f"weighing-{count}"] for count in RECIPIENTS}),
            _ledger_table({count: results[f"ledger-{count}"] for count in LEDGERS}),
            _whole_table(models),
        ]
    )


# --- measuring --------------------------------------------------------------------------------------------------------


def _model_costs(size: float, place: str) -> Row:
    """Everything that is measured on a model of this size; its files are removed afterwards."""
    with _model(size, place) as (folder, model):
        issued = []
        for number in range(REPEATS):
            ours = _issued(folder, model, f"r{number}")
            issued.append({**ours, "cp": _copied(model, folder / "cp")})
        whole = [_job("whole", model) for _ in range(REPEATS)]
        return {"issue": issued, "reading": _job("reading", folder / "marked", model), "whole": whole}


def _plain_costs() -> list[Row]:
    with _model(PLAIN, "inline") as (folder, model):
        output, rounds = folder / "plain.onnx", []
        for number in range(REPEATS):
            rounds.append({"ours": _issued(folder, model, f"r{number}"), "plain": _job("plain", model, output)})
            output.unlink()
        return rounds


def _weighing_costs(recipients: int) -> Row:
    with _model(SIZES[0], "inline") as (folder, _):
        return _job("weighing", folder / "marked", recipients)


@contextmanager
def _model(size: float, place: str) -> Iterator[tuple[Path, Path]]:
    """A synthetic model, registered and issued once, so that the vault knows its digest."""
    with TemporaryDirectory(prefix="onnxfp-bench-") as name:
        folder = Path(name)
        _job("synthetic", folder / "model", size, place)
        model = folder / "model" / "model.onnx"
        mark(model, folder / "marked", "first")
        yield folder, model


def _issued(folder: Path, model: Path, recipient: str) -> Row:
    output = folder / "issued"
    output.mkdir()
    result = _job("issuing", folder / "marked", model, recipient, output / "copy.onnx")
    shutil.rmtree(output)
    return result


def _copied(model: Path, folder: Path) -> float:
    """Copy all files of a model with cp and make them durable."""
    folder.mkdir()
    started = time.perf_counter()
    subprocess.run(["cp", *(str(file) for file in sorted(model.parent.iterdir())), str(folder)], check=True)
    for file in folder.iterdir():
        with file.open("rb") as handle:
            os.fsync(handle.fileno())
    seconds = time.perf_counter() - started
    shutil.rmtree(folder)
    return seconds


def _job(name: str, *arguments: object) -> Any:
    command = [sys.executable, "-m", "bench.work", name, *map(str, arguments)]
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{name} failed: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


# --- telling ----------------------------------------------------------------------------------------------------------


def _issue_table(models: dict[str, Row]) -> str:
    rows = []
    for name, result in models.items():
        runs = result["issue"]
        ratio = _median(runs, lambda run: run["seconds"] / run["cp"])
        times = (f"{_median(runs, lambda run: run['seconds']):.2f} s", f"{_median(runs, lambda run: run['cp']):.2f} s")
        rows.append((*_named(name), *times, _ratio(ratio, 1.5), _peak(runs)))
    return markdown(("GB", "data", "issue", "cp and fsync", "ratio (1.5 allowed)", "peak memory"), rows)


def _plain_table(runs: list[Row]) -> str:
    rows = [
        (what, f"{_median(runs, lambda run, key=key: run[key]['seconds']):.2f} s", _peak([run[key] for run in runs]))
        for what, key in (("issue", "ours"), ("onnx.load, numpy, onnx.save, fsync", "plain"))
    ]
    return markdown((f"{PLAIN} GB inline", "time", "peak memory"), rows)


def _reading_table(models: dict[str, Row]) -> str:
    rows = []
    for name, result in models.items():
        for role, what in (("trace", "recipients' word"), ("both", "recipients' and owner's")):
            runs = [run for run in result["reading"] if run["role"] == role]
            ours = f"{_median(runs, lambda run: run['ours']):.2f} s"
            bare = _ratio(_median(runs, lambda run: run["ours"] / run["keystream"]), 3)
            rows.append((*_named(name), what, ours, bare, f"{_median(runs, _over_multiplied):.2f}"))
    header = ("GB", "data", "reading", "time", "over blocks and keystream (3 allowed)", "over blocks and projection")
    return markdown(header, rows)


def _over_multiplied(run: Row) -> float:
    return float(run["ours"] / run["multiplied"])


def _weighing_table(results: dict[int, Row]) -> str:
    rows = []
    for count, result in results.items():
        runs = result["rounds"]
        ratio = _median(runs, lambda run: run["ours"] / run["keystream"])
        times = [f"{_median(runs, lambda run, key=key: run[key]):.2f} s" for key in ("ours", "keystream")]
        peak = f"{result['peak']:.0f} MB ({result['before']:.0f} before)"
        rows.append((f"{count:,}", str(runs[0]["positions"]), *times, _ratio(ratio, 10), peak))
    header = ("recipients", "positions", "weighing", "keystream alone", "ratio (10 allowed)", "peak memory")
    return markdown(header, rows)


def _ledger_table(results: dict[int, Row]) -> str:
    rows = []
    for count, result in results.items():
        times = [
            f"{1000 * _median(result['rounds'], lambda run, key=key: run[key]):.0f} ms" for key in ("issue", "trace")
        ]
        rows.append((f"{count:,}", *times, f"{result['peak']:.0f} MB"))
    return markdown(("recipients in the ledger", "issue (digits)", "trace (digits)", "peak memory"), rows)


def _whole_table(models: dict[str, Row]) -> str:
    rows = []
    for name, result in models.items():
        size, place = _named(name)
        jobs = ("sha256", "inspect", "register")
        times = [_median(result["whole"], lambda run, job=job: run[job]) / float(size) for job in jobs]
        rows.append((size, place, *(f"{seconds:.2f} s" for seconds in times), _peak(result["whole"])))
    return markdown(("GB", "data", "sha256 per GB", "inspect per GB", "register per GB", "peak memory"), rows)


def _named(name: str) -> tuple[str, str]:
    _, place, size = name.split("-")
    return size, place


def _median(runs: list[Row], value: Callable[[Row], float]) -> float:
    return statistics.median(value(run) for run in runs)


def _peak(runs: list[Row]) -> str:
    return f"{max(run['peak'] for run in runs):.0f} MB"


def _ratio(value: float, allowed: float) -> str:
    return f"{value:.2f}" if value <= allowed else f"**{value:.2f}**"


if __name__ == "__main__":
    print(table())
