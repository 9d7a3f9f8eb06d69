"""False claims of the additional class: fresh keys against models that nobody marked for them.

    python -m bench.extra_strangers

Who is asked: independent trainings, models with a class of their own for everything strange (`bench.reserved`), and
models that were marked with other keys. What an e-value and p are random over is the draw of the fresh key.
"""

from __future__ import annotations

import hashlib
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench import extra_marked, reserved, strangers
from bench.results import is_kept, kept, markdown
from onnxfp.domain import Floats
from onnxfp.keys.keystream import Keystream
from onnxfp.schemes.extra_class import ExtraClass

KEYS = 200
LEVELS = (0.05, 0.01, 0.001)
MOST_KEYS = 0.9  # in the additional class: who counts keys alone would say that the model is marked
VALUES = ("labels", "scores", "p", "keys", "decoys")
GROUPS = {
    "independent": "independent trainings, 10 classes",
    "strange": "a class of its own for digits, noise or grey pictures",
    "mosaics": "a class of its own for drawn mosaics, or for some of each",
    "marked": "marked with another key, drawn covers",
}


def models() -> dict[str, dict[str, Path]]:
    """Those who are asked, by group and name; who was not trained yet is not asked."""
    own = reserved.trained()
    mosaics = {name: path for name, path in own.items() if name.startswith(("drawn", "mixed"))}
    marked = {one.name: one.folder / "marked.onnx" for one in extra_marked.there(whole=False, task="fashion")}
    strange = {name: path for name, path in own.items() if name not in mosaics}
    marked = {name: path for name, path in marked.items() if not name.endswith("pictures")}
    return {"independent": strangers.independent(), "strange": strange, "mosaics": mosaics, "marked": marked}


def measure(*, whole: bool) -> dict[str, dict[str, Floats]]:
    """All values by group: (keys, models) each."""
    found = {}
    for group, members in models().items():
        titles = {name: f"extra-strangers-{group}-{path.stem}-{_named(path)}" for name, path in members.items()}
        chosen = [name for name in members if whole or is_kept(titles[name])]
        rows = [kept(titles[name], partial(_asked, members[name])) for name in chosen]
        if rows:
            found[group] = {value: np.array([row[value] for row in rows]).T for value in VALUES}
    return found


def _named(path: Path) -> str:
    """Tell files of the same name apart."""
    return hashlib.sha256(path.parent.name.encode()).hexdigest()[:8]


def _asked(path: Path) -> dict[str, list[float]]:
    """All values of one model, (keys,) each."""
    ask = strangers.asker(str(path))
    rows = [_under_key(number, ask) for number in range(KEYS)]
    return {value: [round(row[value], 6) for row in rows] for value in VALUES}


def _under_key(number: int, ask: strangers.Ask) -> dict[str, float]:
    drawn = _drawn(number)
    scores = ask(drawn.inputs)
    return drawn.weighed(scores) | in_the_class(drawn, scores.argmax(axis=1))


def in_the_class(drawn: strangers.Fresh, answers: NDArray[np.int64]) -> dict[str, float]:
    """The shares of keys and of decoys, known ones and positions, to which an additional class is answered."""
    asked = drawn.claim.key.asked
    added = (answers == asked.added).reshape(-1, 2)
    keys = np.concatenate([asked.known, drawn.word])
    every = np.arange(len(keys))
    return {"keys": float(added[every, keys].mean()), "decoys": float(added[every, 1 - keys].mean())}


@cache
def _drawn(number: int) -> strangers.Fresh:
    secret = Keystream(hashlib.sha256(f"stranger extra_class {number}".encode()).digest())
    return strangers.fresh(ExtraClass(), {"pool": 1}, secret)  # nothing is handed out


# --- telling ----------------------------------------------------------------------------------------------------------


def table(*, whole: bool) -> str:
    """One row per group."""
    header = (
        "who is asked",
        "models",
        f"values ({KEYS} fresh keys each)",
        "largest log10 e: scores, labels",
        "mean e: scores, labels",
        "claims (e >= 1e6)",
        f"share of p <= t, t = {', '.join(f'{level:g}' for level in LEVELS)}",
        f"at most t + {strangers.DEVIATIONS:g} deviations",
        "in the additional class: keys, decoys",
        f"claims by the paper's count (keys there >= {MOST_KEYS:.0%})",
    )
    found = measure(whole=whole)
    rows = [_row(GROUPS[group], values) for group, values in found.items()]
    if len(found) > 1:
        every = {name: np.concatenate([one[name] for one in found.values()], axis=1) for name in VALUES}
        rows.append(_row("all", every))
    return markdown(header, rows)


def _row(called: str, values: dict[str, NDArray[Any]]) -> tuple[str, ...]:
    claims = sum(int((values[access] >= 6).sum()) for access in ("labels", "scores"))
    counted = values["keys"] >= MOST_KEYS
    accused = f"{int(counted.sum()):,}, of {int(counted.any(axis=0).sum())} models"
    return (
        called,
        str(values["p"].shape[1]),
        f"{values['p'].size:,}",
        ", ".join(f"{values[access].max():.2f}" for access in ("scores", "labels")),
        ", ".join(f"{np.mean(10.0 ** values[access]):.2f}" for access in ("scores", "labels")),
        str(claims) if claims == 0 else f"**{claims}**",
        ", ".join(f"{np.mean(values['p'] <= level):.3g}" for level in LEVELS),
        "yes" if all(strangers.is_bounded(values["p"], level) for level in LEVELS) else "**no**",
        ", ".join(f"{values[name].mean():.1%}" for name in ("keys", "decoys")),
        f"**{accused}**" if counted.any() else "0",
    )


if __name__ == "__main__":
    print(table(whole=True))
