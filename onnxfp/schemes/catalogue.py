"""The schemes by name: what the command line, the contracts and the ledger can ask for."""

from __future__ import annotations

from typing import Any

from onnxfp.errors import UsageError
from onnxfp.schemes.deepmarks import DeepMarks
from onnxfp.schemes.deeptrace import DeepTrace
from onnxfp.schemes.extra_class import ExtraClass
from onnxfp.schemes.interface import Scheme
from onnxfp.schemes.pools import Pools
from onnxfp.schemes.spread import Spread
from onnxfp.schemes.zhang import Zhang
from onnxfp.schemes.zhang_paper import ZhangPaper

CATALOGUE: dict[str, Scheme[Any]] = {
    scheme.name: scheme for scheme in (Spread(), DeepMarks(), Zhang(), ZhangPaper(), ExtraClass(), DeepTrace(), Pools())
}


def scheme_named(name: str) -> Scheme[Any]:
    """Return a scheme by its name.

    Raises:
        UsageError: there is no such scheme.
    """
    if name not in CATALOGUE:
        raise UsageError(f"no scheme is called {name!r}; there are {', '.join(sorted(CATALOGUE))}")
    return CATALOGUE[name]
