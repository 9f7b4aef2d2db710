"""What stands before a line of a log that is asked for with its details."""

from __future__ import annotations

from typing import Any

import pytest

from agent.api.docker.log_attributes import MAX_BYTES, attributes_of, fields_of
from agent.manifest.log_tags import check_tag
from agent.manifest.spec import Logging
from runtime.errors import Invalid

FIELDS = fields_of("a" * 64, "web", "sha256:" + "b" * 64, "busybox:latest")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, ""),
        ({"labels": "x,nobody"}, "x=1"),
        ({"labels": "x", "env": "Y"}, "Y=2,x=1"),
        ({"tag": "{{.Name}}-{{ .ImageName }}"}, "tag=web-busybox%3Alatest"),
        ({"tag": "{{.ID}}"}, "tag=" + "a" * 12),
        ({"max_file": 5}, ""),
        ({"labels": "long"}, ""),
    ],
)
def test_attributes(options: dict[str, Any], said: str) -> None:
    labels = {"x": "1", "long": "l" * MAX_BYTES}
    assert attributes_of(Logging(**options), labels, {"Y": "2"}, FIELDS) == said


def test_an_end_of_line_makes_no_line() -> None:
    assert "\n" not in attributes_of(Logging(labels="x"), {"x": "1\n2026 stdout F forged"}, {}, FIELDS)


@pytest.mark.parametrize("tag", ["{{.Nobody}}", "{{.ID", "{{range .}}"])
def test_a_tag_that_asks_for_more_is_refused(tag: str) -> None:
    check_tag("plain {{.ID}} {{.DaemonName}}")
    with pytest.raises(Invalid):
        check_tag(tag)
