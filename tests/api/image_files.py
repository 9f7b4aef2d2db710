"""Images for tests of this folder: made from a few files, and taken away again."""

from __future__ import annotations

import io
import json
import tarfile
from typing import Any
from urllib.parse import quote

from tests.api.host import Host
from tests.api.http_client import Answer

TAR = {"Content-Type": "application/x-tar"}


def tar_of(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def make_image(host: Host, name: str, *changes: str, files: dict[str, bytes] | None = None) -> str:
    """An image of a few files, under a name, or none for ""; its id."""
    repository, _, tag = name.rpartition(":") if ":" in name.rpartition("/")[2] else (name, "", "")
    words = {"fromSrc": "-", "repo": repository, "tag": tag}
    query = "&".join(
        f"{key}={quote(value)}" for key, value in [*words.items(), *(("changes", each) for each in changes)]
    )
    body = tar_of(files or {"made-for": (name or "nobody").encode()})
    answer = host.http("POST", f"/images/create?{query}", body, headers=TAR)
    assert answer.status == 200, answer.body
    return str(lines_of(answer)[-1]["status"])


def lines_of(answer: Answer) -> list[dict[str, Any]]:
    """Of an answer that is JSON line after line."""
    return [json.loads(line) for line in answer.body.splitlines() if line.strip()]


def inspected(host: Host, name: str) -> dict[str, Any]:
    answer = host.http("GET", f"/v1.45/images/{name}/json")
    assert answer.status == 200, answer.body
    return dict(answer.json)


def listed(host: Host, **filters: list[str]) -> list[dict[str, Any]]:
    return list(host.http("GET", "/images/json", query={"filters": filters}).json)


def tags(host: Host, **filters: list[str]) -> set[str]:
    return {tag for row in listed(host, **filters) for tag in row["RepoTags"] or ()}


def ids(host: Host) -> set[str]:
    return {row["Id"] for row in listed(host)}


def remove_new(host: Host, before: set[str]) -> None:
    """All names but those."""
    for tag in tags(host) - before:
        host.http("DELETE", f"/images/{tag}", query={"force": True})
    for row in listed(host):
        if not row["RepoTags"]:
            host.http("DELETE", f"/images/{row['Id']}", query={"force": True})
