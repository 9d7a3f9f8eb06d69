"""Who holds which copy: an append-only record whose rows are chained by the owner's key.

Open `ledger.py` first. Importing this room costs nothing; SQLAlchemy loads when a ledger is created or opened.
"""

from onnxfp.ledger.entries import CommitmentEntry, DrawnEntry, IssueEntry, ReferenceEntry
from onnxfp.ledger.holders import KeyEntry, KeyRequest
from onnxfp.ledger.ledger import Ledger
from onnxfp.ledger.opening import create_ledger, open_ledger

__all__ = [
    "CommitmentEntry",
    "DrawnEntry",
    "IssueEntry",
    "KeyEntry",
    "KeyRequest",
    "Ledger",
    "ReferenceEntry",
    "create_ledger",
    "open_ledger",
]
