"""What scoring costs, beside a bare loop of onnxruntime over the same rows, and how memory grows with their number.

    python -m bench.pool_cost

Both sides of the ratio alternate in one process, each from the mapped file, in batches of 256. Memory is what is
anonymous of this process: mapped rows are the page cache's.
"""

from __future__ import annotations

import gc
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from bench.pool_models import AT, CALLED, Subject
from bench.results import is_kept, kept, markdown
from onnxfp.suspect.session import open_session
from onnxfp.workflows.candidates import open_candidates
from onnxfp.workflows.channels import DrawnChannel
from onnxfp.workflows.claims import chosen_claims
from onnxfp.workflows.interrogation import EVERYTHING, interrogate
from onnxfp.workflows.judge import registered_references
from onnxfp.workflows.plan_pools import Planning, plan_pools
from onnxfp.workflows.pool_data import PoolData
from onnxfp.workflows.suspects import SEALED
from onnxfp.workflows.vault import create_vault, open_vault

BATCH, REPEATS = 256, 5
MEASURED = (("fashion", 0), ("cifar10", 0))
ROWS = (2_500, 5_000, 10_000, 20_000)
LIMIT = 0.9


def measure(task: str, seed: int) -> dict[str, Any]:
    """Seconds of both, and memory by number of rows."""
    return dict(kept(f"pools-cost-{task}-{seed}", lambda: _measured(Subject(task, seed))))


def _measured(one: Subject) -> dict[str, Any]:
    with TemporaryDirectory() as folder:
        memory = {str(rows): _with_rows(one, Path(folder), rows, _memory) for rows in ROWS}
        seconds = _with_rows(one, Path(folder), ROWS[-1], _seconds)
    return {"memory": memory, **seconds}


def _with_rows(one: Subject, folder: Path, rows: int, what: Callable[[Subject, DrawnChannel], Any]) -> Any:
    """Plan pairs over so many rows, and do something with the claim."""
    data, vault = folder / f"{rows}.npz", folder / f"vault-{rows}"
    if not data.exists():
        split = one.split
        np.savez(data, inputs=split.x_train[:rows], labels=split.y_train[:rows])
        create_vault(vault, None)
        with open_vault(vault, None) as opened:
            options = {"positions": rows * 9 // 20}
            plan_pools(opened, Planning(data, folder / f"plan-{rows}.npz", AT, options), lambda line: None)
    with open_vault(vault, None) as opened, open_candidates(data) as candidates:
        (claim,) = chosen_claims(registered_references(opened), SEALED, "pools", PoolData(candidates))
        return what(one, claim.draw(opened))


def _seconds(one: Subject, drawn: DrawnChannel) -> dict[str, list[float]]:
    views = drawn.public.key.views
    ours, bare = [], []
    with open_session(one.protected) as session:
        for _ in range(REPEATS + 1):
            ours.append(_timed(lambda: interrogate(drawn, session, EVERYTHING, "")))
            bare.append(_timed(lambda: _bare(one.protected, views.inputs, views.rows)))
    return {"ours": ours[1:], "bare": bare[1:]}  # the first warms both up


def _bare(path: Path, inputs: Any, rows: Any) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    parts = [session.run(None, {name: inputs[rows[at : at + BATCH]]})[0] for at in range(0, len(rows), BATCH)]
    return np.concatenate(parts)


THREADS = 0  # as many as onnxruntime takes by itself, as our own session has


def _timed(work: Callable[[], Any]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


def _memory(one: Subject, drawn: DrawnChannel) -> int:
    """Bytes of anonymous memory that asking takes at most, beyond what was there before."""
    with open_session(one.protected) as session:
        gc.collect()
        before, most, over = _anonymous(), [0], threading.Event()

        def watch() -> None:
            while not over.wait(0.005):
                most[0] = max(most[0], _anonymous())

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            interrogate(drawn, session, EVERYTHING, "")
        finally:
            over.set()
            thread.join()
    return max(0, most[0] - before)


def _anonymous() -> int:
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("RssAnon"))) * 1024


def table(*, whole: bool) -> str:
    """One row per model."""
    header = (
        "model", "rows", "bare onnxruntime", "ours, with reading", "ratio (limit)",
        *(f"memory, {rows:,} rows" for rows in ROWS),
    )  # fmt: skip
    rows: list[tuple[str, ...]] = []
    for task, seed in MEASURED:
        if whole or is_kept(f"pools-cost-{task}-{seed}"):
            run = measure(task, seed)
            ours, bare = (statistics.median(run[name]) for name in ("ours", "bare"))
            ratio = bare / ours
            rows.append(
                (
                    CALLED[task],
                    f"{ROWS[-1] * 9 // 10:,}",
                    f"{bare:.2f} s",
                    f"{ours:.2f} s",
                    f"{ratio:.2f} ({LIMIT}) {'met' if ratio >= LIMIT else '**missed**'}",
                    *(f"{run['memory'][str(count)] / 1e6:.0f} MB" for count in ROWS),
                )
            )
    return markdown(header, rows)


if __name__ == "__main__":
    print(table(whole=True))
