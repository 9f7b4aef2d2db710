"""The pure parts of builds: modes, orders, keys, errors that cross a pipe, and the carried cache."""

from __future__ import annotations

import json
import threading

import pytest

from runtime.errors import Invalid, Temporary
from runtime.images.build.asks import Asks, error_from, error_to
from runtime.images.build.cache import Cached
from runtime.images.build.exchange import FIELD, MAX_LAYERS, export_document
from runtime.images.build.modes import parse_mode
from runtime.images.build.order import BuildOrder, from_json, to_json
from runtime.images.build.states import Layer, key_of
from runtime.images.dockerfile.problems import DockerfileInvalid, Problem
from runtime.images.documents import Platform


@pytest.mark.parametrize(
    ("text", "mode", "is_directory", "wanted"),
    [
        ("644", 0o755, False, 0o644), ("04755", 0o600, False, 0o4755), ("u=rwX,go=rX", 0o600, False, 0o644),
        ("u=rwX,go=rX", 0o700, False, 0o755), ("u=rwX,go=rX", 0o600, True, 0o755),
        ("+x", 0o640, False, 0o751), ("a-w", 0o666, False, 0o444), ("g=u", 0o640, False, 0o660),
        ("u+s,+t", 0o755, False, 0o5755),
        ("go=", 0o777, False, 0o700), ("o+w-x", 0o751, False, 0o752),
    ],
)  # fmt: skip
def test_modes(text: str, mode: int, is_directory: bool, wanted: int) -> None:
    change = parse_mode(text)
    assert change is not None and oct(change(mode, is_directory)) == oct(wanted)


def test_no_mode_keeps_and_a_wrong_one_is_refused() -> None:
    assert parse_mode("") is None
    for text in ("888", "u=q", "77777", "=", "x", "u=rw;go=r"):
        if text != "=":
            with pytest.raises(Invalid):
                parse_mode(text)


def test_an_order_comes_back_as_it_went() -> None:
    order = BuildOrder(
        "0" * 32, "git", "https://h/x#a:b", "D", "FROM x", ("a:1",), "t", {"A": "1"}, {"l": "m"}, "host",
        True, True, "linux/amd64", {"s": b"\0\xff"}, {"default": "/s"}, 7, True, ("c:1",), "d:1",
        space="ops/ci",
    )  # fmt: skip
    assert from_json(json.loads(json.dumps(to_json(order)))) == order
    assert "xff" not in repr(order)  # secrets are in no message


@pytest.mark.parametrize(
    "change",
    [
        {"id": 1}, {"context_kind": "ftp"}, {"network": "bridge"}, {"secrets": {"a": "!"}}, {"epoch": -1},
        {"epoch": True}, {"arguments": []}, {"tags": [1]}, {"context": "a\0b"}, {"ssh": {"a": 1}},
    ],
)  # fmt: skip
def test_what_is_no_order_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(Invalid):
        from_json({"id": "0" * 32, **change})


def test_keys_differ_by_every_part() -> None:
    parts = [
        ("run",),
        ("run", "a"),
        ("run", ["a"]),
        ("run", "a", "b"),
        ("copy", "a"),
        ("run", None),
        ("run", {}),
    ]
    assert len({key_of(*each) for each in parts}) == len(parts)
    assert key_of("run", {"a": 1, "b": 2}) == key_of("run", {"b": 2, "a": 1})


def test_errors_cross_the_pipe_as_what_they_are() -> None:
    told = error_from(json.loads(json.dumps(error_to(Temporary("a", "b", "c", "d", 7.0)))))
    assert isinstance(told, Temporary) and told.retry_after_seconds == 7.0 and str(told) == "a b: c (hint: d)"
    wrong = DockerfileInvalid("Dockerfile", [Problem(2, 1, "what")])
    assert type(error_from(error_to(wrong))) is Invalid and "Dockerfile:2" in str(error_from(error_to(wrong)))


def test_each_asker_gets_its_own_answer_and_all_an_end() -> None:
    sent: list[dict[str, object]] = []
    asks = Asks(lambda line: sent.append(json.loads(line)))
    found: dict[str, object] = {}

    def ask(kind: str) -> None:
        try:
            found[kind] = asks.ask(kind)
        except Temporary as error:
            found[kind] = error.reason

    threads = [threading.Thread(target=ask, args=(kind,)) for kind in ("a", "b", "c")]
    for thread in threads:
        thread.start()
    while len(sent) < 3:
        threads[0].join(0.01)
    numbers = {str(line["kind"]): line["ask"] for line in sent}
    lines = [{"answer": numbers["b"], "value": 2}, {"answer": 99}, {"answer": numbers["a"], "value": 1}]
    asks.listen([json.dumps(line).encode() for line in lines])
    for thread in threads:
        thread.join()
    assert found == {"a": 1, "b": 2, "c": "given up: nobody waits for it"}
    with pytest.raises(Temporary):
        asks.ask("late")


def test_a_carried_cache_has_no_more_layers_than_an_image_can() -> None:
    used = {}
    for number in range(MAX_LAYERS + 10):
        digest = f"sha256:{number:064x}"
        used[f"{number:064x}"] = Cached(Layer(digest, digest, 1, "x", digest), "then")
    used["f" * 64] = Cached(None, "then")
    document, layers = export_document(used, Platform("linux", "amd64"))
    told = json.loads(document)
    assert len(layers) == len(told["rootfs"]["diff_ids"]) == MAX_LAYERS
    assert len(told[FIELD]) == MAX_LAYERS + 1 and f"{0:064x}" not in told[FIELD]  # the latest are kept
