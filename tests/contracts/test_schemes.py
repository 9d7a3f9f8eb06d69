"""Every scheme of the catalogue keeps every law; and every law catches a scheme that breaks it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from onnxfp.codes.catalogue import CATALOGUE as CODES
from onnxfp.domain import Access, Answered, Codebook, Reading, Unanswered
from onnxfp.errors import OnnxfpError
from onnxfp.schemes.catalogue import CATALOGUE
from onnxfp.schemes.interface import Scheme
from tests.contracts.laws import ALPHA, DATA, LAWS, PROFILE, Bench, Case, key_number, reference_answers
from tests.frozen import dump

LEAST = 31  # positions with which a word can be told from chance at one in a million


def cases() -> dict[str, Case]:
    """Every scheme with its default options, and with every code that it takes."""
    found = {}
    for name, scheme in CATALOGUE.items():
        default = Case(scheme, {})
        if default.drawn(key_number(1)).public.codebook.prior.max(axis=1).prod() > ALPHA:
            continue  # a reproduction that cannot decide anything at this level; it has tests of its own
        found[f"{name}-default"] = default
        for code in sorted(CODES):
            case = Case(scheme, {"code": code})
            try:
                drawn = case.drawn(key_number(1))
            except OnnxfpError:  # a code that this scheme, or a model this small, does not take
                continue
            if drawn.public.codebook.positions >= LEAST and code != default.key(key_number(1)).code.name:
                found[f"{name}-{code}"] = case
    return found


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    with ExitStack() as files:
        yield Bench(tmp_path_factory.mktemp("bench"), files)


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS.keys())
@pytest.mark.parametrize("case", cases().values(), ids=cases().keys())
def test_a_scheme_keeps_the_law(case, law, bench):
    law(case, bench)


# --- the laws can be broken -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tampered(Scheme[Any]):
    """A sound scheme of which one step was replaced."""

    sound: Scheme[Any]
    change: dict[str, Callable[..., Any]] = field(default_factory=dict)
    access: Access = Access.WEIGHTS
    traces_copies: bool = True
    writes_head: bool = False
    name: str = "tampered"
    paper: str = "none"

    def options(self, values):
        return self.sound.options(values)

    def select(self, *arguments):
        return self._step("select", *arguments)

    def keygen(self, *arguments):
        return self._step("keygen", *arguments)

    def settled(self, options, key):
        return self._step("settled", options, key)

    def prepare(self, public):
        return self._step("prepare", public)

    def plan(self, claim):
        return self._step("plan", claim)

    def probes(self, public):
        return self._step("probes", public)

    def knower(self, claim):
        return self._step("knower", claim)

    def read(self, public, responses):
        return self._step("read", public, responses)

    def _step(self, name, *arguments):
        if name in self.change:
            return self.change[name](*arguments)
        return getattr(self.sound, name)(*arguments)


@dataclass(frozen=True)
class Overconfident:
    """A code whose words lean to 1 far more than its codebook admits."""

    sound: Any
    independent: bool = True
    name: str = "overconfident"

    def codebook(self, keystream, positions):
        return Codebook(np.full((positions, 1), 1 << 15, dtype=np.uint32))

    def words(self, keystream, codebook, recipients):
        biased = Codebook(np.full((codebook.positions, 1), 1 << 13, dtype=np.uint32))
        return self.sound.words(keystream, biased, recipients)


@dataclass(frozen=True)
class Samey:
    """A code that gives everybody the same word."""

    sound: Any
    independent: bool = True
    name: str = "samey"

    def codebook(self, keystream, positions):
        return self.sound.codebook(keystream, positions)

    def words(self, keystream, codebook, recipients):
        return self.sound.words(keystream, codebook, ["one for all"] * len(recipients))


@dataclass(frozen=True)
class Fixed:
    """A code that listens to names and not to keys."""

    sound: Any
    independent: bool = True
    name: str = "fixed"

    def codebook(self, keystream, positions):
        return self.sound.codebook(key_number(5), positions)

    def words(self, keystream, codebook, recipients):
        return self.sound.words(key_number(5), codebook, recipients)


SOUND, PREPARED = CATALOGUE["spread"], CATALOGUE["deeptrace"]


def tampered(**change):
    return Case(Tampered(SOUND, change), {})


def unprepared(**change):
    """A scheme that writes into heads, with one step replaced."""
    return Case(Tampered(PREPARED, change, Access.LABELS, writes_head=True), {})


def prepared_for(**other):
    """Prepares for something else than what it plans."""

    def prepare(public):
        (programmed,) = PREPARED.prepare(public)
        return (replace(programmed, **{name: change(programmed) for name, change in other.items()}),)

    return unprepared(prepare=prepare)


def unheard(claim):
    """Plans what no model was prepared for: every gain the other way."""
    (target,) = PREPARED.plan(claim)
    return (replace(target, values=-target.values),)


def with_code(wrap):
    def keygen(*arguments):
        key = SOUND.keygen(*arguments)
        return replace(key, code=wrap(key.code))

    return tampered(keygen=keygen)


def remembering():
    told = []

    def plan(claim):
        told[:] = [claim.codeword]
        return SOUND.plan(claim)

    def read(public, responses):
        reading = SOUND.read(public, responses)
        leaked = reading.log_scores.copy()
        leaked[:, 0, 0] -= float(told[0].sum()) if told else 0.0
        return replace(reading, log_scores=leaked)

    return tampered(plan=plan, read=read)


def scribbling_read(public, responses):
    responses[0].values[0] = 0.0
    return SOUND.read(public, responses)


def scribbling_plan(claim):
    claim.codeword[0] ^= 1
    return SOUND.plan(claim)


def knowing_nothing(claim):
    return (Answered(np.zeros(claim.public.key.positions)),)


def silent_read(public, responses):
    return Reading(np.zeros((1, public.key.positions, 2)), np.ones(1))


def naive_read(public, responses):
    """Log-scores straight from the answers: no bound on them, no hypothesis that says nothing."""
    match responses[0]:
        case Unanswered():
            return Reading(np.zeros((1, public.key.positions, 2)), np.ones(1))
        case Answered(values):
            return Reading(np.stack([-values, values], axis=-1)[None], np.ones(1))


def boastful_read(public, responses):
    reading = SOUND.read(public, responses)
    return replace(reading, weights=reading.weights * 10)


def random_keygen(profile, samples, options, keystream):
    return SOUND.keygen(profile, samples, options, key_number(int(np.random.default_rng().integers(1 << 40))))


def deaf_keygen(profile, samples, options, keystream):
    return SOUND.keygen(profile, samples, options, key_number(5))


def leaning_read(public, responses):
    """Says that every symbol is 1, whatever was answered."""
    del responses
    scores = np.zeros((2, public.key.positions, 2))
    scores[1, :, 1] = 2.0
    return Reading(scores, np.full(2, 0.5))


def leaning_liar():
    case = with_code(Overconfident)
    return Case(replace(case.scheme, change={**case.scheme.change, "read": leaning_read}), {})


BROKEN = (
    ("the_same_seed_gives_the_same_key", tampered(keygen=random_keygen)),
    ("another_label_gives_another_key", tampered(keygen=deaf_keygen)),
    ("another_label_gives_another_word", with_code(Fixed)),
    ("settled_options_leave_nothing_to_defaults", tampered(settled=lambda options, key: options)),
    (
        "settled_options_leave_nothing_to_defaults",
        tampered(settled=lambda options, key: replace(options, strength=0.07)),
    ),
    ("nothing_that_is_handed_in_changes", tampered(read=scribbling_read)),
    ("nothing_that_is_handed_in_changes", tampered(plan=scribbling_plan)),
    ("the_declared_access_is_that_of_the_probes", Case(Tampered(SOUND, access=Access.SCORES), {})),
    ("words_differ_between_recipients_where_it_is_said_so", with_code(Samey)),
    ("a_swapped_codeword_changes_no_byte_of_probes_and_reading", remembering()),
    ("scores_are_finite_and_weights_sum_to_one", tampered(read=boastful_read)),
    ("scores_are_finite_and_weights_sum_to_one", tampered(read=naive_read)),
    (
        "what_a_model_is_prepared_for_is_what_is_planned_and_asked",
        prepared_for(write=lambda one: lambda word: replace(one.write(word), strength=0.5)),
    ),
    (
        "what_a_model_is_prepared_for_is_what_is_planned_and_asked",
        prepared_for(write=lambda one: lambda word: replace(one.write(word), values=one.write(word[::-1]).values)),
    ),
    ("what_a_model_is_prepared_for_is_what_is_planned_and_asked", prepared_for(loudness=lambda one: (2.0, 0.5))),
    (
        "what_a_model_is_prepared_for_is_what_is_planned_and_asked",
        prepared_for(inputs=lambda one: one.inputs[::-1] + np.float32(0.01)),
    ),
    ("what_a_model_is_prepared_for_is_what_is_planned_and_asked", unprepared(prepare=lambda public: ())),
    ("a_suspect_that_satisfies_the_plan_is_supported", tampered(read=silent_read)),
    ("a_suspect_that_satisfies_the_plan_is_supported", unprepared(plan=unheard)),
    ("a_suspect_that_knows_every_symbol_is_supported", prepared_for(classes=lambda one: np.roll(one.classes, 1))),
    ("a_suspect_that_knows_every_symbol_is_supported", tampered(knower=knowing_nothing)),
    ("a_marked_copy_is_supported", tampered(read=silent_read)),
    ("a_marked_copy_is_supported", unprepared(plan=unheard)),
    ("another_recipients_claim_is_not_supported", leaning_liar()),
    ("a_wrong_key_is_not_supported", leaning_liar()),
    ("only_independent_words_are_traced", tampered(read=silent_read)),
    ("only_independent_words_are_traced", leaning_liar()),
    ("hostile_answers_accuse_nobody", tampered(read=naive_read)),
    ("hostile_answers_accuse_nobody", leaning_liar()),
    ("answers_of_a_wrong_shape_support_nothing", tampered(read=leaning_read)),
    ("an_unanswered_probe_is_inconclusive", tampered(read=silent_read)),
    ("the_reference_itself_is_not_ours", leaning_liar()),
    ("a_copy_under_another_key_is_not_ours", leaning_liar()),
    ("a_model_of_the_same_shapes_keeps_markovs_bound", leaning_liar()),
    ("a_model_of_the_same_shapes_keeps_markovs_bound", tampered(read=silent_read)),
)


@pytest.mark.parametrize(("law", "broken"), BROKEN, ids=[law for law, _ in BROKEN])
def test_a_broken_scheme_breaks_the_law(law, broken, bench):
    with pytest.raises((AssertionError, ValueError)):
        LAWS[law](broken, bench)


@pytest.mark.parametrize("name", [name for name, scheme in CATALOGUE.items() if not scheme.writes_head])
def test_a_scheme_that_writes_into_no_head_notices_none(name):
    case, inputs = Case(CATALOGUE[name], {}), {one: DATA[one] for one in ("inputs", "labels")}
    options, key = case.scheme.options({}), key_number(1)
    samples = case.scheme.select(inputs, options, key, reference_answers)
    bare = case.scheme.keygen(replace(PROFILE, head=None), samples, options, key)
    assert dump(bare) == dump(case.key(key))


def test_every_law_has_been_seen_to_fail():
    assert {law for law, _ in BROKEN} == set(LAWS)


def test_the_wrapper_of_the_broken_schemes_is_sound_by_itself(bench):
    for name, law in LAWS.items():
        if name != "a_model_of_the_same_shapes_keeps_markovs_bound":
            law(tampered(), bench)
            law(unprepared(), bench)
