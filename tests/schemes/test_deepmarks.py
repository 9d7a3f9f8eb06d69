"""DeepMarks: exact recovery as published, the published decoder's defects, and e-values of the same readings."""

from itertools import combinations

import numpy as np
import pytest

from onnxfp.codes.bibd import BIBD31, covering
from onnxfp.codes.catalogue import code_named
from onnxfp.domain import Answered, Carrier, Claim, ModelProfile, PublicClaim, Unanswered
from onnxfp.errors import CapacityError, UsageError
from onnxfp.keys.keystream import Keystream
from onnxfp.schemes.deepmarks import DeepMarks, paper_decode, threshold_bits
from onnxfp.verdict.betting import log10_e

SCHEME = DeepMarks()
KEY = Keystream(bytes(range(32)))
SPREAD = 0.05
CARRIERS = (
    Carrier("first", (32, 3, 3, 3), "float", "Conv", SPREAD),
    Carrier("middle", (64, 32, 3, 3), "float", "Conv", SPREAD),
    Carrier("middle, quantised", (64, 64, 3, 3), "int8", "Conv", SPREAD, writable=False),
    Carrier("recurrent", (1, 512, 512), "float", "LSTM", SPREAD),
    Carrier("last", (10, 256), "float", "Gemm", SPREAD),
)
REFERENCE = (np.random.default_rng(1).standard_normal(64 * 288) * SPREAD + 0.01).astype(np.float32)
TABLE = BIBD31.table()
CODED = 2.0 * TABLE - 1.0  # columns, positions: coefficients of every word, signs off


def public_claim(keystream=KEY, **options):
    key = SCHEME.keygen(ModelProfile("00", CARRIERS), {}, SCHEME.options(options), keystream)
    return PublicClaim(key, key.code.codebook(keystream, key.positions))


def names_by_column(code, keystream, count):
    """One name for each of the first `count` columns."""
    found = {}
    for index in range(10_000):
        found.setdefault(code.column(keystream, f"recipient {index}"), f"recipient {index}")
    return [found[column] for column in range(count)]


def marked(public, keystream, name):
    """The weights of a copy that satisfies the plan exactly."""
    (target,) = SCHEME.plan(Claim(public, public.key.code.words(keystream, public.codebook, [name])[0]))
    unit = np.float32(target.strength * target.segments[0].spread)
    step = target.projection.min_norm_update(target.values - target.projection.apply(REFERENCE / unit))
    return REFERENCE + unit * step


def answers(public, weights):
    (probe,) = SCHEME.probes(public)
    return [Answered(probe.projection.apply(weights / np.float32(probe.strength * probe.segments[0].spread)))]


def decode(public, weights, keystream=KEY):
    return paper_decode(public, answers(public, weights), public.key.code.signs(keystream, public.key.positions))


def weighed(public, responses, names, keystream=KEY):
    """log10 e-values of some names."""
    reading = SCHEME.read(public, responses)
    assert reading.weights.sum() == pytest.approx(1)
    return log10_e(reading, public.codebook, public.key.code.words(keystream, public.codebook, names))


# --- as published ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["bibd7", "bibd13", "bibd21", "bibd31"])
def test_a_single_copy_is_decoded_exactly(code):
    public = public_claim(code=code)
    weights = marked(public, KEY, "Acme Corp")
    result = decode(public, weights)
    column = public.key.code.column(KEY, "Acme Corp")
    assert np.abs(result.coefficients - (2.0 * public.key.code.table()[column] - 1)).max() < 1e-4
    assert (result.single, result.coalition, result.superset) == (column, (column,), (column,))


@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_every_averaging_coalition_within_the_capacity_is_decoded_exactly(size):
    public = public_claim()
    copies = np.stack([marked(public, KEY, name) for name in names_by_column(BIBD31, KEY, 31)])
    generator = np.random.default_rng(size)
    for _ in range(5):
        coalition = tuple(sorted(generator.permutation(31)[:size].tolist()))
        result = decode(public, copies[list(coalition)].mean(axis=0))
        assert result.coalition == coalition == result.superset
        assert result.single is None


def test_orthogonal_fingerprints_are_told_apart_alone_and_averaged():
    public = public_claim(code="orthogonal")
    copies = np.stack([marked(public, KEY, name) for name in names_by_column(public.key.code, KEY, 8)])
    assert decode(public, copies[3]).coalition == (3,)
    assert decode(public, copies[3]).single == 3
    for coalition in combinations(range(8), 5):
        assert decode(public, copies[list(coalition)].mean(axis=0)).coalition == coalition


def test_the_threshold_can_be_read_on_either_scale():
    # "0.85" of (b + 1)/2 is 0.70 of b: 20 % shrinkage of one copy then goes unnoticed, 35 % does not.
    assert public_claim(scale="coefficient").key.threshold == pytest.approx(0.85)
    public = public_claim(scale="unit")
    assert public.key.threshold == pytest.approx(0.70)
    weights = marked(public, KEY, "Acme Corp")
    column = BIBD31.column(KEY, "Acme Corp")
    assert decode(public, np.float32(0.8) * weights).superset == (column,)
    assert len(decode(public, np.float32(0.65) * weights).superset) == 31


# --- defects of the published decoder -------------------------------------------------------------------------------


def framing_rate(colluders, runs, shrink=1.0, noise=0.0, threshold=0.85):
    """Share of coalitions in which the superset rule accuses somebody outside.

    Random: the coalition, uniform among all of its size, and normal noise on every coefficient.
    """
    generator = np.random.default_rng(colluders)
    coalitions = np.argsort(generator.random((runs, 31)), axis=1)[:, :colluders]
    coefficients = shrink * CODED[coalitions].mean(axis=1) + noise * generator.standard_normal((runs, 31))
    accused = covering(TABLE, threshold_bits(coefficients, threshold))
    np.put_along_axis(accused, coalitions, values=False, axis=1)
    return float(accused.any(axis=1).mean())


def test_shrinking_one_copy_by_a_fifth_frames_everybody():
    # A convolution before a normalisation may be scaled by 0.8 without any effect on the model.
    public = public_claim()
    weights = marked(public, KEY, "Acme Corp")
    result = decode(public, np.float32(0.8) * weights)
    assert result.superset == tuple(range(31))
    assert result.coalition is None
    assert "no bound on false accusations" in result.bound
    assert framing_rate(1, 100, shrink=0.8) == 1.0


# 20 000 runs: standard error below 0.004.
@pytest.mark.parametrize(
    ("noise", "rates"), [(0.1, {1: 0.0, 2: 0.0, 3: 0.005, 5: 0.20}), (0.2, {1: 0.02, 2: 0.06, 3: 0.18, 5: 0.53})]
)
def test_noise_frames_innocents(noise, rates):
    found = {colluders: framing_rate(colluders, 20_000, noise=noise) for colluders in rates}
    assert found == pytest.approx(rates, abs=0.02)


@pytest.mark.parametrize(("colluders", "expected"), [(1, 0.08), (2, 0.20), (3, 0.37), (5, 0.81)])
def test_a_little_shrinkage_beside_little_noise_frames_innocents(colluders, expected):
    assert framing_rate(colluders, 20_000, shrink=0.9, noise=0.1) == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize(("colluders", "expected"), [(5, 0.0), (6, 0.449), (7, 0.849), (8, 0.964), (10, 0.998)])
def test_coalitions_past_the_capacity_frame_innocents_silently(colluders, expected):
    assert framing_rate(colluders, 20_000) == pytest.approx(expected, abs=0.012)


# --- e-values of the same readings ----------------------------------------------------------------------------------

SITUATIONS = {
    "shrunken copy": (1, 0.8, 0.0),
    "noise 0.1": (3, 1.0, 0.1),
    "noise 0.2": (5, 1.0, 0.2),
    "shrunken and noisy": (5, 0.9, 0.1),
    "six colluders": (6, 1.0, 0.0),
    "seven colluders": (7, 1.0, 0.0),
}


@pytest.mark.parametrize("situation", SITUATIONS)
def test_e_values_never_accuse_an_innocent_where_the_published_decoder_does(situation):
    # Random: the key. 40 keys, 31 recipients each, on 128 positions; the bound says at most 40 * 0.01 false
    # accusations are expected, and at this level none is seen.
    colluders, shrink, noise = SITUATIONS[situation]
    generator, code = np.random.default_rng(colluders), code_named("uniform")
    public = public_claim(code="uniform", positions=128)
    names = [f"recipient {index}" for index in range(31)]
    threshold = np.log10(31 / 0.01)
    for trial in range(40):
        secret = KEY.derive(situation, str(trial))
        words = code.words(secret, public.codebook, names)
        values = shrink * (2.0 * words[:colluders] - 1).mean(axis=0) + noise * generator.standard_normal(128)
        scores = weighed(public, [Answered(values)], names, secret)
        assert scores[colluders:].max() < threshold
        if colluders == 1:
            assert scores[0] >= threshold


def test_a_marked_carrier_names_its_recipient_and_nobody_else_with_uniform_words():
    public = public_claim(code="uniform")
    names = [f"recipient {index}" for index in range(500)]
    assert public.key.positions == 144
    for shrink in (1.0, 0.8, 0.1):
        responses = answers(public, np.float32(shrink) * marked(public, KEY, names[7]))
        scores = weighed(public, responses, names)
        assert np.flatnonzero(scores >= np.log10(500 / 1e-6)).tolist() == [7]


@pytest.mark.parametrize("code", ["tardos", "uniform"])
def test_three_averaging_colluders_are_named_and_nobody_else(code):
    profile = ModelProfile("00", (Carrier("wide", (8, 4096), "float", "Gemm", SPREAD),))
    key = SCHEME.keygen(profile, {}, SCHEME.options({"code": code}), KEY)
    public = PublicClaim(key, key.code.codebook(KEY, key.positions))
    names = [f"recipient {index}" for index in range(300)]
    claims = [Claim(public, word) for word in key.code.words(KEY, public.codebook, names[:3])]
    values = np.mean([SCHEME.plan(claim)[0].values for claim in claims], axis=0)
    scores = weighed(public, [Answered(values)], names)
    assert np.flatnonzero(scores >= np.log10(300 / 1e-6)).tolist() == [0, 1, 2]


@pytest.mark.parametrize("code", ["bibd31", "orthogonal"])
def test_words_with_columns_verify_and_are_not_for_naming(code):
    public = public_claim(code=code, role="owner")
    weights = marked(public, KEY, "owner")
    assert weighed(public, answers(public, weights), ["owner"])[0] > 6
    assert weighed(public, answers(public, REFERENCE), ["owner"])[0] < 2
    assert not public.key.code.independent


def test_words_that_share_their_signs_favour_innocents_which_is_why_they_name_nobody():
    # Random: the coalition of five and the innocent, uniform. For independent words this mean would be 1.
    public, generator, e_values = public_claim(), np.random.default_rng(5), []
    for _ in range(100):
        coalition = generator.permutation(31)[:5]
        reading = SCHEME.read(public, [Answered(CODED[coalition].mean(axis=0))])
        e_values.append(np.delete(10 ** log10_e(reading, public.codebook, TABLE), coalition).mean())
    assert np.mean(e_values) > 10


def test_an_independent_suspect_is_bet_on_fairly_by_signed_words():
    # Random: all 2**7 words that the signs can make, each once; the mean of e is then exactly 1.
    public = public_claim(code="bibd7")
    every = ((np.arange(128)[:, None] >> np.arange(7)) & 1).astype(np.uint8)
    reading = SCHEME.read(public, answers(public, REFERENCE))
    assert np.mean(10 ** log10_e(reading, public.codebook, every)) == pytest.approx(1, abs=1e-9)


def test_a_copy_under_another_key_is_not_ours():
    other = KEY.derive("another owner")
    weights = marked(public_claim(other), other, "owner")
    assert weighed(public_claim(), answers(public_claim(), weights), ["owner"])[0] < 2


# --- could not look, cannot mark ------------------------------------------------------------------------------------


def test_an_unanswered_probe_supports_nothing():
    public = public_claim()
    refusal = Unanswered("no such tensor")
    reading = SCHEME.read(public, [refusal])
    assert (reading.coverage, reading.unread) == (0.0, ("no such tensor",))
    assert not reading.log_scores.any()
    assert paper_decode(public, [refusal], np.ones(31)) is refusal


@pytest.mark.parametrize("junk", [np.nan, np.inf, 0.0])
def test_junk_answers_give_finite_scores_and_no_evidence(junk):
    public = public_claim()
    reading = SCHEME.read(public, [Answered(np.full(31, junk))])
    assert np.isfinite(reading.log_scores).all()
    assert weighed(public, [Answered(np.full(31, junk))], ["owner"])[0] == pytest.approx(0, abs=1e-9)


def test_the_carrier_with_the_most_averaged_weights_is_chosen_unless_one_is_named():
    assert public_claim().key.segments[0].carrier == "middle"
    assert public_claim(carrier="last", code="uniform").key.positions == 128
    with pytest.raises(CapacityError, match="'first' has 27 weights after averaging, 31 are needed"):
        public_claim(carrier="first")
    with pytest.raises(CapacityError, match="carrier 'recurrent' is not a writable Conv"):
        public_claim(carrier="recurrent")
    with pytest.raises(CapacityError, match="there is not a writable"):
        SCHEME.keygen(ModelProfile("00", ()), {}, SCHEME.options({}), KEY)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"colour": 1}, "takes no option 'colour'"),
        ({"role": "thief"}, "a role is one of"),
        ({"scale": "inch"}, "a scale one of"),
        ({"strength": 0}, "strength and tau"),
        ({"tau": 1.5}, "strength and tau"),
    ],
)
def test_options_that_do_not_exist_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        SCHEME.options(options)


def test_the_code_fixes_the_number_of_positions():
    with pytest.raises(UsageError, match="bibd31 has exactly 31 positions, not 32"):
        public_claim(positions=32)


def test_words_without_columns_are_not_for_the_published_decoder():
    public = public_claim(code="uniform", positions=31)
    with pytest.raises(UsageError, match="words of 'uniform' go by e-value"):
        paper_decode(public, [Answered(np.zeros(31))], np.ones(31))
