"""The error tree: one root, and every branch says whose doing it was.

    OnnxfpError
    ├── UsageError         the caller asked for something that cannot be done
    │   ├── CapacityError  the model cannot carry as much as was asked
    │   └── FidelityError  the change would exceed the fidelity budget
    ├── ArtifactError      a model file is not what it claims to be
    │   └── UnsafePath     external data points somewhere it must not
    └── VaultError         the owner's own record is missing, unreadable or damaged
        ├── KeyFileError   the owner key cannot be used
        └── TamperedError  the ledger's hash chain does not close

A message is one line: what was expected, what was found, what to do. Programming mistakes raise the built-in
exceptions instead, so that a defect never reads like an adversary's deed.
"""

from __future__ import annotations


class OnnxfpError(Exception):
    """Root of every error that this library raises on purpose."""


class UsageError(OnnxfpError):
    """The caller asked for something that cannot be done."""


class CapacityError(UsageError):
    """The model cannot carry as many positions as was asked."""


class FidelityError(UsageError):
    """The change would exceed the fidelity budget."""


class ArtifactError(OnnxfpError):
    """A model file is not what it claims to be."""


class UnsafePath(ArtifactError):
    """External data points somewhere that must not be read."""


class VaultError(OnnxfpError):
    """The owner's own record is missing, unreadable or damaged."""


class KeyFileError(VaultError):
    """The owner key cannot be used."""


class TamperedError(VaultError):
    """The ledger's hash chain does not close."""
