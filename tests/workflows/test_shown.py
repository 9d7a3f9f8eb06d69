"""What a marked artifact shows decides whether it is recorded."""

from __future__ import annotations

import numpy as np
import pytest

from onnxfp.errors import FidelityError
from onnxfp.workflows.channels import OWNER
from onnxfp.workflows.interrogation import Conduct, interrogate
from onnxfp.workflows.shown import Shown, refuse_untaken
from tests.workflows.quiz import good, key_labels, own_labels, quiz


def shown(*, learnt: bool = True, **earlier: tuple[float, float]) -> Shown:
    drawn = quiz()
    labels = key_labels(drawn) if learnt else own_labels(drawn)
    look = interrogate(drawn, good(labels), Conduct(threshold=0.0, stop=False, fixed=True), "the claim")
    return Shown(0.99, 0.99, {"taught": float(learnt)}, look, earlier, OWNER)


@pytest.mark.parametrize(("before", "after"), [(9.0, 6.0), (9.0, 30.0), (5.9, 1.0), (-np.inf, -np.inf), (6.0, 6.0)])
def test_a_mark_is_kept_if_it_took_and_nothing_earlier_was_lost(before, after):
    refuse_untaken(shown(zhang=(before, after)), 6.0)


@pytest.mark.parametrize(("before", "after"), [(9.0, 5.9), (6.0, 0.0), (30.0, -np.inf)])
def test_a_mark_that_undoes_an_earlier_one_is_refused(before, after):
    with pytest.raises(FidelityError, match="would undo an earlier one: zhang comes down from"):
        refuse_untaken(shown(zhang=(before, after), other=(9.0, 9.0)), 6.0)


def test_a_mark_that_did_not_take_is_refused():
    with pytest.raises(FidelityError, match=r"did not take: 0\.0% of taught"):
        refuse_untaken(shown(learnt=False), 6.0)
