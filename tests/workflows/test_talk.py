"""What is put together from many requests: every row says what was answered to it, and nothing says more later."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from onnxfp.domain import Answered, QueryProbe, Unanswered
from onnxfp.workflows.talk import Talk


def talk(rows: int = 4, each: int = 1) -> Talk:
    return Talk(QueryProbe(np.arange(rows, dtype=np.float32).reshape(-1, 1), each))


def labels(*values: float) -> Answered:
    return Answered(np.asarray(values, dtype=np.float64))


def scores(*rows: list[float]) -> Answered:
    return Answered(np.asarray(rows, dtype=np.float64))


def test_labels_stand_where_they_were_asked():
    one = talk()
    assert one.take([2], labels(7))
    assert one.take([0, 3], labels(1, 0))
    assert one.response(1.0).values == pytest.approx([1, np.nan, 7, 0], nan_ok=True)
    assert (one.asked, one.sent, one.share) == ({0, 2, 3}, 3, 1.0)
    assert (one.response(0.5).coverage, one.unread()) == (0.5, ())


def test_scores_are_as_wide_as_the_widest_and_a_class_that_was_not_returned_is_minus_infinity():
    one = talk(3)
    one.take([0], scores([-1.0, -2.0]))
    one.take([2], scores([-1.0, -2.0, -3.0]))
    values = one.response(1.0).values
    assert values[0].tolist() == [-1, -2, -np.inf]
    assert np.isnan(values[1]).all()
    assert values[2].tolist() == [-1, -2, -3]


def test_scores_after_a_label_are_a_label():
    one = talk(2)
    one.take([0], labels(3))
    one.take([1], scores([-5.0, -0.1, -4.0]))
    assert one.response(1.0).values.tolist() == [3, 1]


def test_a_label_after_scores_is_all_the_probability_on_that_class():
    one = talk(2)
    one.take([0], scores([-0.5, -1.0]))
    one.take([1], labels(3))
    assert one.response(1.0).values.tolist() == [[-0.5, -1, -np.inf, -np.inf], [-np.inf, -np.inf, -np.inf, 0]]


@pytest.mark.parametrize("label", [-1.0, 0.5, 70_000.0, 1e300, np.inf])
def test_after_scores_a_label_of_no_class_is_no_answer(label):
    one = talk(2)
    one.take([0], scores([-0.5, -1.0]))
    assert not one.take([1], labels(label))
    assert not one.answered(1)
    assert one.share == 0.5


REPLIES = st.lists(
    st.one_of(
        st.just(Unanswered("no")),
        st.integers(-1, 12).map(labels),
        arrays.arrays(np.float64, st.tuples(st.just(1), st.integers(1, 5)), elements=st.floats(-9, 0)).map(Answered),
        st.just(labels(np.nan)),
        st.just(labels()),
        st.just(labels(1, 2)),
        st.just(Answered(np.zeros((1, 1, 1)))),
        st.just(Answered(np.zeros((1, 0)))),
        st.just(Answered(np.array(2.0))),
    ),
    min_size=1,
    max_size=8,
)


@given(REPLIES)
@settings(max_examples=150, deadline=None, derandomize=True, database=None)
def test_no_row_changes_when_others_are_answered(replies):
    one, seen = talk(8), []
    for row, reply in enumerate(replies):
        one.take([row], reply)
        response = one.response(1.0)
        seen.append(response.values if isinstance(response, Answered) else None)
    last = seen[-1]
    for row, before in enumerate(seen):
        if before is None:
            assert last is None or np.isnan(last[: row + 1]).all()
            continue
        width = before.shape[1:]
        assert np.ndim(before) == np.ndim(last)
        after = last[: row + 1] if not width else last[: row + 1, : width[0]]
        assert np.array_equal(before[: row + 1], after, equal_nan=True)
        if width:  # more classes turned up later: this row never had them
            beyond = last[: row + 1, width[0] :]
            assert (np.isnan(beyond) | np.isneginf(beyond)).all()


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (np.zeros(3), "(3,) numbers came back for 2 inputs"),
        (np.zeros(0), "(0,) numbers came back for 2 inputs"),
        (np.array(1.0), "() numbers came back for 2 inputs"),
        (np.zeros((2, 0)), "(2, 0) numbers came back for 2 inputs"),
        (np.zeros((2, 2, 2)), "(2, 2, 2) numbers came back for 2 inputs"),
    ],
)
def test_another_number_of_answers_is_none_and_is_noted(values, told):
    one = talk()
    assert not one.take([0, 1], Answered(values))
    assert one.unread() == ("2 of 2 triggers without an answer", told)
    assert one.response(1.0) == Unanswered("2 of 2 triggers without an answer; " + told)


def test_reasons_are_counted_and_few_are_shown():
    one = talk(40)
    for row in range(40):
        one.take([row], Unanswered(f"reason {row % 8}"))
    assert one.unread() == ("40 of 40 triggers without an answer", *(f"reason {at} (5 times)" for at in range(5)))


def test_what_was_answered_but_not_well_is_listed_only_when_something_is_missing():
    one = talk(2)
    one.take([0], Answered(np.array([1.0]), unread=("a note",)))
    assert one.unread() == ()
    one.take([1], Unanswered("gone"))
    assert one.unread() == ("1 of 2 triggers without an answer", "a note", "gone")


def test_nothing_that_was_asked_is_no_answer():
    assert talk().response(1.0) == Unanswered("no query was sent")
    assert talk().share == 0.0


def test_a_suspect_of_another_form_is_remembered_as_such():
    one = talk()
    one.take([0], Unanswered("takes text", unfit=True))
    one.take([1], Unanswered("gone"))
    assert one.response(1.0).unfit


def test_who_runs_it_is_the_last_that_said_so():
    one = talk(3)
    for row, provider in enumerate(["here", "there", ""]):
        one.take([row], Answered(np.zeros(1), provider=provider))
    assert one.response(1.0).provider == "there"


# --- asked twice ------------------------------------------------------------------------------------------------------


def confirmed(first, second) -> Talk:
    one, again = talk(2), talk(2)
    one.take([0, 1], first)
    again.take([0, 1], second)
    one.confirm([0, 1], again)
    return one


def test_the_same_label_twice_is_kept():
    one = confirmed(labels(3, 4), labels(3, 4))
    assert one.response(1.0).values.tolist() == [3, 4]
    assert (one.sent, one.asked, one.share) == (4, {0, 1}, 1.0)


def test_a_changed_mind_is_forgotten_and_noted():
    one = confirmed(labels(3, 4), labels(3, 5))
    assert one.response(1.0).values == pytest.approx([3, np.nan], nan_ok=True)
    assert one.unread() == (
        "1 of 2 triggers without an answer",
        "another answer when the same input was sent again",
    )


def test_scores_that_waver_without_another_best_class_are_kept():
    one = confirmed(scores([-0.1, -3.0], [-3.0, -0.2]), scores([-0.2, -2.0], [-1.0, -0.3]))
    assert one.response(1.0).values.tolist() == [[-0.1, -3], [-3, -0.2]]


def test_scores_first_and_the_same_label_again_are_kept():
    assert confirmed(scores([-0.1, -3.0], [-3.0, -0.2]), labels(0, 1)).share == 1.0


@pytest.mark.parametrize(("first", "second"), [(0, 1), (1, 0)])
def test_a_refusal_one_time_of_two_is_forgotten_with_its_own_reason(first, second):
    replies = (labels(0, 4), Unanswered("busy"))
    one = confirmed(replies[first], replies[second])
    assert one.unread() == ("2 of 2 triggers without an answer", "busy")


def test_a_suspect_that_is_silent_twice_did_not_change_its_mind():
    one = confirmed(Unanswered("shut"), Unanswered("shut"))
    assert one.unread() == ("2 of 2 triggers without an answer", "shut (2 times)")


def test_what_is_found_out_when_asked_again_is_remembered():
    assert confirmed(labels(1, 2), Unanswered("takes text", unfit=True)).unfit
