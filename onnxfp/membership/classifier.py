"""The one kind of classifier that is fitted here: logistic regression on features of one scale."""

from __future__ import annotations

from typing import Any

from onnxfp.errors import UsageError


def classifier(**settings: float) -> Any:
    """Return a logistic regression that was not fitted yet.

    Raises:
        UsageError: scikit-learn is missing.
    """
    try:
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    except ImportError as problem:
        raise UsageError("pools need scikit-learn; install `onnxfp[pools]`") from problem
    return make_pipeline(StandardScaler(), LogisticRegression(**settings))
