"""`agent.small_json` beside the package that it stands in for."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import small_json

ROOT = Path(__file__).resolve().parents[2]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES)
def test_it_reads_and_writes_what_json_does(value: Any) -> None:
    text = small_json.dumps(value)
    assert text == json.dumps(value)
    assert small_json.loads(text) == small_json.loads(text.encode()) == value
    assert small_json.loads(f" \r\n\t{json.dumps(value, indent=2, ensure_ascii=False)}\n ") == value


@given(st.text(alphabet='{}[]",:0123456789.eE+-\\nulltrefasNI \x00é', max_size=40))
def test_it_takes_no_text_for_json_that_is_none(text: str) -> None:
    try:
        wanted = json.loads(text)
    except ValueError:
        with pytest.raises(ValueError):
            small_json.loads(text)
    else:
        assert repr(small_json.loads(text)) == repr(wanted)


@pytest.mark.parametrize(
    "content", [b"", b" ", b"\xff", b'{"a": 1} x', b'"\x01"', b"[1,]", b'{"a":}', b"nul"]
)
def test_what_is_no_json_is_a_value_error(content: bytes) -> None:
    with pytest.raises(ValueError):
        small_json.loads(content)


def test_the_numbers_that_are_none() -> None:
    assert math.isnan(small_json.loads("NaN"))
    assert small_json.loads("[Infinity, -Infinity]") == [math.inf, -math.inf]


def test_it_imports_next_to_nothing() -> None:
    code = f"import sys; sys.path.append({str(ROOT)!r}); import agent.small_json; print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-IS", "-c", code], capture_output=True, text=True, check=True)
    assert not {"'json'", "'re'", "'enum'"} & set(done.stdout.strip("[]\n").split(", "))
