"""Whose ONNX model is this, and who let it out?

The rooms follow one sentence: *a claim turns into probes; a suspect answers them; the answers become a reading; the
reading is weighed; the weight is a verdict.* ``domain`` holds the nouns, ``workflows`` what a person does, and
``docs/architecture.md`` says who may import whom.
"""

from __future__ import annotations

import os

__version__ = "0.1.0"

# onnxruntime sends telemetry unless told otherwise before its first import; a tool for confidential models must not.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
