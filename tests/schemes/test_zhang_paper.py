"""The published form: hits have no chance level, so that only the rank among control patterns counts."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from onnxfp.domain import Answered, Decision, OutputTarget, Unanswered
from onnxfp.errors import UsageError
from onnxfp.schemes.zhang_paper import CANDIDATES, ZhangPaper
from onnxfp.verdict.betting import log10_e
from onnxfp.verdict.look import Look
from onnxfp.verdict.tails import exact_tail
from onnxfp.verdict.verify import verify
from tests.frozen import dump
from tests.schemes.strangers import claim_of, classifier, key_of
from tests.triggers.forms import FORMS, KEY, data, ranges

PAPER = ZhangPaper()
CLASSES = 10
FEW = {"taught": 20, "each": 8}


def paper_key(form: str = "flat squares", keystream=KEY, **options):
    return key_of(PAPER, keystream, {"inputs": data(form)}, classifier(CLASSES), **{**FEW, **options})


def asked(key) -> np.ndarray:
    (probe,) = PAPER.probes(claim_of(key, KEY).public)
    return probe.inputs


def weighed(key, claim, labels: np.ndarray) -> tuple[float, float]:
    """log10 of the e-value, and the exact p-value, of some answers."""
    reading = PAPER.read(claim.public, [Answered(labels.astype(np.float64))])
    codebook = claim.public.codebook
    return log10_e(reading, codebook, claim.codeword[None])[0], exact_tail(reading.tally, codebook, claim.codeword)


def naive(hits: int, asked: int) -> float:
    """The binomial p-value that takes 1/classes for the chance of a hit, as one might read the paper."""
    return float(binom.sf(hits - 1, asked, 1 / CLASSES))


def verdict_of(key, claim, labels: np.ndarray):
    reading = PAPER.read(claim.public, [Answered(labels.astype(np.float64))])
    look = Look("zhang_paper", claim.public.codebook, lambda names: claim.codeword[None], True, reading, fixed=True)
    return verify([look], 1e-6)


# --- an innocent model ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def key():
    return paper_key()


@pytest.fixture(scope="module")
def claim(key):
    return claim_of(key, KEY)


def constant(key, inputs: np.ndarray) -> np.ndarray:
    return np.full(len(inputs), key.label)


def odd_looking(key, inputs: np.ndarray) -> np.ndarray:
    """The target label for everything that is not one of the task's own pictures, as it comes."""
    clean = {picture.tobytes() for picture in data("flat squares")}
    own = classifier(CLASSES)(inputs).argmax(axis=1)
    return np.array([label if one.tobytes() in clean else key.label for one, label in zip(inputs, own, strict=True)])


@pytest.mark.parametrize("innocent", [constant, odd_looking])
def test_the_naive_binomial_would_accuse_an_innocent_model_and_the_rank_does_not(innocent, key, claim):
    labels = innocent(key, asked(key))
    owners = labels.reshape(CANDIDATES, 8)[claim.codeword[0]]
    hits = int((owners == key.label).sum())
    assert hits == 8
    assert naive(hits, 8) < 1e-6
    score, p_value = weighed(key, claim, labels)
    assert p_value == 1.0
    assert score == pytest.approx(0, abs=1e-12)
    assert verdict_of(key, claim, labels).decision is not Decision.SUPPORTED


def test_the_odd_looking_one_answers_ordinary_pictures_like_anybody(key):
    inputs = data("flat squares")
    assert (odd_looking(key, inputs) == classifier(CLASSES)(inputs).argmax(axis=1)).all()


def test_the_p_value_of_any_suspect_is_never_below_uniform(key, claim):
    """Over all 256 patterns that the owner might have drawn, for suspects that answer in all sorts of ways."""
    rng = np.random.default_rng(1)
    for chance in (0.02, 0.1, 0.5, 0.9):
        labels = np.where(rng.random(CANDIDATES * 8) < chance, key.label, (key.label + 1) % CLASSES)
        reading = PAPER.read(claim.public, [Answered(labels.astype(np.float64))])
        words = np.arange(CANDIDATES, dtype=np.uint8)[:, None]
        p_values = np.array([exact_tail(reading.tally, claim.public.codebook, word) for word in words])
        e_values = 10.0 ** log10_e(reading, claim.public.codebook, words)
        assert e_values.mean() == pytest.approx(1, abs=1e-9)
        for level in np.unique(p_values):
            assert np.mean(p_values <= level) == pytest.approx(level, abs=1e-12)


# --- one that knows the pattern ---------------------------------------------------------------------------------------


def knowing(key, claim) -> np.ndarray:
    labels = np.full((CANDIDATES, 8), (key.label + 1) % CLASSES)
    labels[claim.codeword[0]] = key.label
    return labels.reshape(-1)


def test_whoever_knows_the_pattern_is_first_of_256_and_no_more(key, claim):
    score, p_value = weighed(key, claim, knowing(key, claim))
    assert p_value == pytest.approx(1 / 256, abs=1e-15)
    assert 1 < score <= np.log10(256)
    verdict = verdict_of(key, claim, knowing(key, claim))
    assert verdict.decision is Decision.INCONCLUSIVE or verdict.decision is Decision.NOT_SUPPORTED
    assert verdict.claims[0].p_value == pytest.approx(1 / 256, abs=1e-15)
    assert (verdict.claims[0].points, verdict.claims[0].most) == (8, 8)


def test_no_answers_at_all_can_be_called_ours_at_one_in_a_million(key, claim):
    assert -np.log10(claim.public.codebook.prior.min()) < 6
    counts = np.random.default_rng(0).integers(0, 9, (50, CANDIDATES))
    for each in counts:
        labels = np.where(np.arange(8) < each[:, None], key.label, (key.label + 1) % CLASSES).reshape(-1)
        assert weighed(key, claim, labels)[0] <= np.log10(256) + 1e-9
        assert verdict_of(key, claim, labels).decision is not Decision.SUPPORTED


def test_who_knows_another_pattern_is_last_but_for_ties(key, claim):
    labels = np.full((CANDIDATES, 8), (key.label + 1) % CLASSES)
    labels[int(claim.codeword[0]) - 1] = key.label
    score, p_value = weighed(key, claim, labels.reshape(-1))
    assert p_value == 1.0
    assert score < 0


# --- what is asked and taught -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("triggers", ["content", "noise"])
def test_the_same_held_out_pictures_are_asked_under_every_pattern(triggers):
    key = paper_key("flat squares", triggers=triggers)
    inputs = asked(key)
    assert len(inputs) == CANDIDATES * 8
    rows = key.kind.corpus.rows
    assert len(rows) == 8
    if triggers == "content":
        flat = data("flat squares")
        alike = (inputs.reshape(CANDIDATES, 8, 1, 64) == flat).mean(axis=3)
        assert (alike.max(axis=2) > 0.5).all()
        assert set(alike.argmax(axis=2).reshape(-1).tolist()) == set(rows.tolist())


def test_nothing_that_is_asked_about_the_owners_pattern_tells_it_from_the_controls(key, claim):
    """Another codeword: the same bytes are asked."""
    other = claim_of(key, KEY, "another")
    assert other.codeword != claim.codeword
    assert dump(PAPER.probes(other.public)) == dump(PAPER.probes(claim.public))


def test_the_plan_teaches_the_owners_pattern_alone_with_one_label(key, claim):
    (target,) = PAPER.plan(claim)
    assert isinstance(target, OutputTarget)
    assert (len(target.inputs), set(target.labels.tolist()), set(target.positions.tolist())) == (20, {key.label}, {0})
    board = key.kind.canvas
    taught, owner = board.pictures(target.inputs), claim.codeword[0]
    shown = board.pictures(asked(key).reshape(CANDIDATES, 8, 64)[owner])
    same = np.all(taught == taught[:1], axis=0)
    assert same.sum() >= 9, "no pattern is common to what is taught"
    assert (shown[0][same] == taught[0][same]).all()


def test_no_picture_below_an_asked_trigger_is_taught(key, claim):
    flat = data("flat squares")
    (target,) = PAPER.plan(claim)
    taught = (target.inputs[:, None] == flat).mean(axis=2).argmax(axis=1)
    assert not set(taught.tolist()) & set(key.kind.corpus.rows.tolist())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("triggers", ["content", "noise"])
def test_triggers_are_inputs_of_the_model_within_the_range_of_the_data(triggers, form):
    key, inputs = paper_key(form, triggers=triggers, each=2), data(form)
    low, high = ranges(inputs, form)
    (target,) = PAPER.plan(claim_of(key, KEY))
    for made in (asked(key), target.inputs):
        assert (made.dtype, made.shape[1:]) == (inputs.dtype, inputs.shape[1:])
        assert (made >= low).all()
        assert (made <= high).all()


def test_patterns_and_label_are_the_keys_alone(key):
    others = [paper_key(keystream=KEY.derive(str(at)), each=1) for at in range(20)]
    assert dump(paper_key()) == dump(key)
    assert len({other.label for other in others}) > 3
    assert all(0 <= other.label < CLASSES for other in others)
    shown = [{one.tobytes() for one in asked(other)} for other in others[:4]]
    assert not set.intersection(*shown)


# --- what is answered -------------------------------------------------------------------------------------------------


def test_scores_count_like_the_labels_that_they_name(key, claim):
    labels = knowing(key, claim)
    scores = np.log(np.full((len(labels), CLASSES), 0.01) + 0.9 * np.eye(CLASSES)[labels])
    reading = PAPER.read(claim.public, [Answered(scores)])
    assert (reading.log_scores == PAPER.read(claim.public, [Answered(labels.astype(float))]).log_scores).all()


HOSTILE = {
    "too few": np.zeros(7),
    "too many": np.zeros(CANDIDATES * 8 + 1),
    "a number": np.array(1.0),
    "empty": np.zeros(0),
    "three axes": np.zeros((CANDIDATES * 8, 2, 2)),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_answers_of_a_wrong_shape_say_nothing(what, claim):
    reading = PAPER.read(claim.public, [Answered(HOSTILE[what], unread=("a note",))])
    assert not reading.log_scores.any()
    assert reading.coverage == 0
    assert reading.unread[0] == "a note"
    assert "triggers" in reading.unread[1]


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0, 0.5, 2.0**40])
def test_answers_that_are_no_labels_are_misses(value, claim):
    reading = PAPER.read(claim.public, [Answered(np.full(CANDIDATES * 8, value))])
    assert not reading.tally.any()
    assert reading.coverage == 0


def test_a_refusal_says_nothing(claim):
    reading = PAPER.read(claim.public, [Unanswered("gone")])
    assert (reading.coverage, reading.unread, reading.log_scores.any()) == (0.0, ("gone",), False)


def test_unanswered_controls_count_as_misses_and_never_for_the_owner(key, claim):
    """Who is silent about the owner's pattern and about nothing else is the last."""
    labels = np.full((CANDIDATES, 8), float(key.label))
    labels[claim.codeword[0]] = np.nan
    assert weighed(key, claim, labels.reshape(-1))[1] == 1.0


# --- options ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        *({"triggers": name} for name in ("unrelated", "", "x")),
        *({"taught": count} for count in (0, 4097)),
        *({"each": count} for count in (0, 65)),
        *({"deviation": share} for share in (0.0, 1.5, float("nan"))),
        {"positions": 64},
    ],
)
def test_options_that_do_not_do_are_refused_in_one_line(options):
    with pytest.raises(UsageError) as refusal:
        PAPER.options(options)
    assert "\n" not in str(refusal.value)


def test_too_few_data_are_refused_with_the_number_that_would_do():
    with pytest.raises(UsageError, match="23 different inputs are too few to hold 8 out from training; give 24"):
        key_of(PAPER, KEY, {"inputs": data("bytes")[:23]}, classifier(CLASSES), **FEW)


@pytest.mark.parametrize("answers", [lambda inputs: np.zeros(len(inputs)), lambda inputs: np.zeros((len(inputs), 1))])
def test_a_reference_that_is_no_classifier_is_refused(answers):
    with pytest.raises(UsageError, match="no scores per class"):
        key_of(PAPER, KEY, {"inputs": data("bytes")}, answers, **FEW)


def test_the_lint_says_how_often_the_reference_answers_the_target_label(key):
    (note,) = PAPER.lint(key)
    share = np.mean(classifier(CLASSES)(asked(key)).argmax(axis=1) == key.label)
    assert f"answers {share:.0%} of images" in note
