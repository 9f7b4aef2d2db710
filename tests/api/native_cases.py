"""Requests to our own API, made up from its document, and their answers compared with it: by schemathesis
what is plain JSON, here what that has no word for: lines, frames, connections that are taken over.
"""

from __future__ import annotations

import base64
import copy
import json
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jsonschema
import requests
import schemathesis
from docker.transport import UnixHTTPAdapter
from hypothesis import strategies as st
from schemathesis.checks import load_all_checks
from schemathesis.core.result import Ok
from schemathesis.core.transport import Response
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from agent.api.native_routes import ROUTES
from agent.api.openapi.document import document_of
from runtime.errors import Invalid
from runtime.images.reference import parse_reference

load_all_checks()
FRAME = struct.Struct("!BxxxI")
SILENCE_SECONDS = 0.3  # of a stream that goes on: it may have nothing to say
OPEN = "BuildEvent"  # the one shape with fields that it does not name
ANY_REGISTRY = {"/image/pull", "/image/push", "/image/tags", "/image/inspect"}


def closed(schema: Any) -> Any:
    """The same, and no field that is not in it: what is answered and not described is a fault."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    whole = {name: each if name == OPEN else closed(each) for name, each in schema.items()}
    if whole.get("type") == "object" and isinstance(whole.get("properties"), dict):
        whole.setdefault("additionalProperties", False)
    return whole


DOCUMENT: dict[str, Any] = closed(document_of(ROUTES, "test"))
SCHEMA = schemathesis.openapi.from_dict(copy.deepcopy(DOCUMENT))
OPERATIONS = {each.ok().label: each.ok() for each in SCHEMA.get_all_operations() if isinstance(each, Ok)}


@dataclass(slots=True)
class World:
    """One agent, and what is there. seen: operation -> the statuses that it has answered with."""

    socket: Path
    folder: Path
    registry: str
    known: dict[str, tuple[str, ...]]
    seen: dict[str, set[int]] = field(default_factory=dict)
    session: requests.Session = field(default_factory=requests.Session)

    def __post_init__(self) -> None:
        self.session.mount("http://", UnixHTTPAdapter(f"http+unix://{self.socket}", timeout=60))

    # --- asking

    def ask(self, case: Any, *, is_negative: bool) -> None:
        """Send it, and fail for an answer that is not as the document says."""
        words = case.as_transport_kwargs(base_url="http://localhost")
        words.pop("timeout", None)
        with self.session.request(**words, stream=True, timeout=60) as answer:
            self.seen.setdefault(case.operation.label, set()).add(answer.status_code)
            kind = answer.headers.get("Content-Type", "")
            content = b""
            if answer.status_code == 101:
                assert answer.headers["Upgrade"] == "setpoint"
            elif "ndjson" in kind:
                self._check_lines(case, answer)
            elif "octet-stream" in kind:
                self._check_frame(case, answer)
            else:
                content = answer.content
                assert json.loads(content) is not None or content == b"null"
            self._check(case, answer, content, is_negative=is_negative)

    def _check(self, case: Any, answer: requests.Response, content: bytes, *, is_negative: bool) -> None:
        headers = {name.lower(): [value] for name, value in answer.headers.items()}
        given = Response(answer.status_code, headers, content, answer.request, 0.0, False)
        checks = [status_code_conformance]
        if answer.status_code != 101:
            checks.append(content_type_conformance)
        if content:
            checks.append(response_schema_conformance)
        if is_negative:
            checks.append(negative_data_rejection)
        assert answer.status_code != 500, content
        case.validate_response(given, checks=checks)
        if not is_negative and answer.status_code == 400 and content:
            _check_was_allowed(case, json.loads(content)["error"])

    def _check_lines(self, case: Any, answer: requests.Response) -> None:
        schema = _content(case, "application/x-ndjson")["x-line"]
        for line in _patiently(answer, answer.iter_lines()):
            value = json.loads(line)
            assert not (set(value) == {"error"} and value["error"]["kind"] == "Bug"), value
            jsonschema.validate(value, {**schema, "components": DOCUMENT["components"]})

    def _check_frame(self, case: Any, answer: requests.Response) -> None:
        assert _content(case, "application/octet-stream")["x-frames"]
        for head in _patiently(answer, answer.iter_content(FRAME.size)):
            stream, length = FRAME.unpack(head)
            assert stream in (1, 2, 5)
            assert length <= 16 << 20
            return

    def refusal(self, method: str, path: str, query: Any) -> dict[str, Any]:
        """What is said to a request that must be refused with 400."""
        path = path.replace("{key}", "lab%2Fweb").replace("{id}", "0000")
        json_body: dict[str, Any] | None = {} if method == "post" else None
        answer = self.session.request(
            method, f"http://localhost{path}", params=query, json=json_body, timeout=60
        )
        assert answer.status_code == 400, (method, path, query, answer.content[:300])
        return dict(answer.json()["error"])

    # --- what is asked

    def narrowed(self, case: Any, data: st.DataObject) -> Any:
        """The same, with names of what is there now and then, and kept from other hosts and from this one's
        files: an agent of root's does what it is asked."""
        for given in (case.path_parameters, case.query, case.body if isinstance(case.body, dict) else None):
            if isinstance(given, dict):
                self._put_known(given, data)
        path = case.operation.path.removeprefix("/setpoint/v1")
        self._stay_here(path, case.query if isinstance(case.query, dict) else {})
        if isinstance(case.body, dict) and isinstance(case.body.get("path"), str) and "volume" in path:
            case.body["path"] = str(self.folder / "tree")
        if path.startswith("/adopt/") and isinstance(case.body, dict):
            case.path_parameters["key"] = data.draw(st.sampled_from(["mine", "lab/web"]))
            case.body = data.draw(st.sampled_from([case.body, {"path": "lab/mine.compose.yaml"}]))
        if path.startswith("/exec/") and isinstance(case.body, dict):
            case.body["argv"] = data.draw(st.sampled_from([["echo", "a"], ["no such program"], []]))
        if path == "/image/build":
            case.body = data.draw(st.sampled_from(ORDERS) | st.binary(max_size=50))
        elif "octet-stream" in str(case.media_type):
            archive = self.folder / ("image.tar" if path == "/image/load" else "rootfs.tar")
            case.body = data.draw(st.sampled_from([archive.read_bytes(), b"", b"no tar"]))
        return case

    def _put_known(self, given: dict[str, Any], data: st.DataObject) -> None:
        for name in sorted(given.keys() & self.known.keys()):
            if isinstance(given[name], str) and data.draw(st.sampled_from([True, True, False])):
                given[name] = data.draw(st.sampled_from(self.known[name]))

    def _stay_here(self, path: str, query: dict[str, Any]) -> None:
        if path in ANY_REGISTRY and isinstance(query.get("reference"), str):
            query["reference"] = self._of_our_registry(query["reference"])
        if path == "/image/search":
            query["registry"] = self.registry
        if isinstance(query.get("path"), str):
            query["path"] = str(self.folder / "image.tar" if len(query["path"]) % 2 else self.folder)
        if path in ("/wait", "/sync") and _is_number(query.get("timeout")):
            query["timeout"] = min(float(query["timeout"]), 0.05)  # or it would take that long
        if path in ("/wait", "/sync"):
            query.setdefault("timeout", 0.05)
        if path == "/events" and str(query.get("follow")) in ("1", "true", "yes"):
            query["until"] = time.time() + 0.05

    def _of_our_registry(self, text: str) -> str:
        """What has a name elsewhere is a name here; what is no name stays so."""
        try:
            parse_reference(text)
        except Invalid:
            return text
        return text if text.startswith(self.registry) else f"{self.registry}/{text.rpartition('/')[2]}"


ORDERS = [
    json.dumps({"context_kind": "none", "dockerfile_text": text, **more}).encode() + b"\n"
    for text, more in (
        ("FROM scratch\nLABEL a=b\n", {"tags": ["lab/built:1"]}),
        ("FROM busybox\nENV a=b\n", {}),
        ("FROM\n", {}),
        ("FROM scratch\n", {"network": "moon"}),
    )
]
MANIFEST = base64.b64encode(b"services: {more: {image: busybox, command: sleep 1}}\n").decode()


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _content(case: Any, kind: str) -> Mapping[str, Any]:
    path, method = case.operation.path, case.operation.method.lower()
    return dict(DOCUMENT["paths"][path][method]["responses"]["200"]["content"][kind])


def _patiently(answer: requests.Response, pieces: Any) -> Any:
    """The pieces, until it ends or says nothing for a moment."""
    connection = answer.raw._connection or answer.raw.connection
    if connection is not None and connection.sock is not None:
        connection.sock.settimeout(60 if "follow" not in str(answer.request.url) else SILENCE_SECONDS)
    try:
        yield from (piece for piece in pieces if piece)
    except requests.exceptions.ConnectionError as error:
        assert "timed out" in str(error), error


def _check_was_allowed(case: Any, error: Mapping[str, Any]) -> None:
    """What the document allows a number or a choice to be is not refused for what it is."""
    path, method = case.operation.path, case.operation.method.lower()
    words = {word["name"]: word["schema"] for word in DOCUMENT["paths"][path][method]["parameters"]}
    schema = words.get(error["subject"], {}) if error["op"] == "read request" else {}
    assert not ("enum" in schema or schema.get("type") in ("number", "integer")), error
