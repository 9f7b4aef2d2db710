"""F3, CVE-2024-41110, CVE-2026-34040: who decides sees other bytes than who acts. Here both see one parsed
object; what could be read in two ways is refused."""

from __future__ import annotations

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.api.docker.bodies import MAX_DEPTH, read_json
from runtime.errors import Invalid
from tests.threats.raw_http import request, send
from tests.unit.api.agents import Agent

PLAN = "/setpoint/v1/plan"
EMPTY = b'{"files": {}}'
EMPTY16 = EMPTY.decode().encode("utf-16-le")


def chunked(body: bytes, **headers: str) -> bytes:
    head = request(
        "POST", PLAN, {"Transfer-Encoding": "chunked", "Content-Type": "application/json", **headers}
    )
    return head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


CASES = {
    "as it should be": (request("POST", PLAN, body=EMPTY), 200),
    "in chunks": (chunked(EMPTY), 200),
    "5 MiB": (request("POST", PLAN, body=EMPTY + b" " * (5 << 20)), 413),
    "5 MiB in chunks": (chunked(EMPTY + b" " * (5 << 20)), 413),
    "a length that lies": (request("POST", PLAN, {"Content-Length": str(5 << 20)}, EMPTY), 413),
    "a key twice": (request("POST", PLAN, body=b'{"files": {}, "files": {"a": "b"}}'), 400),
    "a key twice, escaped": (request("POST", PLAN, body=b'{"files": {}, "file\\u0073": {"a": "b"}}'), 400),
    "a key twice, deeper": (request("POST", PLAN, body=b'{"files": {"a": "", "a": ""}}'), 400),
    "UTF-16": (request("POST", PLAN, body='{"files": {}}'.encode("utf-16")), 400),
    "UTF-16 by name": (
        request("POST", PLAN, {"Content-Type": "application/json; charset=utf-16"}, EMPTY16), 400,
    ),
    "UTF-32": (request("POST", PLAN, body='{"files": {}}'.encode("utf-32-be")), 400),
    "a mark of the byte order": (request("POST", PLAN, body=b"\xef\xbb\xbf" + EMPTY), 400),
    "UTF-7": (request("POST", PLAN, {"Content-Type": "application/json; charset=utf-7"}, b"+AHsAfQ-"), 400),
    "gzip": (request("POST", PLAN, {"Content-Encoding": "gzip"}, gzip.compress(EMPTY)), 415),
    "deflate": (request("POST", PLAN, {"Content-Encoding": "deflate"}, EMPTY), 415),
    "gzip without a word": (request("POST", PLAN, body=gzip.compress(EMPTY)), 400),
    "two objects": (request("POST", PLAN, body=EMPTY + EMPTY), 400),
    "a list": (request("POST", PLAN, body=b"[]"), 400),
    "half of a pair of surrogates": (request("POST", PLAN, body=b'{"files": {"a": "\\ud800"}}'), 400),
    "the other half, in a key": (request("POST", PLAN, body=b'{"files": {"\\udfff": "a"}}'), 400),
    "a whole pair": (request("POST", PLAN, body=b'{"files": {"\\ud83d\\ude00": ""}}'), 200),
    "NaN": (request("POST", PLAN, body=b'{"files": NaN}'), 400),
    "more than any number": (request("POST", PLAN, body=b'{"files": 1e999}'), 400),
    "a body of a GET": (request("GET", "/setpoint/v1/status", {"Content-Type": "text/plain"}, b"x"), 415),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_f3_a_body_is_read_in_one_way_or_not_at_all(agent: Agent, name: str) -> None:
    sent, status = CASES[name]
    assert send(agent.settings.layout.agent_socket, sent)[0] == status


NESTED = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=30,
)


@given(st.dictionaries(st.text(), NESTED))
def test_f3_what_is_plain_json_is_read_as_json(data: dict[str, object]) -> None:
    assert read_json(json.dumps(data).encode()) == data
    assert read_json(json.dumps(data, ensure_ascii=False).encode("utf-8", "surrogatepass")) == data or any(
        0xD800 <= ord(c) <= 0xDFFF for c in json.dumps(data, ensure_ascii=False)
    )


def deep(levels: int) -> bytes:
    return b'{"a":' * levels + b"1" + b"}" * levels


def test_f3_the_depth_is_exact_and_strings_do_not_count() -> None:
    assert read_json(deep(MAX_DEPTH))
    with pytest.raises(Invalid, match="deeper"):
        read_json(deep(MAX_DEPTH + 1))
    assert read_json(b'{"a": "' + b"[{" * 1000 + b'\\"' + b"[" * 1000 + b'"}')
    with pytest.raises(Invalid, match="deeper"):
        read_json(b'{"x\\\\": ' + b"[" * 100_000)


@pytest.mark.parametrize(
    "text", ['"\\ud800"', '"\\uDFFF"', '"\\ude00\\ud83d"', '{"\\ud800": 1}', '["\\\\\\ud800"]']
)
def test_f3_half_of_a_pair_of_surrogates_is_no_text(text: str) -> None:
    """No file, argument or environment holds it: it would be found out at the start of what was made."""
    with pytest.raises(Invalid, match="half of a surrogate pair"):
        read_json(f'{{"a": {text}}}'.encode())
    assert read_json(b'{"a": "\\ud83d\\ude00", "b": "\\\\ud800"}') == {"a": "\U0001f600", "b": "\\ud800"}
