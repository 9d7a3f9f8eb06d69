"""Orthogonal words: at right angles to each other, uniform one by one."""

import numpy as np
import pytest

from onnxfp.codes.orthogonal import Orthogonal
from onnxfp.errors import UsageError
from onnxfp.keys.keystream import Keystream

KEY = Keystream(bytes(range(32)))


def test_any_two_words_are_at_right_angles():
    table = 2 * Orthogonal().table().astype(np.int64) - 1
    assert (table @ table.T == 32 * np.eye(32)).all()


def test_words_are_the_signed_columns():
    code = Orthogonal()
    codebook = code.codebook(KEY, 32)
    word = 2.0 * code.words(KEY, codebook, ["Acme Corp"])[0] - 1.0
    assert ((word * code.signs(KEY, 32) > 0) == code.table()[code.column(KEY, "Acme Corp")]).all()
    assert (codebook.prior == 0.5).all()
    assert not code.independent


def test_another_number_of_positions_is_refused():
    with pytest.raises(UsageError, match="orthogonal has exactly 32 positions, not 31"):
        Orthogonal().codebook(KEY, 31)
