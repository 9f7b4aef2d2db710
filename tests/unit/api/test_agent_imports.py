"""What the agent's process has in memory: not what only its workers or few of its users need."""

from __future__ import annotations

import subprocess
import sys

LATE = ("cryptography", "urllib3", "h2", "alembic", "rich")


def test_what_few_need_is_imported_when_it_is_needed() -> None:
    code = f"import sys, agent.daemon; print([name for name in {LATE!r} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
