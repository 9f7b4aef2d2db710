"""Writes updates into manifests, and their lock: the image's text alone changes, where it stands. Pure.

files, wishes ─> rewrite ─> the files that change, and what cannot be written and why
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agent.manifest import image_lock
from agent.manifest.nodes import Mapping as MappingNode
from agent.manifest.nodes import Node, Scalar
from agent.manifest.yaml_nodes import BadYaml, read_documents
from store.records import Key

_SECTIONS = {"container": "services"}
_PINNED = re.compile(
    r"(?P<name>.+?)(:(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?(?P<digest>@sha256:[0-9a-f]{64})?"
)


@dataclass(frozen=True, slots=True)
class Wish:
    """image: the tag that the object names, familiar. line: of the object. tag, digest: what it is to be."""

    key: Key
    file: str
    line: int
    image: str
    tag: str
    digest: str

    def __str__(self) -> str:
        present = self.image.rpartition(":")[2]
        news = f"{present} -> {self.tag}" if present != self.tag else f"{self.tag} ({self.digest[:19]})"
        return f"{self.key}: {self.image.rpartition(':')[0]} {news}"


@dataclass(frozen=True, slots=True)
class Rewritten:
    """files: those that change, whole. done: the wishes that are in them. problems: one text each."""

    files: Mapping[str, bytes]
    done: tuple[Wish, ...]
    problems: tuple[str, ...]


def rewrite(files: Mapping[str, bytes], wishes: Sequence[Wish]) -> Rewritten:
    """Where two objects share what is written (an anchor), both change: they name the same image."""
    changed: dict[str, bytes] = {}
    done: list[Wish] = []
    problems: list[str] = []
    lock = image_lock.read_lock(files[image_lock.FILE]) if image_lock.FILE in files else image_lock.Lock()
    digests = dict(lock.digests)
    for wish in wishes:
        data = changed.get(wish.file, files.get(wish.file, b""))
        is_locked = wish.image in lock.digests
        text = _rewritten(data, wish, is_locked=is_locked)
        if isinstance(text, str):
            problems.append(f"{wish.key}: {text}")
            continue
        if text != data:
            changed[wish.file] = text
        if is_locked:
            digests[f"{wish.image.rpartition(':')[0]}:{wish.tag}"] = wish.digest
        done.append(wish)
    if digests != lock.digests:
        kept = {name: digest for name, digest in digests.items() if not _is_left(name, done, wishes, files)}
        changed[image_lock.FILE] = image_lock.write_lock(kept)
    return Rewritten(changed, tuple(done), tuple(problems))


def _is_left(name: str, done: Sequence[Wish], wishes: Sequence[Wish], files: Mapping[str, bytes]) -> bool:
    """An entry of the lock that only those had who have another tag now. By its text in the files, so that
    one which somebody may still name stays: the next `image lock` knows."""
    left = [wish for wish in done if wish.image == name and wish.image.rpartition(":")[2] != wish.tag]
    if not left:
        return False
    tag = name.encode()
    return sum(data.count(tag) for path, data in files.items() if path != image_lock.FILE) <= len(left)


def _rewritten(data: bytes, wish: Wish, *, is_locked: bool) -> bytes | str:
    """The file with the wish in it; a text when that cannot be."""
    try:
        found = _image_of(read_documents(data, lambda *_: None), wish)
    except BadYaml:
        found = None
    if found is None:
        return f"its image is not found in {wish.file}: change it by hand"
    if "$" in found.text:
        return f"its image is written with a variable in {wish.file}:{found.line}: change that by hand"
    new = _new_text(found.text, wish, is_locked=is_locked)
    lines = data.decode("utf-8").splitlines(keepends=True)
    line = lines[found.line - 1]
    begin = found.column - 1 + (0 if found.plain else 1)
    if line[begin : begin + len(found.text)] != found.text:
        return f"its image is written in an unusual way in {wish.file}:{found.line}: change it by hand"
    lines[found.line - 1] = line[:begin] + new + line[begin + len(found.text) :]
    return "".join(lines).encode()


def _new_text(text: str, wish: Wish, *, is_locked: bool) -> str:
    """As it is written, with another tag; with a digest where there was one, or where nothing else would say
    what is new."""
    match = _PINNED.fullmatch(text)
    assert match is not None  # it was read as a reference
    present, is_pinned = match["tag"] or "latest", match["digest"] is not None
    is_same_tag = present == wish.tag
    if is_same_tag and is_locked:
        return text
    tag = f":{wish.tag}" if match["tag"] or not is_same_tag else ""
    pin = f"@{wish.digest}" if is_pinned or is_same_tag else ""
    return f"{match['name']}{tag}{pin}"


def _image_of(documents: Sequence[Node], wish: Wish) -> Scalar | None:
    for document in documents:
        if not isinstance(document, MappingNode):
            continue
        if "metadata" in document.entries and "spec" in document.entries:
            name = _below(document.entries["metadata"].value, "name")
            if name is not None and name.line == wish.line:
                return _scalar(_below(document.entries["spec"].value, "image"))
        elif section := document.entries.get(_SECTIONS.get(wish.key.kind, "")):
            return _scalar(_below(_below(section.value, wish.key.name), "image"))
    return None


def _below(node: Node | None, name: str) -> Node | None:
    entry = node.entries.get(name) if isinstance(node, MappingNode) else None
    return entry.value if entry is not None else None


def _scalar(node: Node | None) -> Scalar | None:
    return node if isinstance(node, Scalar) else None
