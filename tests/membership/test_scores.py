"""Scores: each beside its formula written out row by row, and what answers of every kind make of them."""

from __future__ import annotations

from math import exp, log, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from onnxfp.membership.scores import Hardness, Shadow, Told, scores
from tests.membership.simulated import asking, auc, scored, shadow_of

LABELS = np.array([0, 2, 1, 2])
SAID = np.log(
    np.array(
        [
            [[0.7, 0.2, 0.1], [0.5, 0.3, 0.2]],
            [[0.1, 0.1, 0.8], [0.6, 0.3, 0.1]],
            [[0.2, 0.5, 0.3], [0.1, 0.8, 0.1]],
            [[0.9, 0.05, 0.05], [0.4, 0.3, 0.3]],
        ]
    )
)  # rows, copies, classes


def told(values: np.ndarray = SAID, labels: np.ndarray = LABELS) -> Told:
    return Told(np.asarray(values, dtype=np.float64), labels)


def normalised(draw: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    logits = draw.standard_normal(shape)
    return logits - np.logaddexp.reduce(logits, axis=-1)[..., None]


# --- one model --------------------------------------------------------------------------------------------------------


def test_loss_is_the_mean_log_probability_of_the_true_label():
    expected = [np.mean([SAID[row, copy, LABELS[row]] for copy in range(2)]) for row in range(4)]
    assert told().loss() == pytest.approx(np.array(expected))


def test_margin_is_the_mean_log_odds_of_the_true_label():
    odds = [[log(p / (1 - p)) for p in np.exp(SAID[row, :, LABELS[row]])] for row in range(4)]
    assert told().margin() == pytest.approx(np.mean(odds, axis=1))


def test_agreement_is_the_share_of_right_answers():
    assert told().right().tolist() == [1.0, 0.5, 1.0, 0.0]
    labels = np.array([[0, 1], [2, 2], [1, np.nan], [np.nan, np.nan]])
    assert np.array_equal(told(labels).right(), [0.5, 1.0, 1.0, np.nan], equal_nan=True)
    assert told().scored
    assert not told(labels).scored


def test_only_the_copies_that_were_answered_count():
    values = SAID.copy()
    values[0, 1], values[2] = np.nan, np.nan
    some = told(values)
    assert some.loss()[0] == pytest.approx(SAID[0, 0, 0])
    assert some.margin()[0] == pytest.approx(log(0.7 / 0.3))
    assert some.right()[0] == 1.0
    for name in ("loss", "margin", "right"):
        score = getattr(some, name)()
        assert np.isnan(score).tolist() == [False, False, True, False]
        assert score[[1, 3]] == pytest.approx(getattr(told(), name)()[[1, 3]])


def test_what_is_impossible_is_as_good_as_very_unlikely():
    values = np.array([[[0.0, -np.inf, -np.inf]], [[-np.inf, 0.0, -np.inf]], [[-1e300, -40.0, 0.0]]])
    one = told(values, np.array([0, 0, 0]))
    assert one.loss().tolist() == [0.0, -15.0, -15.0]
    assert one.margin() == pytest.approx(np.array([15 - log(2), -15 - log(1 + exp(-15)), -15 - log(1 + exp(-15))]))


def test_log_odds_that_no_probabilities_have_are_bounded():
    values = np.zeros((2, 1, 1000))
    values[0, 0, 0] = -np.inf
    one = told(values, np.array([0, 0]))
    assert one.margin() == pytest.approx(np.array([-20.0, -log(999)]))


def test_a_label_that_the_model_does_not_know_is_answered_wrong():
    one = told(labels=np.array([3, 9, 1, 2]))
    assert one.loss()[:2].tolist() == [-15.0, -15.0]
    assert one.margin()[:2] == pytest.approx(np.array([-15.0, -15.0]), abs=1e-6)
    assert one.right()[:2].tolist() == [0.0, 0.0]
    assert one.loss()[2:] == pytest.approx(told().loss()[2:])
    assert one.margin()[2:] == pytest.approx(told().margin()[2:])


def test_of_the_best_class_alone_it_is_told_who_is_right():
    """Others were not returned: a right answer is the better the surer, and any wrong one is worse."""
    tops = np.array([0.95, 0.6, 0.95, 0.6])
    values = np.full((4, 1, 3), -np.inf)
    values[np.arange(4), 0, [0, 0, 1, 1]] = np.log(tops)
    one = told(values, np.zeros(4, dtype=int))
    for score in (one.loss(), one.margin()):
        assert score[0] > score[1] > max(score[2], score[3])
    assert one.right().tolist() == [1.0, 1.0, 0.0, 0.0]


def test_a_model_of_one_class_is_always_right():
    one = told(np.zeros((4, 1, 1)), np.zeros(4, dtype=int))
    assert one.loss().tolist() == [0.0] * 4
    assert one.margin().tolist() == [15.0] * 4
    assert np.isfinite(one.features()).all()


def test_an_attack_model_is_told_the_three_best_and_how_sure_it_is():
    found = told().features()
    first, itself = SAID[:, 0], told(SAID[:, :1])
    assert found[:, :3] == pytest.approx(-np.sort(-first, axis=1))
    assert found[:, 3] == pytest.approx(-(np.exp(first) * first).sum(axis=1))
    assert found[:, 4:7] == pytest.approx(np.column_stack([itself.loss(), itself.margin(), itself.right()]))
    assert found[:, 7:] == pytest.approx(np.column_stack([told().loss(), told().right()]))
    assert told(SAID[:, :, :2]).features()[:, 2].tolist() == [-15.0] * 4


def test_a_row_is_asked_itself_and_of_its_copies_the_mean_is_a_score():
    found = scores(told())
    assert list(found) == ["loss", "margin", "averaged"]
    itself = told(SAID[:, :1])
    assert found["loss"] == pytest.approx(itself.loss())
    assert found["margin"] == pytest.approx(itself.margin())
    assert found["averaged"] == pytest.approx(told().loss())
    assert list(scores(itself)) == ["loss", "margin"]


def test_of_labels_it_is_told_who_is_right():
    labels = np.array([[0, 1], [1, 2], [1, 1], [np.nan, 2]])
    found = scores(told(labels), shadows(3))
    assert np.array_equal(found.pop("right"), [1, 0, 1, np.nan], equal_nan=True)
    assert found.pop("agreement").tolist() == [0.5, 0.5, 1, 1]
    assert not found
    assert list(scores(told(labels[:, :1]))) == ["right"]


# --- beside shadow models ---------------------------------------------------------------------------------------------


def shadows(count: int, rows: int = 4, seed: int = 3) -> tuple[Shadow, ...]:
    draw = np.random.default_rng(seed)
    member = draw.random((count, rows)) < 0.4
    labels = LABELS[np.arange(rows) % 4]
    return tuple(Shadow(told(normalised(draw, (rows, 2, 3)), labels), one) for one in member)


@pytest.mark.parametrize("count", [1, 2, 7])
def test_calibrated_scores_are_what_their_papers_say(count):
    others = shadows(count)
    found = scores(told(), others)
    assert list(found) == ["loss", "margin", "averaged", "difference", "lira", "rmia", "gain"]
    assert found["rmia"] == pytest.approx(scores(told(SAID[:, :1]), others)["rmia"])
    own = told(SAID[:, :1])
    margins, losses = (np.stack([getattr(one.told.itself, name)() for one in others]) for name in ("margin", "loss"))
    asked = [[at for at in range(count) if not others[at].member[row]] or list(range(count)) for row in range(4)]
    squares = [sum((margins[at, row] - margins[asked[row], row].mean()) ** 2 for at in asked[row]) for row in range(4)]
    degrees = sum(len(one) - 1 for one in asked)
    typical = max(1e-6, sum(squares) / max(1, degrees)) if count > 1 else 1.0
    for row in range(4):
        out = asked[row]
        hard, probability = margins[out, row].mean(), np.exp(losses[out, row]).mean()
        spread = sqrt((4 * typical + squares[row]) / (4 + len(out) - 1))
        assert found["difference"][row] == pytest.approx(own.margin()[row] - hard)
        assert found["lira"][row] == pytest.approx((own.margin()[row] - hard) / spread)
        # RMIA, eq. 10: the ratio of its probability to (1 + a) / 2 times that of shadow models, plus (1 - a) / 2
        ratio = exp(own.loss()[row]) / (0.7 * probability + 0.3)
        assert found["rmia"][row] == pytest.approx(log(ratio))
        assert found["gain"][row] == pytest.approx(exp(own.loss()[row]) - probability)


def test_a_shadow_model_says_nothing_of_rows_that_it_was_trained_on():
    one, other = shadows(2)
    member = np.array([True, False, False, True])
    hard = Hardness.of((Shadow(one.told, member), Shadow(other.told, ~member)))
    expected = np.where(member, other.told.itself.margin(), one.told.itself.margin())
    assert hard.margin == pytest.approx(expected)


def test_where_all_shadow_models_are_members_all_are_asked():
    known = shadows(2)
    row = np.array([True, False, False, False])
    hard = Hardness.of(tuple(Shadow(one.told, row) for one in known))
    assert hard.margin == pytest.approx(np.mean([one.told.itself.margin() for one in known], axis=0))


def test_a_shadow_model_that_does_not_answer_a_row_is_not_asked_about_it():
    one, other = shadows(2)
    values = one.told.values.copy()
    values[2] = np.nan
    nobody = np.zeros(4, dtype=bool)
    hard = Hardness.of((Shadow(told(values), nobody), Shadow(other.told, nobody)))
    assert hard.margin[2] == pytest.approx(other.told.itself.margin()[2])
    assert hard.probability[2] == pytest.approx(exp(other.told.itself.loss()[2]))
    assert np.isfinite(hard.deviation).all()


@pytest.mark.parametrize(
    "useless",
    [
        (),
        (Shadow(told(np.zeros((4, 2))), np.zeros(4, dtype=bool)),),
        (Shadow(told(), np.ones(4, dtype=bool)),),
    ],
    ids=["none", "labels only", "trained on every row"],
)
def test_shadow_models_that_can_say_nothing_leave_the_scores_as_they_are(useless):
    found = scores(told(), useless)
    assert list(found) == ["loss", "margin", "averaged"]


def test_calibration_helps_where_rows_differ_in_how_hard_they_are():
    """Members lead by one, rows differ by three: beside models that were not trained on them, members show."""
    asked = asking(400)
    draw = np.random.default_rng(1)
    hardness, member = 3 * draw.standard_normal(800), draw.random(800) < 0.5
    suspect = asked.told(scored(asked, 1.5 * member, 10, hardness).values)
    beside = tuple(shadow_of(asked, draw.random(800) < 0.5, 20 + at, hardness) for at in range(8))
    found = {name: auc(score, member) for name, score in scores(suspect, beside).items()}
    assert found["margin"] < 0.65
    assert min(found["difference"], found["lira"]) > found["margin"] + 0.1
    assert found["rmia"] > found["loss"]
    shuffled = tuple(Shadow(one.told, draw.permutation(one.member)) for one in beside)
    assert auc(scores(suspect, shuffled)["difference"], member) < found["difference"] + 0.02


# --- whatever is answered ---------------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(
    st_numpy.arrays(
        np.float64,
        st.tuples(st.just(4), st.integers(1, 2), st.integers(1, 4)),
        elements=st.one_of(st.floats(max_value=1e-6, allow_nan=False), st.just(-np.inf)),
    ),
    st.lists(st.booleans(), min_size=4, max_size=4),
)
def test_scores_of_any_log_probabilities_are_bounded_and_missing_only_where_nothing_was_answered(values, silent):
    values[np.array(silent)] = np.nan
    one = told(values)
    found = scores(one, shadows(3))
    assert len(found) == (6 if values.shape[1] == 1 else 7)
    for score in found.values():
        assert np.isnan(score).tolist() == silent
        assert (np.abs(score[~np.isnan(score)]) < 1e5).all()
    assert np.isnan(one.features()).any(axis=1).tolist() == silent
