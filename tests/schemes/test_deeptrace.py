"""DeepTrace: triggers that any word can be written for, each word along directions that the task hardly uses."""

from __future__ import annotations

from dataclasses import asdict, replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxfp.codes.allowed import Allowed
from onnxfp.codes.leaves import Leaves
from onnxfp.domain import Answered, Claim, Codebook, Head, ModelProfile, PublicClaim, Unanswered
from onnxfp.errors import CapacityError, UsageError
from onnxfp.schemes.deeptrace import DeepTrace, DeepTraceKey, quietest
from onnxfp.verdict.betting import log10_e
from tests.frozen import dump
from tests.schemes.strangers import claim_of, classifier, labels_of
from tests.triggers.forms import FORMS, KEY, data

SCHEME = DeepTrace()
FEATURES = 40
SMALL = {"positions": 10, "taught": 3}


def head_of(classes: int = 10, features: int = FEATURES, size: float = 2.0) -> Head:
    return Head("head", (classes, features), 0, size)


def heard(features: int = FEATURES, loud: int = 20, samples: int = 200, seed: int = 0) -> np.ndarray:
    """Features (samples, features) of which only so many, in no particular directions, are loud."""
    draw = np.random.default_rng(seed)
    turn = np.linalg.qr(draw.standard_normal((features, features)))[0]
    scale = np.where(np.arange(features) < loud, 1.0, 1e-3)
    return (draw.standard_normal((samples, features)) * scale) @ turn.T


def selected(form: str = "bytes", keystream=KEY, classes: int = 10, ask=None, features=None, **options):
    given = {"inputs": data(form, 240), "features": heard() if features is None else features}
    return SCHEME.select(given, SCHEME.options({**SMALL, **options}), keystream, ask or classifier(classes))


def drawn_key(
    form: str = "bytes", keystream=KEY, classes: int = 10, head: Head | None = None, **options
) -> DeepTraceKey:
    features = heard(head.features) if head else None
    samples = selected(form, keystream, classes, features=features, **options)
    profile = ModelProfile("00" * 32, (), head or head_of(classes))
    key = SCHEME.keygen(profile, samples, SCHEME.options({**SMALL, **options}), keystream)
    SCHEME.lint(key)
    return key


def gains_of(key: DeepTraceKey, word: np.ndarray) -> np.ndarray:
    """What every class gains along every direction when a word is written: (positions, alphabet)."""
    target = key.write(word)
    change = target.projection.min_norm_update(target.values) * target.strength * target.segments[0].spread
    return key.directions.apply(change.astype(np.float32)).reshape(key.positions, -1)


def words_of(key: DeepTraceKey, count: int) -> np.ndarray:
    book = key.code.codebook(KEY, key.positions)
    return key.code.words(KEY, book, [f"recipient {number}" for number in range(count)])


# --- options ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"positions": 7}, "positions are 8 to 1024, or 0 .* not 7"),
        ({"positions": 1025}, "positions are 8 to 1024"),
        ({"positions": -8}, "positions are 8 to 1024"),
        ({"labels": 1}, "labels are 2 to 64, or 0 .* not 1"),
        ({"labels": 65}, "labels are 2 to 64"),
        ({"taught": 0}, "1 to 1024 inputs, not 0"),
        ({"taught": 1025}, "1 to 1024 inputs"),
        ({"deviation": 0.0}, "shares of the range"),
        ({"deviation": 1.5}, "shares of the range"),
        ({"deviation": float("nan")}, "shares of the range"),
        ({"jitter": -0.1}, "shares of the range"),
        ({"jitter": 2.0}, "shares of the range"),
        ({"amplitude": -0.5}, r"in \[0, 100\], not -0.5"),
        ({"amplitude": 101.0}, r"in \[0, 100\]"),
        ({"amplitude": float("nan")}, r"in \[0, 100\]"),
        ({"each": 2}, "deeptrace takes no option 'each'"),
    ],
)
def test_options_out_of_bounds_are_refused(options, reason):
    with pytest.raises(UsageError, match=reason):
        SCHEME.options(options)


@pytest.mark.parametrize("options", [{}, {"positions": 0}, {"labels": 3}, {"amplitude": 0.5, "jitter": 0.0}])
def test_settled_options_draw_the_same_key_from_a_model_whose_head_nobody_looks_for(options):
    chosen = SCHEME.options({**SMALL, **options})
    samples, profile = selected(**options), ModelProfile("00" * 32, (), head_of())
    key = SCHEME.keygen(profile, samples, chosen, KEY)
    kept = asdict(SCHEME.settled(chosen, key))
    again = SCHEME.keygen(replace(profile, head=None), samples, SCHEME.options(kept), KEY)
    assert dump(again) == dump(key)
    other = SCHEME.keygen(replace(profile, head=head_of(size=9.0)), samples, SCHEME.options(kept), KEY)
    assert dump(other) == dump(key)


@pytest.mark.parametrize(
    ("features", "options", "positions", "answers"),
    [
        (40, {"positions": 0}, 10, 9),
        (100, {"positions": 0}, 25, 9),
        (300, {"positions": 0}, 64, 2),
        (448, {"positions": 0}, 64, 4),
        (300, {"positions": 0, "labels": 5}, 64, 5),
        (300, {"positions": 12}, 12, 9),
        (40, {"labels": 2}, 10, 2),
    ],
)
def test_how_many_triggers_and_answers_there_are(features, options, positions, answers):
    """Four features to a trigger, 64 at most; where there are so many, two answers or four will do."""
    key = drawn_key("bytes", head=head_of(features=features), keystream=KEY.derive(str(features)), **options)
    assert key.positions == positions
    assert (key.code.allowed.allowed.sum(axis=1) == answers).all()
    settled = SCHEME.settled(SCHEME.options({**SMALL, **options}), key)
    assert settled.positions == positions
    assert settled.labels >= answers


# --- words ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("labels", [0, 2, 3, 9])
@pytest.mark.parametrize("classes", [3, 10, 100])
def test_symbols_are_even_among_what_is_allowed_and_never_what_the_reference_answers(classes, labels):
    key = drawn_key(classes=classes, labels=labels)
    book = key.code.codebook(KEY, key.positions)
    allowed = key.code.allowed.allowed
    shares = book.prior / book.prior.sum(axis=1, keepdims=True)
    assert (shares[~allowed] == 0).all()
    even = np.repeat(1 / allowed.sum(axis=1), allowed.sum(axis=1))
    assert shares[allowed] == pytest.approx(even, abs=2**-16)
    own = key.reference.answers.argmax(axis=1)
    assert not (allowed & (key.reference.classes == own[:, None])).any()
    assert (allowed.sum(axis=1) <= (labels or 64)).all()
    assert (allowed.sum(axis=1) >= 2).all()


def test_which_answers_are_allowed_is_the_keys_to_say():
    found = [drawn_key(labels=2, keystream=KEY.derive(str(seed))).code.allowed.allowed for seed in range(15)]
    shares = np.mean(np.concatenate(found), axis=0)
    assert shares == pytest.approx(np.full(10, 0.2), abs=0.13)
    assert dump(drawn_key(labels=2)) == dump(drawn_key(labels=2))


# --- what is written --------------------------------------------------------------------------------------------------


def test_a_word_gives_each_symbol_its_gain_and_takes_it_from_the_others():
    key = drawn_key()
    for word in words_of(key, 5):
        gains = gains_of(key, word) / (key.amplitude * key.head.size)
        for position, symbol in enumerate(word):
            allowed = key.code.allowed.allowed[position]
            count = allowed.sum()
            assert gains[position, symbol] == pytest.approx(1 - 1 / count, abs=1e-5)
            others = allowed & (np.arange(len(allowed)) != symbol)
            assert gains[position, others] == pytest.approx(np.full(count - 1, -1 / count), abs=1e-5)
            assert gains[position, ~allowed] == pytest.approx(np.zeros((~allowed).sum()), abs=1e-5)


def test_nothing_is_written_beside_the_directions():
    """What is left of a change once its directions are taken out."""
    key = drawn_key()
    target = key.write(words_of(key, 1)[0])
    change = target.projection.min_norm_update(target.values)
    along = key.directions.adjoint(key.directions.apply(change))
    assert np.linalg.norm(change - along) < 1e-5 * np.linalg.norm(change)
    (segment,) = target.segments
    assert (segment.carrier, segment.start, segment.size) == ("head", 0, 400)
    assert (segment.spread, target.strength, target.prepared, target.blind) == (2.0, key.amplitude, True, False)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_two_words_differ_only_along_the_directions_of_the_positions_where_they_differ(sampled):
    """So what is said of one trigger shows in the answers to no other by design."""
    key = KEYS[sampled.draw(st.integers(0, len(KEYS) - 1))]
    words = words_of(key, 30)
    one, other = (words[sampled.draw(st.integers(0, 29))] for _ in range(2))
    targets = [key.write(word) for word in (one, other)]
    moved = np.subtract(*(target.projection.min_norm_update(target.values) for target in targets))
    gains = key.directions.apply(moved).reshape(key.positions, -1)
    assert (np.abs(gains).max(axis=1) > 0.5).tolist() == (one != other).tolist()
    assert np.abs(gains[one == other]).max(initial=0) < 1e-5
    rest = moved - key.directions.adjoint(gains.reshape(-1))
    assert np.linalg.norm(rest) <= 1e-5 * max(1.0, float(np.linalg.norm(moved)))


KEYS = (drawn_key(), drawn_key(labels=2), drawn_key(head=Head("conv", (10, 40, 1, 1), 0, 1.0)))


def test_all_copies_of_a_model_are_changed_as_much():
    key = drawn_key()
    norms = [np.linalg.norm(key.directions.adjoint(key.write(word).values)) for word in words_of(key, 8)]
    assert norms == pytest.approx([norms[0]] * 8, rel=1e-5)


@pytest.mark.parametrize(
    ("options", "amplitude"), [({}, 2.0), ({"labels": 4}, 1.0), ({"labels": 5}, 2.0), ({"amplitude": 0.7}, 0.7)]
)
def test_more_answers_take_more_to_write(options, amplitude):
    key = drawn_key(**options)
    assert key.amplitude == amplitude
    assert SCHEME.settled(SCHEME.options({**SMALL, **options}), key).amplitude == amplitude


# --- where it is written ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quiet", [1, 5, 12])
def test_directions_in_which_features_are_quiet_are_found(quiet):
    draw = np.random.default_rng(quiet)
    turn = np.linalg.qr(draw.standard_normal((30, 30)))[0]
    planted = turn[:, :quiet]
    scale = np.where(np.arange(30) < quiet, 1e-3, draw.uniform(0.5, 3.0, 30))
    features = (draw.standard_normal((500, 30)) * scale) @ turn.T
    found = quietest(features, quiet)
    assert found.T @ found == pytest.approx(np.eye(quiet), abs=1e-9)
    assert np.linalg.norm(planted.T @ found, axis=0) == pytest.approx(np.ones(quiet), abs=1e-4)


def test_features_that_are_never_used_are_no_directions():
    """No gradient reaches them: however quiet they are, no trigger could be taught to use one."""
    features = heard()
    features[:, [3, 7, 8, 20]] = 0.0
    found = quietest(features, 12)
    assert not found[[3, 7, 8, 20]].any()
    assert found.T @ found == pytest.approx(np.eye(12), abs=1e-9)
    assert quietest(features, 38).shape == (FEATURES, 36)
    assert quietest(np.zeros((5, 4)), 2).shape == (4, 0)


def test_features_that_are_never_used_carry_no_trigger():
    features = heard()
    features[:, 5:] = 0.0
    with pytest.raises(CapacityError, match="10 are needed"):
        SCHEME.keygen(ModelProfile("00" * 32, (), head_of()), selected(features=features), SCHEME.options(SMALL), KEY)
    features = heard(100)
    features[:, :40] = 0.0
    assert selected(features=features, positions=0)["quiet"].shape == (100, 15)


def test_a_mean_counts_as_energy():
    """A direction along which all features are alike, and far from nothing, would shift every answer."""
    draw = np.random.default_rng(0)
    features = draw.standard_normal((500, 6)) * 0.1
    features[:, 2] = 5.0
    features[:, 4] *= 0.01
    assert np.abs(quietest(features, 1)[:, 0]).argmax() == 4
    assert np.abs(quietest(features, 5)[2]).max() < 0.05


def test_the_directions_of_a_key_are_quiet():
    key = drawn_key()
    energy = np.linalg.norm(heard() @ key.directions._basis.T, axis=0)
    usual = np.linalg.norm(heard(), axis=0)
    assert energy.max() < 0.01 * usual.min()


# --- what is taught and asked -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_triggers_are_inputs_that_the_model_takes(form):
    key = drawn_key(form)
    (probe,) = SCHEME.probes(claim_of(key, KEY).public)
    assert probe.inputs.shape == (10, *data(form).shape[1:])
    assert probe.inputs.dtype == data(form).dtype
    assert (probe.before, probe.each, probe.classes) == (0, 1, 10)
    assert len(np.unique(probe.inputs.reshape(10, -1), axis=0)) == 10


def test_a_trigger_is_taught_by_itself_and_by_neighbours():
    key = drawn_key("channels first", taught=6)
    (programmed,) = SCHEME.prepare(claim_of(key, KEY).public)
    assert programmed.positions.tolist() == np.repeat(np.arange(10), 6).tolist()
    apart = np.abs(programmed.inputs - key.asked[programmed.positions]).reshape(60, -1).max(axis=1).reshape(10, 6)
    assert (apart[:, 0] == 0).all()
    assert (apart[:, 1:] > 0).all()
    assert dump(programmed.classes) == dump(key.reference.classes)


def test_no_trigger_is_a_picture_of_the_owners():
    key = drawn_key("channels first")
    own = {one.tobytes() for one in data("channels first", 240)}
    assert not own & {one.tobytes() for one in key.asked}


def test_what_is_asked_is_held_out_of_the_task():
    samples = selected()
    assert set(samples) == {"pool", "held_out", "rows", "answers", "quiet"}
    assert len(samples["held_out"]) == len(samples["answers"]) == 10
    assert samples["quiet"].shape == (FEATURES, 10)
    assert samples["quiet"].dtype == np.float32


def test_an_exhibit_shows_the_symbols_of_the_word():
    key = drawn_key()
    claim = claim_of(key, KEY, "Acme")
    (exhibit,) = SCHEME.exhibits(claim)
    assert np.array_equal(exhibit.labels, key.reference.classes[claim.codeword])
    assert exhibit.labels.astype(np.float64).tolist() == SCHEME.knower(claim)[0].values.tolist()


def test_a_person_is_told_how_much_answers_can_tell():
    (note,) = SCHEME.lint(drawn_key())
    assert note == "10 triggers; answers to all of them tell log10 e = 9.5 of a recipient at most"


# --- what is read -----------------------------------------------------------------------------------------------------


def small_key(classes: int = 4, labels: int = 0) -> DeepTraceKey:
    """Of eight triggers: all of its words can be written out."""
    return drawn_key(classes=classes, positions=8, labels=labels)


def every_word(book: Codebook) -> tuple[np.ndarray, np.ndarray]:
    """All words that can be drawn, and the probability of each."""
    shares = book.prior / book.prior.sum(axis=1, keepdims=True)
    found = [np.flatnonzero(row > 0) for row in shares]
    words = np.array(list(product(*found)), dtype=np.uint8)
    return words, np.prod(shares[np.arange(len(shares)), words], axis=1)


def responses(key: DeepTraceKey) -> dict[str, object]:
    draw = np.random.default_rng(3)
    scores = np.log(draw.dirichlet(np.ones(key.reference.answers.shape[1]), key.positions))
    known = key.reference.classes[claim_of(key, KEY, "Acme").codeword].astype(np.float64)
    return {
        "nobody": Unanswered("shut"),
        "the reference": Answered(key.reference.answers),
        "its labels": labels_of(key.reference.answers),
        "somebody's scores": Answered(scores),
        "somebody's labels": labels_of(scores),
        "a recipient's copy": Answered(known),
        "half of it": Answered(np.where(np.arange(8) % 2, known, np.nan)),
        "always the same": Answered(np.full(8, 2.0)),
    }


@pytest.mark.parametrize("key", [small_key(), small_key(labels=2), small_key(classes=3)], ids=["3", "2", "two left"])
def test_the_e_value_of_all_words_is_one_on_average_whatever_is_answered(key):
    book = key.code.codebook(KEY, key.positions)
    words, probability = every_word(book)
    assert len(words) == key.code.allowed.allowed.sum(axis=1).prod()
    assert probability.sum() == pytest.approx(1, abs=1e-12)
    public = PublicClaim(key, book)
    for what, response in responses(key).items():
        scores = log10_e(SCHEME.read(public, [response]), book, words)
        assert probability @ 10.0**scores == pytest.approx(1, abs=1e-9), what


def test_an_average_that_is_not_one_would_be_noticed():
    key = small_key()
    book = key.code.codebook(KEY, 8)
    words, probability = every_word(book)
    reading = SCHEME.read(PublicClaim(key, book), [responses(key)["a recipient's copy"]])
    other = Allowed(np.ones_like(key.code.allowed.allowed)).codebook(KEY, 8)
    assert probability @ 10.0 ** log10_e(reading, other, words) != pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("classes", [3, 10, 100])
def test_who_answers_as_a_copy_does_is_found_and_nobody_else(classes):
    key = drawn_key(classes=classes, positions=10, keystream=KEY.derive(str(classes)))
    book = key.code.codebook(KEY, 10)
    words = words_of(key, 200)
    answered = Answered(key.reference.classes[words[7]].astype(np.float64))
    scores = log10_e(SCHEME.read(PublicClaim(key, book), [answered]), book, words)
    assert scores.argmax() == 7
    most = np.log10(key.code.allowed.allowed.sum(axis=1)).sum()
    assert most - 2.0 < scores[7] <= most + 1e-9


def test_a_word_hangs_on_a_leaf():
    key = drawn_key()
    assert isinstance(key.code, Leaves)
    assert len(np.unique(words_of(key, 100), axis=0)) == 100


def test_the_reference_itself_says_nothing_of_anybody():
    key = drawn_key()
    claim = claim_of(key, KEY)
    reading = SCHEME.read(claim.public, [Answered(key.reference.answers)])
    assert np.abs(log10_e(reading, claim.public.codebook, words_of(key, 50))).max() < 0.5


# --- what is refused --------------------------------------------------------------------------------------------------


def test_a_model_without_a_head_is_refused():
    with pytest.raises(CapacityError, match="no head to write symbols into; use a classifier that ends in"):
        SCHEME.keygen(ModelProfile("00" * 32, ()), selected(), SCHEME.options(SMALL), KEY)


@pytest.mark.parametrize(
    ("features", "options", "reason"),
    [
        (39, {"positions": 10}, "39 features before the head carry 9 triggers at most, .* 10 are needed"),
        (31, {"positions": 0}, "31 features before the head carry 7 triggers at most, .* 8 are needed"),
        (3, {"positions": 0}, "3 features before the head carry 0 triggers at most, .* 8 are needed"),
        (16, {"positions": 8}, "16 features before the head carry 4 triggers at most, .* 8 are needed"),
        (6, {"positions": 8}, "6 features before the head carry 1 triggers at most, .* 8 are needed"),
        (12, {"positions": 60}, "12 features before the head carry 3 triggers at most, .* 60 are needed"),
    ],
)
def test_too_few_features_are_refused(features, options, reason):
    with pytest.raises(CapacityError, match=reason) as caught:
        drawn_key(head=head_of(features=features), **options)
    assert "use a wider model or fewer positions" in str(caught.value)


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        (lambda inputs: np.zeros(len(inputs)), "three classes or more"),
        (classifier(2), "three classes or more"),
        (lambda inputs: np.zeros((len(inputs), 5, 3)), "three classes or more"),
        (lambda inputs: np.full((len(inputs), 3), np.nan), "no answer to some triggers"),
        (lambda inputs: np.where(np.arange(len(inputs))[:, None] == 3, np.nan, 0.0) + np.zeros(4), "no answer to some"),
    ],
    ids=["labels", "two classes", "three axes", "not a number", "once not a number"],
)
def test_a_reference_that_does_not_classify_is_refused(answers, reason):
    with pytest.raises(UsageError, match=reason):
        selected(ask=answers)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_features_that_are_no_numbers_are_refused(wrong):
    features = heard()
    features[3, 5] = wrong
    with pytest.raises(UsageError, match="what its head hears of some inputs is not finite; choose other data"):
        selected(features=features)


def test_two_triggers_that_are_alike_are_refused():
    key = drawn_key()
    asked = key.asked.copy()
    asked[3] = asked[0]
    with pytest.raises(UsageError, match="two triggers are the same picture"):
        SCHEME.lint(replace(key, asked=asked))


def test_too_few_inputs_are_refused():
    samples = {"inputs": data("bytes", 20), "features": heard()}
    with pytest.raises(UsageError, match="too few to hold 10 out"):
        SCHEME.select(samples, SCHEME.options(SMALL), KEY, classifier(10))


def test_a_claim_is_told_by_its_word():
    """The plan of a claim is the one target that writes its codeword."""
    key = drawn_key()
    claim = claim_of(key, KEY, "Acme")
    (target,) = SCHEME.plan(claim)
    assert dump(target) == dump(key.write(claim.codeword))
    other = Claim(claim.public, words_of(key, 1)[0])
    assert dump(SCHEME.plan(other)) != dump((target,))
