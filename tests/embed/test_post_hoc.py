"""Closed form: all targets hold together, with the smallest change, within the budget, or nothing is changed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from onnxfp.domain import Codebook, KeptAnswers, Membership, OutputTarget, ProgrammedAnswers, Segment, WeightTarget
from onnxfp.embed.post_hoc import Change, relative_changes, solve
from onnxfp.errors import ArtifactError, FidelityError, UsageError
from onnxfp.keys.keystream import Keystream
from onnxfp.projections.centring import Layout
from onnxfp.projections.chips import Chips
from onnxfp.projections.gaussian import Gaussian
from tests.frozen import dump, freeze

KEY = Keystream(bytes(range(32)))
SEGMENTS = (
    Segment("a", 0, 4096, 0.5, gain=1.2, columns=64),
    Segment("b", 64, 4160, 2.0, gain=0.8, columns=64),
    Segment("b", 8192, 12_288, 2.0, gain=0.8, columns=64),
)
SIZE = sum(segment.size for segment in SEGMENTS)
LOOSE = 0.15  # what a target may miss, relative to its own size


def weights_of(seed: int = 0) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(seed)
    return {
        "a": (0.5 * draw.standard_normal(4096)).astype(np.float32),
        "b": (2.0 * draw.standard_normal(20_000)).astype(np.float32),
    }


WEIGHTS = weights_of()


def reader(weights):
    freeze(weights)
    return lambda segment: weights[segment.carrier][segment.start : segment.stop]


def target(label: str, positions: int = 128, strength: float = 0.05, *, blind: bool = False) -> WeightTarget:
    chips = Chips(KEY.derive(label), Layout.of(SEGMENTS), positions, 16)
    values = np.sign(np.random.default_rng(list(label.encode())).standard_normal(positions))
    return WeightTarget(SEGMENTS, chips, values, strength, blind)


def missed(goal: WeightTarget, changes: tuple[Change, ...], weights) -> float:
    """How far a written target is from what it should read as, relative to its size."""
    read = reader(weights)
    parts = [
        (change.values - (0 if goal.blind else read(change.segment))) / (change.segment.spread * change.segment.gain)
        for change in changes
    ]
    values = goal.projection.apply((np.concatenate(parts) / goal.strength).astype(np.float32))
    return float(np.linalg.norm(values - goal.values) / np.linalg.norm(goal.values))


def test_one_target_reads_as_it_should():
    goal = target("a")
    assert missed(goal, solve([goal], reader(WEIGHTS), 1.0), WEIGHTS) < LOOSE


@pytest.mark.parametrize("blind", [False, True])
def test_several_targets_hold_together(blind):
    goals = [target("a", 512), target("b", 64, 0.02), target("c", 64, 0.1, blind=blind)]
    changes = solve(goals, reader(WEIGHTS), 1.0)
    assert [missed(goal, changes, WEIGHTS) < LOOSE for goal in goals] == [True] * 3


def test_the_measure_notices_a_target_that_was_left_out():
    goals = [target("a"), target("b")]
    assert missed(goals[1], solve(goals[:1], reader(WEIGHTS), 1.0), WEIGHTS) > 0.5


def test_a_blind_target_of_averaged_filters_reads_as_it_should():
    segments = (Segment("a", 0, 4096, 0.5),)
    projection = Gaussian(KEY, (32, 128), 0, 31)
    goal = WeightTarget(segments, projection, np.resize([1.0, -1.0, -1.0], 31), 0.1, blind=True)
    (change,) = solve([goal], reader(WEIGHTS), 10.0)
    assert projection.apply(change.values / np.float32(0.05)) == pytest.approx(goal.values, abs=0.01)


def test_nothing_but_the_segments_is_changed_and_each_once():
    changes = solve([target("a"), target("b")], reader(WEIGHTS), 1.0)
    assert tuple(change.segment for change in changes) == SEGMENTS
    assert all(change.values.shape == (change.segment.size,) for change in changes)
    assert all(change.values.dtype == np.float32 for change in changes)


def test_weights_that_are_zero_stay_zero():
    weights = weights_of()
    for part in weights.values():
        part[::3] = 0
    read = reader(weights)
    for change in solve([target("a")], read, 1.0):
        assert not change.values[read(change.segment) == 0].any()
        assert (change.values != read(change.segment)).sum() > 0.6 * change.segment.size


def test_a_minus_zero_stays_a_minus_zero():
    weights = weights_of()
    weights["a"][7] = -0.0
    change = solve([target("a")], reader(weights), 1.0)[0]
    assert np.signbit(change.values[7])
    assert change.values[7] == 0


def test_the_change_is_the_smallest_that_does():
    """It lies in the span of the target's own rows: anything else in it would be spent on nothing."""
    goal = target("a", 64)
    moved = np.concatenate(
        [
            (change.values - reader(WEIGHTS)(change.segment)) / (change.segment.spread * change.segment.gain)
            for change in solve([goal], reader(WEIGHTS), 1.0)
        ]
    ).astype(np.float64)
    rows = np.stack([goal.projection.adjoint(unit) for unit in np.eye(64)]).astype(np.float64)
    inside = rows.T @ np.linalg.lstsq(rows.T, moved, rcond=None)[0]
    assert np.linalg.norm(moved - inside) < 1e-3 * np.linalg.norm(moved)


def test_the_strength_is_the_root_mean_square_change_in_spreads():
    for strength in (0.01, 0.1):
        changes = solve([target("a", 1024, strength)], reader(WEIGHTS), 1.0)
        moved = sum(change.moved / (change.segment.spread * change.segment.gain) ** 2 for change in changes)
        assert np.sqrt(moved / SIZE) == pytest.approx(strength, rel=0.2)


def test_the_same_targets_give_the_same_bytes():
    one, other = (dump(solve([target("a"), target("b")], reader(WEIGHTS), 1.0)) for _ in range(2))
    assert one == other


def test_targets_that_hold_already_cost_nothing():
    goal = replace(target("a"), values=np.zeros(128))
    changes = solve([goal], reader(WEIGHTS), 0.0)
    assert relative_changes(changes) == {"a": 0.0, "b": 0.0}


# --- groups over different carriers -----------------------------------------------------------------------------------

OTHERS = (Segment("c", 0, 2048, 1.5, columns=32), Segment("c", 2048, 4096, 1.5, columns=32))
MORE = {**WEIGHTS, "c": np.random.default_rng(5).standard_normal(4096).astype(np.float32)}


def elsewhere(label: str, positions: int = 128, strength: float = 0.05, *, prepared: bool = False) -> WeightTarget:
    """A target over a carrier of its own."""
    chips = Chips(KEY.derive(label), Layout.of(OTHERS), positions, 16)
    values = np.sign(np.random.default_rng(list(label.encode())).standard_normal(positions))
    return WeightTarget(OTHERS, chips, values, strength, prepared=prepared)


def of(goal: WeightTarget, changes: tuple[Change, ...]) -> tuple[Change, ...]:
    """The changes of a target's own segments, in its order."""
    return tuple(next(change for change in changes if change.segment == segment) for segment in goal.segments)


def test_targets_over_different_carriers_hold_together():
    goals = [target("a"), elsewhere("c"), target("b"), elsewhere("d", 64)]
    changes = solve(goals, reader(MORE), 1.0)
    assert [missed(goal, of(goal, changes), MORE) < LOOSE for goal in goals] == [True] * 4
    assert sorted(change.segment.carrier for change in changes) == ["a", "b", "b", "c", "c"]
    assert relative_changes(changes).keys() == {"a", "b", "c"}


def test_a_group_changes_as_it_would_alone():
    together = solve([target("a"), elsewhere("c"), target("b")], reader(MORE), 1.0)
    alone = [*solve([target("a"), target("b")], reader(MORE), 1.0), *solve([elsewhere("c")], reader(MORE), 1.0)]
    assert dump(together) == dump(tuple(alone))


@pytest.mark.parametrize(
    "segments",
    [
        SEGMENTS[:2],
        SEGMENTS[:1],
        SEGMENTS[::-1],
        (Segment("b", 4160, 8192, 2.0),),
        (Segment("c", 0, 64, 1.0), Segment("a", 0, 64, 1.0)),
        (replace(SEGMENTS[0], gain=1.0), *SEGMENTS[1:]),
    ],
    ids=["some", "one", "another order", "a gap", "another carrier besides", "another gain"],
)
def test_groups_that_share_a_carrier_are_refused(segments):
    other = replace(elsewhere("c"), segments=segments)
    with pytest.raises(UsageError, match="over the same weights, or over different carriers"):
        solve([target("a"), other], reader(MORE), 1.0)


def test_the_budget_is_none_of_what_an_artifact_was_prepared_for():
    loud = elsewhere("c", strength=3.0, prepared=True)
    changes = solve([target("a"), loud], reader(MORE), 0.25)
    assert relative_changes(changes).keys() == {"a", "b"}
    assert missed(loud, of(loud, changes), MORE) < LOOSE
    with pytest.raises(FidelityError, match="carrier 'c' would change by"):
        solve([target("a"), replace(loud, prepared=False)], reader(MORE), 0.25)
    with pytest.raises(FidelityError, match=r"carrier '[ab]' would change by"):
        solve([target("a", strength=3.0), loud], reader(MORE), 0.25)


def test_what_is_written_beside_what_was_prepared_for_is_within_the_budget():
    """Weights that bear both are changed by more than what they were taught to bear."""
    both = [elsewhere("c", strength=3.0, prepared=True), elsewhere("d", 64, strength=0.01)]
    with pytest.raises(FidelityError, match="carrier 'c' would change by"):
        solve(both, reader(MORE), 0.25)


def test_nothing_but_what_was_prepared_for_changes_nothing_that_a_budget_bounds():
    assert relative_changes(solve([elsewhere("c", prepared=True)], reader(MORE), 0.0)) == {}


def test_weights_that_are_zero_stay_zero_in_what_was_prepared_for():
    weights = {**MORE, "c": np.where(np.arange(4096) % 3, MORE["c"], 0).astype(np.float32)}
    changes = solve([elsewhere("c", prepared=True)], reader(weights), 0.0)
    new = np.concatenate([change.values for change in changes])
    assert not new[weights["c"] == 0].any()
    assert (new != weights["c"]).sum() > 0.6 * len(new)


# --- what is refused --------------------------------------------------------------------------------------------------


def test_relative_changes_are_norms_over_norms_per_carrier():
    changes = solve([target("a")], reader(WEIGHTS), 1.0)
    read = reader(WEIGHTS)
    for carrier in ("a", "b"):
        parts = [change for change in changes if change.segment.carrier == carrier]
        old = np.concatenate([read(part.segment) for part in parts]).astype(np.float64)
        new = np.concatenate([part.values for part in parts]).astype(np.float64)
        expected = np.linalg.norm(new - old) / np.linalg.norm(old)
        assert relative_changes(changes)[carrier] == pytest.approx(expected, rel=1e-6)


def test_a_change_beyond_the_budget_is_refused_with_carrier_and_numbers():
    largest = max(relative_changes(solve([target("a", strength=0.2)], reader(WEIGHTS), 1.0)).values())
    solve([target("a", strength=0.2)], reader(WEIGHTS), largest * 1.001)
    with pytest.raises(FidelityError, match=r"carrier 'a' would change by \d+\.\d% .* budget of 5\.0%"):
        solve([target("a", strength=0.2)], reader(WEIGHTS), 0.05)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_refused_by_name(wrong):
    weights = weights_of()
    weights["b"][9000] = wrong
    with pytest.raises(ArtifactError, match="carrier 'b' has weights that are not finite"):
        solve([target("a")], reader(weights), 1.0)


def test_a_wrong_weight_outside_the_segments_is_nobodys_business():
    weights = weights_of()
    weights["b"][5000] = np.nan
    assert solve([target("a")], reader(weights), 1.0)


NONE = np.zeros(0, dtype=np.int64)


@pytest.mark.parametrize(
    "constraint",
    [
        OutputTarget(np.zeros((1, 4)), NONE, NONE),
        KeptAnswers(np.zeros((1, 4))),
        ProgrammedAnswers(
            np.zeros((1, 4)), NONE, NONE, Codebook(np.zeros((1, 1), np.uint32)), lambda word: target("a")
        ),
        Membership(NONE),
    ],
)
def test_constraints_that_need_training_are_refused(constraint):
    with pytest.raises(UsageError, match="needs training"):
        solve([target("a"), constraint], reader(WEIGHTS), 1.0)


def test_targets_over_different_weights_are_refused():
    other = replace(target("b"), segments=SEGMENTS[:2])
    with pytest.raises(UsageError, match="over the same weights"):
        solve([target("a"), other], reader(WEIGHTS), 1.0)
