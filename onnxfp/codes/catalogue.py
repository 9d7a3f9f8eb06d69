"""The codes by name."""

from __future__ import annotations

from onnxfp.codes.bibd import BIBD7, BIBD13, BIBD21, BIBD31, Bibd
from onnxfp.codes.interface import Code
from onnxfp.codes.orthogonal import Orthogonal
from onnxfp.codes.tardos import Tardos
from onnxfp.codes.uniform import Uniform
from onnxfp.errors import UsageError

COLUMN_CODES: dict[str, Bibd | Orthogonal] = {code.name: code for code in (BIBD7, BIBD13, BIBD21, BIBD31, Orthogonal())}
CATALOGUE: dict[str, Code] = {"uniform": Uniform(), "tardos": Tardos(), **COLUMN_CODES}


def code_named(name: str) -> Code:
    """Return a code by its name.

    Raises:
        UsageError: there is no such code.
    """
    if name not in CATALOGUE:
        raise UsageError(f"no code is called {name!r}; there are {', '.join(sorted(CATALOGUE))}")
    return CATALOGUE[name]
