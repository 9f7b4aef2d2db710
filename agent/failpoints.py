"""The agent's fail points: those of `runtime.failpoints`, the database's, and the Docker API's answers, when
what was asked for is done and its client has not heard of it. For tests only.

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

    from agent.api.docker import answers

    for name in ("json_answer", "no_content"):
        failpoints.wrap(answers, name, "answer")
