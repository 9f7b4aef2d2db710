"""What the program makes in an instance's directories has a name that the checker knows: or `doctor --leaks`
would call it lost."""

from __future__ import annotations

import re
from pathlib import Path

from agent.checker import names

ROOT = Path(__file__).parents[3]
MADE = re.compile(r'\b(data|run) / "([^"]+)"')


def made() -> set[tuple[str, str]]:
    """("data" or "run", name), as the sources have them."""
    sources = [path for room in ("agent", "runtime", "store") for path in (ROOT / room).rglob("*.py")]
    return {(found[1], found[2]) for path in sources for found in MADE.finditer(path.read_text())}


def test_what_is_made_is_known() -> None:
    found = made()
    assert {("data", "audit"), ("data", "volumes"), ("run", "sockets"), ("run", "netns")} <= found
    known = {"data": names.DATA, "run": names.RUN}
    assert [(where, name) for where, name in sorted(found) if not known[where].fullmatch(name)] == []
