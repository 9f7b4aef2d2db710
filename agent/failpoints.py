"""The agent's fail points: those of `runtime.failpoints`, and the database's. For tests only.

Called at an agent's start when the variable is set, before anything else is imported.
"""

from __future__ import annotations

from runtime import failpoints


def install() -> None:
    """Wrap every step of this process."""
    failpoints.install("agent")
    from sqlalchemy.engine.default import DefaultDialect

    for name in ("do_commit", "do_execute", "do_executemany", "do_execute_no_params"):
        failpoints.wrap(DefaultDialect, name, name)
