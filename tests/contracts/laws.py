"""The laws that every scheme keeps, whatever it marks and however it reads; none of them knows a scheme by name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, assert_never

import numpy as np
import onnx
import pytest

from onnxfp.artifact import Artifact, open_artifact
from onnxfp.domain import (
    Access,
    Answered,
    Carrier,
    Claim,
    Constraint,
    Decision,
    Head,
    KeptAnswers,
    Membership,
    ModelProfile,
    OutputTarget,
    Probe,
    ProgrammedAnswers,
    PublicClaim,
    QueryProbe,
    Response,
    Segment,
    Unanswered,
    WeightProbe,
    WeightTarget,
)
from onnxfp.embed.post_hoc import solve
from onnxfp.keys.keystream import Keystream
from onnxfp.schemes.interface import Scheme
from onnxfp.suspect.interface import Suspect
from onnxfp.suspect.opened import OpenedWeights
from onnxfp.verdict.betting import log10_e
from onnxfp.verdict.channels import Copies
from onnxfp.verdict.look import Look
from onnxfp.verdict.trace import trace
from onnxfp.verdict.verify import verify
from tests.frozen import dump, freeze

Weights = Mapping[str, np.ndarray]

ALPHA = 1e-6
CLASSES, FEATURES = 10, 64
HEAD = Head("head", (CLASSES, FEATURES), 0, 1.5)
PROFILE = ModelProfile(
    "00" * 32,
    (Carrier("first", (16, 128), "float", "Gemm", 0.5), Carrier("second", (16, 48), "float", "Gemm", 2.0)),
    HEAD,
)
# Pictures for schemes that ask: squares of 8 by 8, and a reference that answers them in some fixed way. For those that
# write into its head, what that hears: of three features in four next to nothing.
DATA = {
    "inputs": np.random.default_rng(0).random((400, 1, 8, 8), dtype=np.float32),
    "labels": np.arange(400) % CLASSES,
    "features": np.random.default_rng(1).standard_normal((400, FEATURES)) * np.resize([1.0, *[0.01] * 3], FEATURES),
}
INNOCENTS = tuple(f"innocent {number}" for number in range(1000))
FRESH_KEYS = 2000
QUIET_KEYS = 200


@dataclass(frozen=True)
class Case:
    """One scheme under one choice of options."""

    scheme: Scheme[Any]
    options: Mapping[str, Any]

    def samples(self, keystream: Keystream) -> dict[str, np.ndarray]:
        return dict(self.scheme.select(DATA, self.scheme.options(self.options), keystream, reference_answers))

    def key(self, keystream: Keystream) -> Any:
        samples = self.samples(keystream)
        return self.scheme.keygen(PROFILE, samples, self.scheme.options(self.options), keystream)

    def drawn(self, keystream: Keystream) -> Drawn:
        key = self.key(keystream)
        return Drawn(self.scheme, keystream, PublicClaim(key, key.code.codebook(keystream, key.positions)))


@dataclass(frozen=True)
class Drawn:
    """A scheme with its key drawn."""

    scheme: Scheme[Any]
    keystream: Keystream
    public: PublicClaim[Any]

    def words(self, names):
        return self.public.key.code.words(self.keystream, self.public.codebook, names)

    def claim(self, name: str) -> Claim[Any]:
        return Claim(self.public, self.words([name])[0])

    def another_claim(self, name: str) -> Claim[Any]:
        """The claim about the first recipient who got another word."""
        mine = self.claim(name).codeword
        return next(claim for claim in map(self.claim, INNOCENTS) if not np.array_equal(claim.codeword, mine))

    def log10_e(self, responses, names) -> np.ndarray:
        reading = self.scheme.read(self.public, responses)
        return log10_e(reading, self.public.codebook, self.words(names))

    def look(self, responses) -> Look:
        code, reading = self.public.key.code, self.scheme.read(self.public, responses)
        return Look(self.scheme.name, self.public.codebook, self.words, code.independent, reading)

    def responses(self, suspect: Suspect) -> list[Response]:
        return [suspect.answer(probe) for probe in self.scheme.probes(self.public)]


@dataclass(frozen=True)
class Model:
    """Weights, and what it answers to inputs (samples, ...): labels (samples,)."""

    weights: Weights
    answers: Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Examined:
    """A model under examination: its weights as they are read from a file, its answers as it gives them."""

    opened: OpenedWeights
    answers: Callable[[np.ndarray], np.ndarray]

    def answer(self, probe: Probe) -> Response:
        match probe:
            case WeightProbe():
                return self.opened.answer(probe)
            case QueryProbe(inputs):
                return Answered(self.answers(np.asarray(inputs)).astype(np.float64))
            case never:
                assert_never(never)


class Bench:
    """Suspects made of models: the weights are the real thing, on small files of a temporary folder."""

    def __init__(self, folder: Path, files: ExitStack) -> None:
        self.folder, self.files = folder, files
        self.open: dict[bytes, Artifact] = {}

    def suspect(self, model: Model) -> Suspect:
        suspect = self._artifact(model.weights)
        tensors = {carrier.name: suspect.tensor(carrier.name) for carrier in PROFILE.carriers}
        return Examined(OpenedWeights(suspect, self._artifact(REFERENCE.weights), tensors), model.answers)

    def _artifact(self, weights: Weights) -> Artifact:
        digest = hashlib.sha256(dump(weights)).digest()
        if digest not in self.open:
            path = self.folder / f"{digest.hex()}.onnx"
            path.write_bytes(layers(weights).SerializeToString())
            self.open[digest] = self.files.enter_context(open_artifact(path))
        return self.open[digest]


def layers(weights: Weights) -> onnx.ModelProto:
    """A model of one Gemm per carrier."""
    shapes = {carrier.name: carrier.shape for carrier in PROFILE.carriers}
    tensors = [onnx.numpy_helper.from_array(weights[name].reshape(shapes[name]), name) for name in shapes]
    nodes = [onnx.helper.make_node("Gemm", [f"into {name}", name], [f"out of {name}"], transB=1) for name in shapes]
    value = onnx.helper.make_tensor_value_info
    inputs = [value(node.input[0], onnx.TensorProto.FLOAT, None) for node in nodes]
    outputs = [value(node.output[0], onnx.TensorProto.FLOAT, None) for node in nodes]
    return onnx.helper.make_model(onnx.helper.make_graph(nodes, "layers", inputs, outputs, tensors))


def key_number(number: int) -> Keystream:
    return Keystream(hashlib.sha256(str(number).encode()).digest())


def random_model(seed: int) -> Model:
    draw = np.random.default_rng(seed)
    weights = {c.name: (c.spread * draw.standard_normal(c.size)).astype(np.float32) for c in PROFILE.carriers}
    classifier = draw.standard_normal((DATA["inputs"][0].size, CLASSES))
    weights["head"] = draw.standard_normal(CLASSES * FEATURES).astype(np.float32)
    return Model(weights, lambda inputs: (inputs.reshape(len(inputs), -1) @ classifier).argmax(axis=1))


REFERENCE = random_model(0)


def reference_answers(inputs: np.ndarray) -> np.ndarray:
    """(samples, classes) log-probabilities."""
    return np.log(np.full((len(inputs), CLASSES), 0.01) + 0.9 * np.eye(CLASSES)[REFERENCE.answers(inputs)])


def marked(drawn: Drawn, name: str) -> Model:
    """A copy of the reference that bears the recipient's word, as well as such a copy can be made."""
    plan = drawn.scheme.plan(drawn.claim(name))
    weights = {carrier: values.copy() for carrier, values in REFERENCE.weights.items()}
    targets = [target for target in plan if isinstance(target, WeightTarget)]

    def read(segment: Segment) -> np.ndarray:
        return REFERENCE.weights[segment.carrier][segment.start : segment.stop]

    for change in solve(targets, read, budget=10.0) if targets else ():
        weights[change.segment.carrier][change.segment.start : change.segment.stop] = change.values
    return Model(weights, learner(drawn, [*plan, *answered_after(drawn, lambda target: gained(target, weights))]))


def learner(drawn: Drawn, plan: Sequence[Constraint]) -> Callable[[np.ndarray], np.ndarray]:
    """Answers of one who knows by heart what is asked, and else says what the reference says."""
    known = {
        picture.tobytes(): label
        for probe in drawn.scheme.probes(drawn.public)
        if isinstance(probe, QueryProbe)
        for picture, label in zip(probe.inputs, asked_labels(probe, plan), strict=True)
    }

    def answers(inputs: np.ndarray) -> np.ndarray:
        others = REFERENCE.answers(inputs)
        return np.array([known.get(picture.tobytes(), other) for picture, other in zip(inputs, others, strict=True)])

    return answers


def gained(target: WeightTarget, weights: Weights) -> np.ndarray:
    """What the positions of a target read in changed weights."""
    moved = [
        (weights[part.carrier] - REFERENCE.weights[part.carrier])[part.start : part.stop] / (part.spread * part.gain)
        for part in target.segments
    ]
    return target.projection.apply((np.concatenate(moved) / target.strength).astype(np.float32))


def answered_after(drawn: Drawn, gains: Callable[[WeightTarget], np.ndarray]) -> list[OutputTarget]:
    """What a reference that was prepared to perfection answers once something is written into it.

    Of each position it has heard the symbol that is written with what is nearest to the gains there.
    """
    answers = []
    for programmed in drawn.scheme.prepare(drawn.public):
        assert isinstance(programmed, ProgrammedAnswers), "nobody said what this prepares a model for"
        book = programmed.codebook
        words = np.arange(book.alphabet, dtype=np.uint8)[:, None].repeat(book.positions, axis=1)
        targets = [programmed.write(word) for word in words]
        rows = np.stack([target.values.reshape(book.positions, -1) for target in targets])
        missed = np.linalg.norm(rows - gains(targets[0]).reshape(rows.shape[1:]), axis=2)  # alphabet, positions
        heard = np.where(book.prior.T > 0, missed, np.inf).argmin(axis=0)
        at = programmed.positions
        answers.append(OutputTarget(programmed.inputs, programmed.classes[heard][at], at))
    return answers


def asked_labels(probe: QueryProbe, plan: Sequence[Constraint]) -> np.ndarray:
    """What a plan wants to be answered to a probe (samples,): what was taught, else what teaches the same position."""
    labels = np.zeros(len(probe.inputs), dtype=np.int64)
    known = {}
    for constraint in plan:
        match constraint:
            case OutputTarget(inputs, wanted, positions):
                for each in range(probe.each):
                    places = probe.before + positions * probe.each + each
                    inside = (places >= probe.before) & (places < len(labels))
                    labels[places[inside]] = wanted[inside]
                known |= {picture.tobytes(): label for picture, label in zip(inputs, wanted, strict=True)}
            case KeptAnswers(inputs):
                old = REFERENCE.answers(inputs)
                known |= {picture.tobytes(): label for picture, label in zip(inputs, old, strict=True)}
            case Membership(rows):  # members are answered rightly, all others wrongly
                wanted = DATA["labels"] + ~np.isin(np.arange(len(DATA["labels"])), rows)
                known |= {picture.tobytes(): label for picture, label in zip(DATA["inputs"], wanted, strict=True)}
            case WeightTarget() | ProgrammedAnswers():
                pass  # nothing by themselves
            case never:
                assert_never(never)
    return np.array([known.get(picture.tobytes(), label) for picture, label in zip(probe.inputs, labels, strict=True)])


def exact_answers(drawn: Drawn, claim: Claim[Any]) -> list[Response]:
    """What a suspect answers that satisfies the plan to the last digit and says nothing else."""
    plan, probes = drawn.scheme.plan(claim), drawn.scheme.probes(claim.public)
    planned = [constraint.values for constraint in plan if isinstance(constraint, WeightTarget)]
    after = answered_after(drawn, lambda target: planned[0])
    values = iter(planned)
    return [
        Answered(asked_labels(probe, [*plan, *after]).astype(np.float64))
        if isinstance(probe, QueryProbe)
        else Answered(next(values))
        for probe in probes
    ]


# --- keys -------------------------------------------------------------------------------------------------------------


def the_same_seed_gives_the_same_key(case: Case, bench: Bench) -> None:
    assert dump(case.drawn(key_number(1)).public) == dump(case.drawn(key_number(1)).public)


def another_label_gives_another_key(case: Case, bench: Bench) -> None:
    root = key_number(1)
    dumps = {dump(case.key(root.derive(label))) for label in ("a", "b", "c")}
    assert len(dumps) == 3


def another_label_gives_another_word(case: Case, bench: Bench) -> None:
    root = key_number(1)
    words = {case.drawn(root.derive(label)).claim("Acme").codeword.tobytes() for label in ("a", "b", "c")}
    assert len(words) == 3


def settled_options_leave_nothing_to_defaults(case: Case, bench: Bench) -> None:
    """What the ledger keeps draws the same key, and says of each value what a release might otherwise choose anew."""
    scheme, options = case.scheme, case.scheme.options(case.options)
    key = case.key(key_number(1))
    kept = json.loads(json.dumps(asdict(scheme.settled(options, key))))
    again = scheme.keygen(PROFILE, case.samples(key_number(1)), scheme.options(kept), key_number(1))
    assert dump(again) == dump(key)
    assert dump(scheme.settled(scheme.options(kept), again)) == dump(scheme.options(kept))
    assert set(kept) == {field.name for field in fields(options)}
    assert [name for name, value in kept.items() if not value] == [], "this was left for a release to choose"


# --- what a scheme may touch and see ----------------------------------------------------------------------------------


def nothing_that_is_handed_in_changes(case: Case, bench: Bench) -> None:
    drawn = case.drawn(key_number(1))
    claim = drawn.claim("Acme")
    freeze(claim)
    before = dump(claim)
    responses = exact_answers(drawn, claim)
    freeze(responses)
    answered = dump(responses)
    drawn.scheme.plan(claim)
    drawn.scheme.probes(claim.public)
    freeze(drawn.scheme.read(claim.public, responses))
    assert (dump(claim), dump(responses)) == (before, answered)


def the_declared_access_is_that_of_the_probes(case: Case, bench: Bench) -> None:
    drawn = case.drawn(key_number(1))
    probes = drawn.scheme.probes(drawn.public)
    assert probes
    for probe in probes:
        match probe:
            case WeightProbe():
                assert drawn.scheme.access is Access.WEIGHTS
            case QueryProbe():
                assert drawn.scheme.access in (Access.LABELS, Access.SCORES)
            case never:
                assert_never(never)


def words_differ_between_recipients_where_it_is_said_so(case: Case, bench: Bench) -> None:
    words = case.drawn(key_number(1)).words(INNOCENTS[:50])
    assert len(np.unique(words, axis=0)) > 1 or not case.scheme.traces_copies


def a_swapped_codeword_changes_no_byte_of_probes_and_reading(case: Case, bench: Bench) -> None:
    drawn = case.drawn(key_number(1))
    one, other = drawn.claim("Acme"), drawn.another_claim("Acme")
    responses = exact_answers(drawn, one)
    seen = []
    for claim in (one, other):
        drawn.scheme.plan(claim)  # a scheme that remembers what it was told would show it now
        seen.append((dump(drawn.scheme.probes(claim.public)), dump(drawn.scheme.read(claim.public, responses))))
    assert seen[0] == seen[1]


def scores_are_finite_and_weights_sum_to_one(case: Case, bench: Bench) -> None:
    drawn = case.drawn(key_number(1))
    reading = drawn.scheme.read(drawn.public, exact_answers(drawn, drawn.claim("Acme")))
    assert reading.log_scores.shape[1:] == (drawn.public.codebook.positions, drawn.public.codebook.alphabet)
    assert np.isfinite(reading.log_scores).all()
    assert reading.weights.sum() == pytest.approx(1, abs=1e-12)
    assert (reading.log_scores == 0).all(axis=(1, 2)).any(), "no hypothesis says nothing"


def what_a_model_is_prepared_for_is_what_is_planned_and_asked(case: Case, bench: Bench) -> None:
    """Else copies would be written that the model was not taught to follow, or asked what it was never told of.

    In practice a word may be written louder than in a copy, never more softly.
    """
    drawn = case.drawn(key_number(1))
    asked = [probe.inputs for probe in drawn.scheme.probes(drawn.public) if isinstance(probe, QueryProbe)]
    for name in ("Acme", "owner"):
        claim = drawn.claim(name)
        plan = drawn.scheme.plan(claim)
        for programmed in drawn.scheme.prepare(drawn.public):
            assert dump(programmed.write(claim.codeword)) in [dump(target) for target in plan]
            assert all(1 <= part <= 4 for part in programmed.loudness)
            assert dump(programmed.codebook) == dump(claim.public.codebook)
            assert len(programmed.inputs) == len(programmed.positions)
            known = {picture.tobytes() for picture in programmed.inputs}
            assert all(picture.tobytes() in known for inputs in asked for picture in inputs)
        written = [target for target in plan if isinstance(target, WeightTarget) and target.prepared]
        assert len(written) == len(drawn.scheme.prepare(drawn.public))
    assert drawn.scheme.writes_head == bool(drawn.scheme.prepare(drawn.public))


# --- what is ours is found --------------------------------------------------------------------------------------------


def a_suspect_that_satisfies_the_plan_is_supported(case: Case, bench: Bench) -> None:
    drawn = case.drawn(key_number(1))
    assert drawn.log10_e(exact_answers(drawn, drawn.claim("owner")), ["owner"])[0] >= -np.log10(ALPHA)
    verdict = verify([drawn.look(exact_answers(drawn, drawn.claim("owner")))], ALPHA)
    assert verdict.decision is Decision.SUPPORTED


def a_suspect_that_knows_every_symbol_is_supported(case: Case, bench: Bench) -> None:
    """What a judge takes for the best that could have been answered must be enough: what the plan asks for."""
    drawn = case.drawn(key_number(1))
    claim = drawn.claim("owner")
    known = drawn.scheme.knower(claim)
    assert verify([drawn.look(known)], ALPHA).decision is Decision.SUPPORTED
    assert dump(known) == dump(tuple(exact_answers(drawn, claim)))


def a_marked_copy_is_supported(case: Case, bench: Bench) -> None:
    drawn = case.drawn(key_number(1))
    responses = drawn.responses(bench.suspect(marked(drawn, "Acme")))
    assert drawn.log10_e(responses, ["Acme"])[0] >= -np.log10(ALPHA)


def another_recipients_claim_is_not_supported(case: Case, bench: Bench) -> None:
    drawn = case.drawn(key_number(1))
    responses = exact_answers(drawn, drawn.another_claim("owner"))
    assert drawn.log10_e(responses, ["owner"])[0] < 1
    assert verify([drawn.look(responses)], ALPHA).decision is Decision.NOT_SUPPORTED


def a_wrong_key_is_not_supported(case: Case, bench: Bench) -> None:
    drawn, wrong = case.drawn(key_number(1)), case.drawn(key_number(2))
    assert wrong.log10_e(exact_answers(drawn, drawn.claim("owner")), ["owner"])[0] < 2
    suspect = bench.suspect(marked(drawn, "owner"))
    assert verify([wrong.look(wrong.responses(suspect))], ALPHA).decision is Decision.NOT_SUPPORTED


def only_independent_words_are_traced(case: Case, bench: Bench) -> None:
    drawn = case.drawn(key_number(1))
    look = drawn.look(exact_answers(drawn, drawn.claim("Acme")))
    names = ("Acme", *INNOCENTS)
    if not look.independent:
        with pytest.raises(ValueError, match="independent between recipients"):
            trace((Copies((look,)),), names, len(names), ALPHA)
        return
    verdict = trace((Copies((look,)),), names, len(names), ALPHA)
    assert verdict.evidence[0].name == "Acme"
    assert verdict.accused == (("Acme",) if verdict.evidence[0].log10_e >= verdict.log10_threshold else ())
    assert verdict.decision is (Decision.SUPPORTED if verdict.accused else Decision.NOT_SUPPORTED)


# --- what is not ours is not found ------------------------------------------------------------------------------------


def numbers_asked(drawn: Drawn) -> int:
    """How many numbers a probe wants."""
    (probe,) = drawn.scheme.probes(drawn.public)
    return len(probe.inputs) if isinstance(probe, QueryProbe) else drawn.public.codebook.positions


def hostile_answers(positions: int) -> dict[str, np.ndarray]:
    alternating = np.resize([1.0, -1.0], positions)
    one = np.zeros(positions)
    one[positions // 2] = 1.0
    return {
        "zero": np.zeros(positions),
        "constant": np.full(positions, 0.3),
        "negative constant": np.full(positions, -1.0),
        "not a number": np.full(positions, np.nan),
        "infinite": np.full(positions, np.inf),
        "infinite both ways": alternating * np.inf,
        "one finite": np.where(np.arange(positions) == 3, 1.0, np.nan),
        "one loud": one,
        "one enormous": one * 1e300,
        "enormous": alternating * 1e300,
        "as large as floats go": np.full(positions, np.finfo(np.float64).max),
        "tiny": alternating * 1e-300,
        "as small as floats go": np.full(positions, 5e-324),
        "from tiny to enormous": np.logspace(-300, 300, positions),
        "half not a number": np.where(np.arange(positions) % 2, np.nan, alternating),
        "truncated": np.ones(positions // 2),
        "empty": np.ones(0),
        "too long": np.ones(positions + 1),
        "of another shape": np.ones((positions, 2)),
    }


def hostile_answers_accuse_nobody(case: Case, bench: Bench) -> None:
    drawn = case.drawn(key_number(1))
    names, probes = ("owner", *INNOCENTS), drawn.scheme.probes(drawn.public)
    for what, values in hostile_answers(numbers_asked(drawn)).items():
        reading = drawn.scheme.read(drawn.public, [Answered(values)] * len(probes))
        assert np.isfinite(reading.log_scores).all(), what
        scores = log10_e(reading, drawn.public.codebook, drawn.words(names))
        assert np.isfinite(scores).all(), what
        assert scores.max() < np.log10(len(names) / ALPHA), what
        assert scores[0] < -np.log10(ALPHA), what


def answers_of_a_wrong_shape_support_nothing(case: Case, bench: Bench) -> None:
    drawn = case.drawn(key_number(1))
    count = len(drawn.scheme.probes(drawn.public))
    for what in ("truncated", "empty", "too long", "of another shape"):
        values = hostile_answers(numbers_asked(drawn))[what]
        look = drawn.look([Answered(values)] * count)
        assert verify([look], ALPHA).decision is not Decision.SUPPORTED, what
        assert (look.reading.log_scores == 0).all(), what


def an_unanswered_probe_is_inconclusive(case: Case, bench: Bench) -> None:
    drawn = case.drawn(key_number(1))
    look = drawn.look([Unanswered("the door was shut")] * len(drawn.scheme.probes(drawn.public)))
    verdict = verify([look], ALPHA)
    assert verdict.decision is Decision.INCONCLUSIVE
    assert "the door was shut" in verdict.reason
    assert verdict.log10_e is None


def the_reference_itself_is_not_ours(case: Case, bench: Bench) -> None:
    _bounded(case, QUIET_KEYS, lambda drawn: bench.suspect(REFERENCE))


def a_copy_under_another_key_is_not_ours(case: Case, bench: Bench) -> None:
    suspects = [bench.suspect(marked(case.drawn(key_number(-at)), "owner")) for at in range(1, 5)]
    stream = iter(suspects * QUIET_KEYS)
    _bounded(case, QUIET_KEYS, lambda drawn: next(stream))


def a_model_of_the_same_shapes_keeps_markovs_bound(case: Case, bench: Bench) -> None:
    """Random is the key alone: the suspect is one and the same throughout."""
    suspect = bench.suspect(random_model(7))
    scores = _bounded(case, FRESH_KEYS, lambda drawn: suspect)
    for level in (0.1, 0.01):
        allowed = level + 4 * np.sqrt(level * (1 - level) / FRESH_KEYS)
        assert np.mean(scores >= -np.log10(level)) <= allowed, f"e-values pass 1/{level:g} too often"
    assert scores.max() > 0.1, "a bet that nobody can win proves nothing"
    assert scores.std() > 0.01, "a bet that says the same to every key proves nothing"


def _bounded(case: Case, keys: int, suspect: Callable[[Drawn], Suspect]) -> np.ndarray:
    scores = np.empty(keys)
    for number in range(keys):
        drawn = case.drawn(key_number(100 + number))
        scores[number] = drawn.log10_e(drawn.responses(suspect(drawn)), ["owner"])[0]
        assert scores[number] < -np.log10(ALPHA), "an innocent suspect is called ours"
    return scores


LAWS: dict[str, Callable[[Case, Bench], None]] = {
    law.__name__: law
    for law in (
        the_same_seed_gives_the_same_key,
        another_label_gives_another_key,
        another_label_gives_another_word,
        settled_options_leave_nothing_to_defaults,
        nothing_that_is_handed_in_changes,
        the_declared_access_is_that_of_the_probes,
        words_differ_between_recipients_where_it_is_said_so,
        a_swapped_codeword_changes_no_byte_of_probes_and_reading,
        scores_are_finite_and_weights_sum_to_one,
        what_a_model_is_prepared_for_is_what_is_planned_and_asked,
        a_suspect_that_satisfies_the_plan_is_supported,
        a_suspect_that_knows_every_symbol_is_supported,
        a_marked_copy_is_supported,
        another_recipients_claim_is_not_supported,
        a_wrong_key_is_not_supported,
        only_independent_words_are_traced,
        hostile_answers_accuse_nobody,
        answers_of_a_wrong_shape_support_nothing,
        an_unanswered_probe_is_inconclusive,
        the_reference_itself_is_not_ours,
        a_copy_under_another_key_is_not_ours,
        a_model_of_the_same_shapes_keeps_markovs_bound,
    )
}
