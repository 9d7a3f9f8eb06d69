"""Commitments, draws and spent triggers: once each, in their order, and never undone."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onnxfp.errors import UsageError
from onnxfp.ledger import DrawnEntry, create_ledger, open_ledger
from tests.ledger.conftest import AT, KEY, commitment_entry

LATER = "2026-05-06T07:08:09.123456+00:00"


# --- commitments ------------------------------------------------------------------------------------------------------


def test_a_commitment_is_read_back(ledger):
    assert ledger.commit(commitment_entry()) == commitment_entry()
    assert ledger.commitments() == (commitment_entry(),)


def test_committing_again_later_changes_nothing_and_keeps_the_first_day(ledger):
    ledger.commit(commitment_entry())
    head = ledger.head()
    assert ledger.commit(commitment_entry(committed_at=LATER)) == commitment_entry()
    assert (ledger.head(), ledger.commitments()) == (head, (commitment_entry(),))


@pytest.mark.parametrize("change", [{"payload": {}}, {"payload": {"scheme": "other"}}, {"reference": "00" * 32}])
def test_a_commitment_never_stands_for_two_things(change, ledger):
    ledger.commit(commitment_entry())
    with pytest.raises(UsageError, match="commitment c1 is in the ledger already, for something else"):
        ledger.commit(commitment_entry(**change))
    assert ledger.commitments() == (commitment_entry(),)


def test_commitments_stand_in_the_order_in_which_they_were_made(ledger):
    entries = tuple(commitment_entry(name, committed_at=AT) for name in ("z", "a", "m"))
    for entry in (*entries, entries[0]):
        ledger.commit(entry)
    assert ledger.commitments() == entries


def test_a_payload_that_is_no_json_is_a_mistake_of_the_programmer(ledger):
    with pytest.raises(ValueError, match="JSON compliant"):
        ledger.commit(commitment_entry(payload={"deviation": float("nan")}))
    assert ledger.commitments() == ()


# --- draws ------------------------------------------------------------------------------------------------------------


def test_every_draw_counts_once_with_the_time_of_the_first(ledger):
    ledger.commit(commitment_entry())
    first = ledger.draw("c1", "", AT)
    assert first == DrawnEntry("c1", "", AT)
    assert ledger.draw("c1", "", LATER) == first
    assert ledger.draw("c1", "a beacon", LATER) == DrawnEntry("c1", "a beacon", LATER)
    assert [entry.beacon for entry in ledger.drawn()] == ["", "a beacon"]
    assert ledger.verify() == 5


def test_nothing_is_drawn_that_nobody_committed_to(ledger):
    ledger.commit(commitment_entry("c2"))
    with pytest.raises(UsageError, match="commitment c1 is not in the ledger; commit before"):
        ledger.draw("c1", "", AT)
    assert ledger.drawn() == ()


def test_the_chain_shows_that_the_commitment_came_first(ledger, path):
    """Whoever noted the head after committing can prove it later."""
    ledger.commit(commitment_entry())
    noted = ledger.head()
    ledger.draw("c1", "a value of the next day", LATER)
    assert ledger.verify(noted) == 4
    with ledger.store.reading() as transaction:
        assert [row.kind for row in transaction.rows()] == ["created", "reference", "committed", "drawn"]


# --- spent triggers ---------------------------------------------------------------------------------------------------


def test_spent_positions_add_up_per_claim_and_place(ledger):
    ledger.spend("a", "here", [0, 1], AT)
    ledger.spend("a", "here", [1, 5], LATER)
    ledger.spend("a", "there", [7], AT)
    ledger.spend("b", "here", range(3), AT)
    assert ledger.spent("a", "here") == {0, 1, 5}
    assert ledger.spent("a", "here", "there") == ledger.spent("a", "there", "here", "here") == {0, 1, 5, 7}
    assert ledger.spent("a", "nowhere") == ledger.spent("c", "here") == ledger.spent("a") == frozenset()


def test_spending_again_changes_nothing_of_what_is_spent(ledger):
    for _ in range(3):
        ledger.spend("a", "here", [2, 3], AT)
    assert ledger.spent("a", "here") == {2, 3}


ACTS = st.lists(
    st.tuples(st.sampled_from("ab"), st.sampled_from(["here", "there"]), st.lists(st.integers(0, 9), max_size=4)),
    max_size=8,
)


@given(ACTS)
@settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_what_is_spent_is_the_union_of_all_that_was(tmp_path_factory, acts):
    with create_ledger(tmp_path_factory.mktemp("spent") / "ledger.db", KEY) as ledger:
        for claim, place, positions in acts:
            ledger.spend(claim, place, positions, AT)
        for claim in "ab":
            for places in (["here"], ["there"], ["here", "there"]):
                expected = {at for one, place, spent in acts if one == claim and place in places for at in spent}
                assert ledger.spent(claim, *places) == expected


@pytest.mark.parametrize("place", ["https://a.example/v2?x='; DROP TABLE entries; --", "ünïcode ✓", "", "a\nb"])
def test_a_place_may_be_called_anything(place, ledger):
    ledger.spend("claim", place, [1], AT)
    assert ledger.spent("claim", place) == {1}
    assert ledger.spent("claim", place + "x") == frozenset()


@pytest.mark.parametrize("act", ["commit", "draw", "spend"])
def test_what_was_written_is_on_the_disk_when_the_call_returns(act, path):
    """The process is gone the moment after, without closing anything."""
    code = f"""
import os
from onnxfp.ledger import open_ledger
from tests.ledger.conftest import AT, KEY, commitment_entry
ledger = open_ledger({str(path)!r}, KEY)
ledger.commit(commitment_entry())
if {act!r} == "draw":
    ledger.draw("c1", "b", AT)
if {act!r} == "spend":
    ledger.spend("a", "here", [4], AT)
os._exit(0)
"""
    create_ledger(path, KEY).close()
    assert subprocess.run([sys.executable, "-c", code], check=False, env=dict(os.environ)).returncode == 0
    with open_ledger(path, KEY) as ledger:
        assert ledger.commitments() == (commitment_entry(),)
        assert (ledger.drawn() != ()) == (act == "draw")
        assert ledger.spent("a", "here") == ({4} if act == "spend" else frozenset())
        assert ledger.verify() == (2 if act == "commit" else 3)


@pytest.mark.parametrize("positions", [[np.int64(3)], [{1}], ["x" * 3, float("nan")]])
def test_positions_that_are_no_plain_numbers_are_a_mistake_of_the_programmer(positions, ledger):
    head = ledger.head()
    with pytest.raises((TypeError, ValueError)):
        ledger.spend("a", "here", positions, AT)
    assert ledger.head() == head


@pytest.mark.parametrize("at", ["", "today", "2026-01-02T03:04:05"])
def test_time_that_is_not_utc_is_a_mistake_of_the_programmer(at, ledger):
    ledger.commit(commitment_entry())
    for act in (
        lambda: ledger.commit(commitment_entry("c2", committed_at=at)),
        lambda: ledger.draw("c1", "", at),
        lambda: ledger.spend("a", "here", [1], at),
    ):
        with pytest.raises(ValueError, match="ISO 8601 in UTC"):
            act()
    assert ledger.verify() == 3
