"""An update is written where the image stands, and nothing else of the file changes."""

from __future__ import annotations

import pytest

from agent.manifest.image_lock import FILE, read_lock, write_lock
from agent.updates.rewrite import Wish, rewrite
from store.records import Key

OLD, NEW = "sha256:" + "1" * 64, "sha256:" + "2" * 64
WEB = Key("shop", "container", "web")


def wish(tag: str = "1.28", image: str = "nginx:1.27", key: Key = WEB, line: int = 2) -> Wish:
    return Wish(key, "shop/compose.yaml", line, image, tag, NEW)


def written(text: str, *wishes: Wish, lock: dict[str, str] | None = None) -> tuple[str, str]:
    """The file and the lock as they are afterwards."""
    files = {"shop/compose.yaml": text.encode()} | ({FILE: write_lock(lock)} if lock is not None else {})
    found = rewrite(files, wishes or (wish(),))
    assert not found.problems, found.problems
    now = files | dict(found.files)
    return now["shop/compose.yaml"].decode(), now.get(FILE, b"").decode()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("image: nginx:1.27", "image: nginx:1.28"),
        ('image: "nginx:1.27"  # nginx:1.27 is good', 'image: "nginx:1.28"  # nginx:1.27 is good'),
        ("image:   'nginx:1.27'", "image:   'nginx:1.28'"),
        ("image: docker.io/library/nginx:1.27", "image: docker.io/library/nginx:1.28"),
        (f"image: nginx:1.27@{OLD}", f"image: nginx:1.28@{NEW}"),
        ("{image: nginx:1.27, init: true}", "{image: nginx:1.28, init: true}"),
    ],
)
def test_another_tag(before: str, after: str) -> None:
    def compose(text: str) -> str:
        inside = f"\n    {text}\n    # ünïcode\n" if text[0] != "{" else f" {text}\n"
        return f"services:\n  web:{inside}  db:\n    image: nginx:1.27\n"

    assert written(compose(before))[0] == compose(after)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("nginx:1.27", f"nginx:1.27@{NEW}"),
        (f"nginx:1.27@{OLD}", f"nginx:1.27@{NEW}"),
    ],
)
def test_another_digest_of_the_same_tag(before: str, after: str) -> None:
    text = "services:\n  web:\n    image: {}\n"
    assert written(text.format(before), wish("1.27"))[0] == text.format(after)


def test_a_name_without_a_tag() -> None:
    text = "services:\n  web:\n    image: nginx\n"
    assert written(text, wish("latest", "nginx:latest"))[0] == text.replace("nginx", f"nginx@{NEW}")


def test_what_is_locked_changes_in_the_lock() -> None:
    text = "services:\n  web:\n    image: nginx:1.27\n  db:\n    image: db:1\n"
    file, lock = written(text, wish("1.27"), lock={"nginx:1.27": OLD, "db:1": OLD})
    assert file == text and dict(read_lock(lock.encode()).digests) == {"nginx:1.27": NEW, "db:1": OLD}
    file, lock = written(text, wish(), lock={"nginx:1.27": OLD, "db:1": OLD})
    assert "nginx:1.28\n" in file
    assert dict(read_lock(lock.encode()).digests) == {"nginx:1.28": NEW, "db:1": OLD}


def test_an_entry_that_another_still_names_stays() -> None:
    text = "services:\n  web:\n    image: nginx:1.27\n  other:\n    image: nginx:1.27\n"
    _, lock = written(text, wish(), lock={"nginx:1.27": OLD})
    assert dict(read_lock(lock.encode()).digests) == {"nginx:1.27": OLD, "nginx:1.28": NEW}


def test_an_envelope_by_its_line() -> None:
    text = (
        "apiVersion: setpoint/v1\nkind: Container\nmetadata: {name: db}\nspec: {image: nginx:1.27}\n---\n"
        "apiVersion: setpoint/v1\nkind: Container\nmetadata: {name: web}\nspec: {image: nginx:1.27}\n"
    )
    assert written(text, wish(line=8))[0] == text[:-12] + text[-12:].replace("1.27", "1.28")


def test_two_in_one_file_and_lines_that_end_otherwise() -> None:
    text = "services:\r\n  web: {image: nginx:1.27}\r\n  db: {image: 'db:1'}\r\n"
    db = wish("2", "db:1", Key("shop", "container", "db"))
    assert written(text, wish(), db)[0] == text.replace("1.27", "1.28").replace("db:1", "db:2")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("services:\n  web:\n    image: nginx:${TAG}\n", "written with a variable in shop/compose.yaml:3"),
        ("services:\n  other: {image: nginx:1.27}\n", "is not found"),
        ("services:\n  web: {image: [nginx]}\n", "is not found"),
        ("services: [", "is not found"),
        ("- a\n", "is not found"),
        ('services:\n  web: {image: "nginx:1\\u002e27"}\n', "in an unusual way"),
    ],
)
def test_what_cannot_be_written_is_said_and_stays(text: str, problem: str) -> None:
    found = rewrite({"shop/compose.yaml": text.encode()}, [wish()])
    assert not found.files and not found.done
    assert problem in found.problems[0] and found.problems[0].startswith("shop/container/web: ")
    assert rewrite({}, [wish()]).problems


def test_a_wish_in_words() -> None:
    assert str(wish()) == "shop/container/web: nginx 1.27 -> 1.28"
    assert str(wish("1.27")) == f"shop/container/web: nginx 1.27 ({NEW[:19]})"
