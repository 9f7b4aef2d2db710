"""How much time what has a bound may take in a test.

No test fails because the machine is busy: what is bounded takes a small part of this, and what has lost its
bound many times as much, or never ends.
"""

from __future__ import annotations

BROKEN_SECONDS = 10.0
