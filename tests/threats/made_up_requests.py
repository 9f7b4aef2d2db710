"""Requests that nobody would make: whole ones of every path in the definition of the Docker API and of
Setpoint's own, with words and bodies that are nearly right; and such as are no HTTP.

Asks for nothing that leaves the host, and not for the agent's end.
"""

from __future__ import annotations

import functools
import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_from_bytes

import yaml

from agent.api.native_routes import ROUTES
from agent.api.openapi.document import document_of
from agent.wire import PREFIX
from tests.api.schema import DATA

OBJECTS = ("loud", "ear", "never", "kept", "shop-kept-1", "shop_kept", "f1", "f2", "f3", "none", "0" * 64)
IMAGES = ("127.0.0.1:1/f1", "127.0.0.1:1/x:y", "sha256:" + "0" * 64, "127.0.0.1:1/f3@sha256:" + "a" * 64)
HOSTILE: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63 - 1, -(2**63), 2**64, 10**30, 1e308, -0.5, "", " ", "a" * 300,
    "\0", "\ud800", "é\u202e\n", "%s%n", "../../x", "/", "//", "0-2147483647", "1,,2", "-", "*", "[",
    "]", "{}",
    "a:b:c:d:e", "=", "=a", "a=", ":", "container:", "container:none", "host", "none", "default",
    "service:a",
    "1e9", "0x10", "٣", "-1", "99999999999999999999", "1.5", "NaN", "999999h", "tcp", "80/tcp", "65536/udp",
    "1-65535", "::", "fe80::1%lo", "127.0.0.1", "255.255.255.255/33", "10.213.7.0/24", "busybox", [],
    {}, [[]],
    [None], [""], ["a"], [{}], {"": ""}, {"a": None}, {"a": []}, {"a": {"b": {}}}, ["a"] * 50,
    {"label": ["a"]},
    {"label": {"a": True}}, {"a": "b" * 300},
)  # fmt: skip
TEXTS = tuple(each for each in HOSTILE if isinstance(each, str) and each != "\ud800")
WORDS = (
    b"Host: docker", b"Host: a, b", b"Content-Length: 5", b"Content-Length: +5",
    b"Content-Length: 99999999999",
    b"Transfer-Encoding: chunked", b"Transfer-Encoding: , chunked", b"Upgrade: tcp", b"Upgrade: h2c",
    b"Upgrade: websocket", b"Connection: upgrade", b"Connection: close", b"Expect: 100-continue",
    b"Expect: x",
    b"Content-Type: application/json", b"Content-Type: x; charset=utf-7", b"Content-Encoding: br", b"",
    b"X-Registry-Auth: e30=", b"X-Registry-Config: ////", b"Range: bytes=9-1", b"Sec-WebSocket-Key: a",
    b" a",
    b"Cookie: " + b"a=b;" * 300, b"Origin: http://x", b"If-Match: *", b":", b"a", b"\xff: \xfe", b"X: a\rb",
)  # fmt: skip
METHODS = ("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "CONNECT", "get", "X")
CHUNKS = (
    b"5\r\n{}   \r\n0\r\n\r\n",
    b"5;a=b\r\n{}   \r\n0\r\nA: b\r\n\r\n",
    b"-1\r\n",
    b"fffffffff\r\n",
    b"0\r\n\r\n",
)
# Of what is dear, or changes much, a little is enough.
RARE = frozenset((
    "/commit", "/build", "/images/load", "/images/get", "/images/create", "/images/{name}/get", "/session",
    "/containers/{id}/export", "/containers/{id}/start", "/containers/{id}/stop",
    "/containers/{id}/archive", "/containers/{id}/checkpoints", "/grpc", "/system/df",
    "/images/search", "/distribution/{name}/json", "/images/{name}/push",
    PREFIX + "/system/df", PREFIX + "/system/prune", PREFIX + "/doctor", PREFIX + "/wait",
    PREFIX + "/image/pull", PREFIX + "/image/tags", PREFIX + "/image/check", "/containers/{id}/changes",
))  # fmt: skip
LEFT_OUT = frozenset((  # the agent's end, the host's own files, other hosts; restarts, which git lets be
    "/stop", "/down", "/volume/import", "/image/search", "/auth", "/containers/{id}/restart",
))  # fmt: skip
NO_PART = (
    "/swarm",
    "/nodes",
    "/services",
    "/tasks",
    "/secrets",
    "/configs",
    "/plugins",
)  # one handler for all
USUAL, OFTEN = 20, 100
MAKES = frozenset(("/containers/create", "/containers/{id}/exec", "/networks/create", "/volumes/create"))
ENDLESS = (  # or long
    "/attach", "/events", "/logs", "/stats", "/wait", "/session", "/grpc", "/build", "/ws", "/push",
    "/export",
    "/image/pull", "/image/tags", "/image/check", "/changes", "/archive", "/load",
    "/distribution/{name}/json",
    "/image/inspect", "/commit", "/diff/{key}", "/sync",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Operation:
    """words: of its query. body: its schema, None for one without."""

    method: str
    path: str
    words: tuple[str, ...]
    body: Mapping[str, Any] | None

    @property
    def is_endless(self) -> bool:
        return self.path.endswith(ENDLESS)


@dataclass(frozen=True, slots=True)
class Made:
    """A request. is_whole: an answer is due, after which the connection goes on."""

    method: str
    data: bytes
    is_whole: bool = True


@functools.cache
def operations() -> tuple[Operation, ...]:
    """All that there are, the usual ones several times."""
    found = [*_docker(), *_native()]
    return tuple(each for each in found for _ in range(_weight(each.path)))


def _weight(path: str) -> int:
    if path in RARE or path.startswith(NO_PART):
        return 1
    return OFTEN if path in MAKES else USUAL


def _docker() -> Iterator[Operation]:
    for path, methods in _docker_api()["paths"].items():
        if path in LEFT_OUT:
            continue
        for method, said in methods.items():
            parameters = said.get("parameters", [])
            words = tuple(each["name"] for each in parameters if each["in"] == "query")
            bodies = [each["schema"] for each in parameters if each["in"] == "body"]
            yield Operation(method.upper(), path, words, bodies[0] if bodies else None)


def _native() -> Iterator[Operation]:
    for path, methods in _own_api()["paths"].items():
        for method, said in methods.items():
            if path.removeprefix(PREFIX) in LEFT_OUT:
                continue
            words = tuple(each["name"] for each in said.get("parameters", []) if each["in"] == "query")
            bodies = said.get("requestBody", {}).get("content", {})
            schema = bodies.get("application/json", {}).get("schema")
            yield Operation(method.upper(), path, tuple(word for word in words if word != "path"), schema)


@functools.cache
def _docker_api() -> Mapping[str, Any]:
    return dict(yaml.load(DATA.read_text(), Loader=yaml.CSafeLoader))


@functools.cache
def _own_api() -> Mapping[str, Any]:
    return document_of(ROUTES, "0")


class Maker:
    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)

    def whole(self) -> tuple[Made, bool]:
        """A request, and whether its answer has no end."""
        chance = self._chance
        operation = chance.choice(operations())
        method = operation.method if chance.random() < 0.98 else chance.choice(METHODS[:7])
        target = self._path(operation.path) + self._query(operation)
        headers = b"".join(chance.choice(WORDS[14:20]) + b"\r\n" for _ in range(chance.random() < 0.02))
        body = self._body(operation)
        if body or method in ("POST", "PUT"):
            headers += b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(body)
        data = f"{method} {target} HTTP/1.1\r\nHost: docker\r\n".encode() + headers + b"\r\n" + body
        return Made(method, data), operation.is_endless

    def broken(self) -> Made:
        """One after which nobody knows where the next begins."""
        chance = self._chance
        made = self.whole()[0]
        kind = chance.randrange(5)
        if kind == 0:
            return Made(made.method, made.data[: chance.randrange(1, len(made.data))], is_whole=False)
        if kind == 1:
            return Made(made.method, self._bitten(made.data), is_whole=False)
        if kind == 2:
            return Made("", chance.randbytes(chance.randrange(1, 300)), is_whole=False)
        head = (
            made.data.partition(b"\r\n\r\n")[0]
            if kind == 3
            else f"{chance.choice(METHODS)} / HTTP/1.1".encode()
        )
        words = [chance.choice(WORDS) for _ in range(chance.randrange(1, 6))]
        body = chance.choice((*CHUNKS, b"", b"{}   ", chance.randbytes(40)))
        return Made(made.method, b"\r\n".join([head, *words, b"", b""]) + body, is_whole=False)

    def _bitten(self, data: bytes) -> bytes:
        found = bytearray(data)
        for _ in range(self._chance.randrange(1, 5)):
            at = self._chance.randrange(len(found) + 1)
            found[at : at + self._chance.randrange(3)] = self._chance.randbytes(self._chance.randrange(3))
        return bytes(found) or b"\0"

    # --- what is asked for

    def _path(self, template: str) -> str:
        version = self._chance.choice(("", "", "/v1.52", "/v1.24", "/v1.40", "/v9.9"))
        parts = []
        for part in template.split("/"):
            if part.startswith("{"):
                part = self._named(template, part)
            parts.append(part)
        return ("" if template.startswith(PREFIX) else version) + "/".join(parts)

    def _named(self, template: str, part: str) -> str:
        if template.startswith(("/distribution", "/images/{name}/push")):
            return self._chance.choice(IMAGES)
        name = self._name(IMAGES if template.startswith("/images") else OBJECTS)
        return name if part != "{key}" else f"none/container/{name}"

    def _name(self, usual: tuple[str, ...]) -> str:
        if self._chance.random() < 0.85:
            return self._chance.choice(usual)
        odd = self._chance.choice(TEXTS).encode() or self._chance.randbytes(5)
        return quote_from_bytes(odd, safe="/" if self._chance.random() < 0.5 else "")

    def _query(self, operation: Operation) -> str:
        words = [word for word in operation.words if self._chance.random() < 1.5 / len(operation.words)]
        if operation.path == "/containers/create":
            words = ["name"]
        if "fromImage" in words or operation.path.endswith(("/search", "/images/create", "/build")):
            words = [word for word in words if word not in ("fromImage", "term", "remote", "fromSrc")]
        pairs = [f"{word}={self._word(word)}" for word in words]
        if self._chance.random() < 0.03:
            pairs.append(self._name(OBJECTS))
        return "?" + "&".join(pairs) if pairs else ""

    def _word(self, name: str) -> str:
        chance = self._chance
        if name == "name":
            return self._name(("f1", "f2", "f3", "kept"))
        if name in ("repo", "reference", "names"):
            return chance.choice(IMAGES)
        if name == "filters" and chance.random() < 0.8:
            kinds = (
                "label",
                "name",
                "status",
                "id",
                "until",
                "dangling",
                "before",
                "type",
                "driver",
                "health",
            )
            return quote_from_bytes(_dumped({chance.choice(kinds): chance.choice(HOSTILE)}))
        return quote_from_bytes(str(chance.choice(TEXTS if chance.random() < 0.7 else (0, 1, 10))).encode())

    def _body(self, operation: Operation) -> bytes:
        chance = self._chance
        if operation.body is None:
            return chance.randbytes(20) if chance.random() < 0.02 else b""
        value = self._value(operation.body, 0)
        if operation.path == "/containers/create" and isinstance(value, dict):
            value |= {"Image": "busybox", "Cmd": ["true"]}
        if operation.path == "/volumes/create" and isinstance(value, dict):
            value["Name"] = self._name(("f1", "f2", "kept"))
        data = _dumped(value)
        return data if chance.random() < 0.95 else self._bitten(data)

    def _value(self, schema: Mapping[str, Any], depth: int) -> Any:
        """One that the schema has, or nearly."""
        chance, schema = self._chance, resolved(schema)
        if chance.random() < (0.02, 0.2, 0.3, 0.3)[min(depth, 3)] or depth > 6:
            return chance.choice(HOSTILE)
        if properties := schema.get("properties"):
            share = 3 / len(properties)
            return {
                name: self._value(each, depth + 1)
                for name, each in properties.items()
                if chance.random() < share
            }
        if "example" in schema:
            return schema["example"]
        if "enum" in schema:
            return chance.choice(schema["enum"])
        match schema.get("type"):
            case "array":
                return [self._value(schema["items"], depth + 1) for _ in range(chance.randrange(3))]
            case "object":
                inner = schema.get("additionalProperties")
                inner = inner if isinstance(inner, dict) else {"type": "string"}
                return {
                    chance.choice(TEXTS): self._value(inner, depth + 1) for _ in range(chance.randrange(3))
                }
            case "boolean":
                return chance.random() < 0.5
            case "integer":
                return chance.choice((0, 1, 1000, 1 << 30))
        return chance.choice(("a", *TEXTS))


def _dumped(value: Any) -> bytes:
    return json.dumps(value).encode()


@functools.cache
def _named(name: str) -> Mapping[str, Any]:
    known = _own_api()["components"]["schemas"] | _docker_api()["definitions"]
    return resolved(known[name])


def resolved(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Without references at its top, and what is of several as one."""
    if reference := schema.get("$ref"):
        return _named(reference.rpartition("/")[2])
    if "allOf" not in schema:
        return schema
    properties: dict[str, Any] = {}
    for part in schema["allOf"]:
        properties |= resolved(part).get("properties", {})
    return {"properties": properties}
