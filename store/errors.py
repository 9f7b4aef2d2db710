"""The store's own errors, named for what the caller should do.

    StoreError
    ├── TooNew       a newer Setpoint wrote this database: use that one, or move the file aside
    ├── Damaged      not a database, or pages of it are broken: quarantine it, start afresh
    └── Unavailable  full disk, I/O error, locked: nothing was written; try again later

The store knows nothing of `runtime.errors`; the agent turns these into its own where it must.
"""

from __future__ import annotations


class StoreError(Exception):
    """op: what was being done; path: to which database; reason and hint as a person reads them."""

    def __init__(self, op: str, path: str, reason: str, hint: str = "") -> None:
        super().__init__(op, path, reason, hint)
        self.op = op
        self.path = path
        self.reason = reason
        self.hint = hint

    def __str__(self) -> str:
        text = f"{self.op} {self.path}: {self.reason}"
        return f"{text} (hint: {self.hint})" if self.hint else text


class TooNew(StoreError):
    """The schema is of a later version of Setpoint."""


class Damaged(StoreError):
    """The file is not a sound database."""


class Unavailable(StoreError):
    """The database cannot be read or written now. The transaction was rolled back."""
