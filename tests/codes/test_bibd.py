"""Block designs: difference sets, the AND of few words tells whose they were, signs make each word uniform."""

from itertools import combinations

import numpy as np
import pytest

from onnxfp.codes.bibd import BIBD7, BIBD13, BIBD21, BIBD31, and_coalition, covering
from onnxfp.codes.catalogue import code_named
from onnxfp.codes.columns import unsigned
from onnxfp.errors import UsageError
from onnxfp.keys.keystream import Keystream

DESIGNS = (BIBD7, BIBD13, BIBD21, BIBD31)
KEY = Keystream(bytes(range(32)))


def masks(code):
    return np.array([int("".join(map(str, word)), 2) for word in code.table()], dtype=np.int64)


def subsets(count, size):
    return np.fromiter((j for subset in combinations(range(count), size) for j in subset), dtype=np.int64).reshape(
        -1, size
    )


def share_that_covers_an_innocent(code, coalitions):
    """(coalitions, K) columns -> share in which the AND is covered by the word of somebody outside."""
    words = masks(code)
    common = np.bitwise_and.reduce(words[coalitions], axis=1)
    covered = sum((common & ~word == 0).astype(np.int64) for word in words)
    return float(np.mean(covered > coalitions.shape[1]))


@pytest.mark.parametrize("code", DESIGNS, ids=lambda code: code.name)
def test_every_difference_but_zero_occurs_exactly_once(code):
    differences = sorted((a - b) % code.points for a in code.block for b in code.block if a != b)
    assert differences == list(range(1, code.points))


@pytest.mark.parametrize("code", DESIGNS, ids=lambda code: code.name)
def test_any_two_blocks_meet_in_exactly_one_point(code):
    blocks = 1 - code.table().astype(np.int64)
    meetings = blocks @ blocks.T
    assert (np.diag(meetings) == len(code.block)).all()
    assert (meetings[~np.eye(code.points, dtype=bool)] == 1).all()


@pytest.mark.parametrize(("code", "number"), [(BIBD7, 28), (BIBD13, 377), (BIBD21, 7546), (BIBD31, 206367)], ids=str)
def test_the_and_of_every_subset_within_the_capacity_is_its_own(code, number):
    words = masks(code)
    ands = [np.bitwise_and.reduce(words[subsets(code.points, size)], axis=1) for size in range(1, code.colluders + 1)]
    everything = np.concatenate(ands)
    assert len(everything) == number
    assert len(np.unique(everything)) == number


@pytest.mark.parametrize(("size", "expected"), [(5, 0.0), (6, 0.449), (7, 0.849)])
def test_coalitions_past_the_capacity_cover_innocents(size, expected):
    # Random: the coalition, uniform among all of its size. Exact up to 6, Monte Carlo with a standard error below
    # 0.002 for 7.
    if size < 7:
        coalitions = subsets(31, size)
    else:
        generator = np.random.default_rng(7)
        coalitions = np.argsort(generator.random((50_000, 31)), axis=1)[:, :size]
    assert share_that_covers_an_innocent(BIBD31, coalitions) == pytest.approx(expected, abs=0.01)


def test_the_decoder_finds_every_small_coalition_and_nothing_else():
    table = BIBD13.table()
    for size in (1, 2, 3):
        for coalition in combinations(range(13), size):
            assert and_coalition(table, np.bitwise_and.reduce(table[list(coalition)]), 3) == coalition
    impossible = np.zeros(13, dtype=np.uint8)
    impossible[0] = 1
    assert and_coalition(table, impossible, 3) is None
    assert not covering(table, np.ones(13, dtype=np.uint8)).any()


def test_a_column_depends_on_the_name_alone_and_every_column_is_used():
    names = [f"recipient {index}" for index in range(400)]
    columns = [BIBD31.column(KEY, name) for name in names]
    assert [BIBD31.column(KEY, name) for name in reversed(names)] == columns[::-1]
    assert set(columns) == set(range(31))
    assert columns != [BIBD31.column(KEY.derive("other"), name) for name in names]


def test_words_are_the_signed_columns_and_signs_come_off_again():
    codebook = BIBD31.codebook(KEY, 31)
    words = BIBD31.words(KEY, codebook, ["Acme Corp", "Beta GmbH"])
    bare = unsigned(2.0 * words - 1.0, BIBD31.signs(KEY, 31))
    for name, word in zip(["Acme Corp", "Beta GmbH"], bare, strict=True):
        assert ((word > 0) == BIBD31.table()[BIBD31.column(KEY, name)]).all()
    assert (codebook.prior == 0.5).all()
    assert not BIBD31.independent


def test_each_symbol_of_a_word_is_fair_over_the_keys():
    # Random: the key. 2000 keys, every position's frequency of symbol 1 within 4.5 standard errors of one half.
    codebook = BIBD7.codebook(KEY, 7)
    words = np.concatenate([BIBD7.words(KEY.derive(str(index)), codebook, ["Acme Corp"]) for index in range(2000)])
    assert np.abs(words.mean(axis=0) - 0.5).max() < 4.5 * 0.5 / np.sqrt(2000)
    assert len(np.unique(words @ (1 << np.arange(7)))) == 128


def test_another_number_of_positions_is_refused():
    with pytest.raises(UsageError, match="bibd31 has exactly 31 positions, not 8192"):
        code_named("bibd31").codebook(KEY, 8192)


def test_a_taken_column_is_refused_by_the_names_of_both():
    code = code_named("bibd31")
    names = [f"recipient {number}" for number in range(64)]
    columns = [code.column(KEY, name) for name in names]
    twin = next(number for number, column in enumerate(columns) if column in columns[:number])
    first = columns.index(columns[twin])
    code.refuse_shared_word(KEY, names[first], names[:first])
    code.refuse_shared_word(KEY, names[first], names[: first + 1])  # its own column
    with pytest.raises(UsageError, match=f"gives '{names[twin]}' the word that '{names[first]}' has already"):
        code.refuse_shared_word(KEY, names[twin], names[: first + 1])
