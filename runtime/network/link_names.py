"""Which names a person may give a network's bridge. Pure; the manifest's parser and the API ask, too."""

from __future__ import annotations

import re

from runtime.errors import Invalid

# IFNAMSIZ with its zero is 16. A dot would be a slash in the names of sysctls.
_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9_-]{0,14}")
_TAKEN = frozenset(("all", "default", "lo"))  # directories of /proc/sys/net/ipv4/conf, and every host's own


def check_link_name(name: str) -> None:
    """Raises Invalid."""
    if not _NAME.fullmatch(name) or name in _TAKEN:
        raise Invalid(
            "create network", "", f'"{name[:40]}" is no name for a bridge',
            "a letter, then letters, digits, '_' and '-', 15 at most",
        )  # fmt: skip
