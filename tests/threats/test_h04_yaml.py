"""H4, CVE-2019-11253: a small file whose aliases stand for more than can be held."""

from __future__ import annotations

import time

import pytest

from agent.manifest.objects import Revision
from agent.manifest.reader import read
from tests.bounds import BROKEN_SECONDS

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, 9)
)


@pytest.mark.parametrize("where", ["x-own: *a8", "services: {web: {image: x, labels: *a8}}", "services: *a8"])
def test_h4_aliases_count_as_what_they_stand_for(where: str) -> None:
    text = "".join(f"x-{line}\n" for line in BOMB.splitlines()) + where
    begun = time.process_time()
    manifest = read(Revision("r", "s", {"compose.yaml": text.encode()}))
    assert time.process_time() - begun < BROKEN_SECONDS
    assert ["aliases expand" in str(error) for error in manifest.errors] == [True]
    assert manifest.objects == {}
