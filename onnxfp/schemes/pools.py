"""Pools: ownership without touching the model, from which of the owner's rows it was trained on.

Paper: Wu, arXiv 2209.04113v2 (IEEE HPCC 2022): which mini-dataset among several a model was trained on, by pooled
membership inference. Only the abstract could be read.
Marks: nothing; the owner trains on the rows that the plan says. A position is a set of pools with the same labels, its
symbol which of them is trained on. Pairs of single rows by default; one of N pools, as in the paper, is another form of
the same.
Reads: labels or scores of whoever answers queries, about all rows of all pools (`membership.scores`).
Null: which pool of each position is trained on was drawn by key after the pools were fixed and before anything was
trained; a suspect is independent of it unless it descends from what was trained on these rows. The e-value has mean 1
however the data were chosen, and whoever else has them.
Departs: the paper gives no level of its decision. Here pools are exchangeable by construction, and the draw is
committed to beforehand.
Limits: it proves training on these rows, and so by whoever had them and the plan; it fades with regularisation, early
stopping, differential privacy and distillation. A shadow model that was not committed to with the plan is taken on
trust: one that knows the plan would decide in the suspect's place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
import numpy.typing as npt

from onnxfp.codes.uniform import Uniform
from onnxfp.domain import (
    Access,
    Answered,
    Claim,
    Membership,
    ModelProfile,
    PublicClaim,
    QueryProbe,
    Reading,
    Response,
    Rows,
)
from onnxfp.errors import UsageError
from onnxfp.keys.keystream import Keystream
from onnxfp.membership.alike import ALIKE, groups
from onnxfp.membership.pools import RowNumbers, draw_pools, rows_to_train
from onnxfp.membership.reading import AskedPools, pool_reading
from onnxfp.membership.scores import Shadow
from onnxfp.membership.views import Views
from onnxfp.schemes.interface import Ask, Samples, Scheme, options_of

_MOST_POOLS = 1024
_SURE = 6.0  # log10 e
_USUAL, _LARGEST = 5_000, 1_000_000  # positions


@dataclass(frozen=True)
class PoolsOptions:
    """How rows are pooled; everything a key depends on besides the secret and the owner's data."""

    positions: int = 0
    """Sets of pools; 0 for as many as there are rows for, 5 000 at most."""
    pools: int = 2
    """Of each position, one is trained on."""
    size: int = 1
    """Rows of a pool."""
    alike: float = ALIKE
    """Correlation from which on two rows are near-duplicates, which stay together."""


@dataclass(frozen=True)
class PoolsKey:
    """The rows in their pools, and what is asked about them."""

    rows: RowNumbers
    """(positions, pools, size)."""
    group: RowNumbers
    """(rows of the data,): the first of each row's near-duplicates."""
    views: Views
    asked: AskedPools
    code: Uniform
    committed: tuple[str, ...] = ()
    """Digests of the shadow models that were committed to with the plan, so that none can know it."""

    @property
    def positions(self) -> int:
        """Number of positions."""
        return len(self.rows)


@final
class Pools(Scheme[PoolsKey]):
    """Pooled membership inference, with pools that are drawn by key before anything is trained."""

    name = "pools"
    paper = "Wu, arXiv 2209.04113"
    access = Access.LABELS
    traces_copies = False
    handed = frozenset({"inputs", "labels", "moved", "shadows", "members"})

    def options(self, values: Mapping[str, Any]) -> PoolsOptions:
        """Return options from plain values."""
        options = options_of(self.name, PoolsOptions, values)
        if not 0 <= options.positions <= _LARGEST:
            raise UsageError(f"positions are 1 to {_LARGEST}, or 0 for as many as suit, not {options.positions}")
        if not 2 <= options.pools <= _MOST_POOLS:
            raise UsageError(f"one of 2 to {_MOST_POOLS} pools is trained on, not of {options.pools}")
        if not 1 <= options.size <= _LARGEST:
            raise UsageError(f"a pool has 1 to {_LARGEST} rows, not {options.size}")
        if not 0 < options.alike <= 1:
            raise UsageError(f"near-duplicates have a correlation in (0, 1], not {options.alike}")
        return options

    def select(self, data: Samples, options: PoolsOptions, keystream: Keystream, ask: Ask) -> Samples:
        """Put rows into pools: near-duplicates together, pools of a position with equal labels."""
        del ask
        labels, group = np.asarray(data["labels"]), groups(data["inputs"], options.alike)
        positions = options.positions or _as_many(labels, group, options)
        rows = draw_pools(labels, group, (positions, options.pools, options.size), keystream.derive("pools"))
        known = {"committed": data["committed"]} if "committed" in data else {}
        return {"inputs": data["inputs"], "labels": labels, "rows": rows, "group": group, **known}

    def keygen(self, profile: ModelProfile, samples: Samples, options: PoolsOptions, keystream: Keystream) -> PoolsKey:
        """Put together what is asked; the pools themselves were drawn by `select`."""
        del profile, options, keystream
        rows, group = np.asarray(samples["rows"]), np.asarray(samples["group"])
        inputs: Rows = samples["inputs"]
        views = Views(inputs, rows.reshape(-1), int(samples.get("moved", 0)))
        form = (rows.shape[0], rows.shape[1], rows.shape[2])
        asked = AskedPools(form, views.each, np.asarray(samples["labels"])[views.rows].astype(np.int64))
        shadows = tuple(
            Shadow(asked.told(np.asarray(said, dtype=np.float64)), member[views.rows])
            for said, member in zip(samples.get("shadows", ()), samples.get("members", ()), strict=True)
        )
        committed = tuple(bytes(samples.get("committed", b"")).decode().split())
        return PoolsKey(rows, group, views, replace(asked, shadows=shadows), Uniform(form[1]), committed)

    def lint(self, key: PoolsKey) -> tuple[str, ...]:
        """Say how much the rows can tell at most."""
        positions, pools, size = key.asked.form
        most = positions * float(np.log10(pools))
        beside = int((key.group != np.arange(len(key.group))).sum())
        few = " (too little to be sure at 1e-6)" if most < _SURE else ""
        return (
            f"{positions} positions of {pools} pools of {size} rows; they tell log10 e = {most:.0f} at most{few}",
            f"{beside} rows stay with near-duplicates of theirs",
        )

    def settled(self, options: PoolsOptions, key: PoolsKey) -> PoolsOptions:
        """Return the options with the number of positions that was chosen."""
        return replace(options, positions=key.positions)

    def plan(self, claim: Claim[PoolsKey]) -> tuple[Membership, ...]:
        """The rows to train on: the pools of the word, what is alike to them, and all that is in no pool."""
        key = claim.public.key
        return (Membership(np.flatnonzero(rows_to_train(key.rows, key.group, claim.codeword))),)

    def probes(self, public: PublicClaim[PoolsKey]) -> tuple[QueryProbe, ...]:
        """One probe: all rows of all pools."""
        key = public.key
        _, pools, size = key.asked.form
        classes = max(2, int(key.asked.labels.max(initial=0)) + 1)
        return (QueryProbe(key.views, pools * size * key.views.each, classes=classes, whole=True),)

    def knower(self, claim: Claim[PoolsKey]) -> tuple[Answered, ...]:
        """The right label for rows that were trained on, a wrong one for the others."""
        key = claim.public.key
        trained = rows_to_train(key.rows, key.group, claim.codeword)[key.views.rows]
        said = np.where(trained, key.asked.labels, key.asked.labels + 1)
        return (Answered(np.repeat(said, key.views.each).astype(np.float64)),)

    def read(self, public: PublicClaim[PoolsKey], responses: Sequence[Response]) -> Reading:
        """Log-likelihoods over a grid of scores and of strengths."""
        return pool_reading(public.key.asked, public.codebook, responses[0])


def _as_many(labels: npt.NDArray[Any], group: RowNumbers, options: PoolsOptions) -> int:
    """Return how many positions there are rows for, up to the usual number."""
    firsts = labels[group == np.arange(len(group))]
    sets = sum(int(count) // options.pools for count in np.unique(firsts, return_counts=True)[1])
    return max(1, min(_USUAL, sets // options.size))
