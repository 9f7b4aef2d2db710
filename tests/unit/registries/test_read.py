"""registries.yaml: what it says, and what is wrong with it at which place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agent.registries.origins import Origins
from agent.registries.read import BadRegistries, read_registries
from runtime.errors import Invalid
from runtime.images.reference import parse_reference
from runtime.images.registry.credentials import Credential
from runtime.images.registry.endpoints import Endpoint

HEAD = "apiVersion: setpoint/v1\nkind: Registries\n"
GOOD = (
    HEAD
    + """
registries:
  docker.io: {mirrors: ["mirror.lan:5000", other.example]}
  "mirror.lan:5000": {insecure: true}
  registry.example.com: {ca: /a/ca.pem, certificate: /a/me.pem, key: /a/me.key, token_hosts: [login.other]}
"""
)


def test_what_it_says() -> None:
    registries = read_registries(GOOD.encode(), "r.yaml")
    assert registries.endpoints("docker.io") == (
        Endpoint("mirror.lan:5000", is_insecure=True),
        Endpoint("other.example"),
        Endpoint("registry-1.docker.io"),
    )
    assert registries.endpoints("registry.example.com") == (
        Endpoint("registry.example.com", "/a/ca.pem", "/a/me.pem", "/a/me.key", token_hosts=("login.other",)),
    )
    assert registries.endpoints("quay.io") == (Endpoint("quay.io"),)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("", "r.yaml:1:1"),
        ("kind: Registries\n", "r.yaml:1:1"),
        ("apiVersion: setpoint/v1\nkind: Policy\n", "r.yaml:2:7"),
        (HEAD + "registries: []\n", "r.yaml:3:13"),
        (HEAD + "registries:\n  a.io: {insecure: maybe}\n", "r.yaml:4:20"),
        (HEAD + "registries:\n  a.io: {ca: relative.pem}\n", "r.yaml:4:14"),
        (HEAD + "registries:\n  a.io: {mirrors: ['https://b.io']}\n", "r.yaml:4:20"),
        (HEAD + "registries:\n  a.io: {unsafe: true}\n", "r.yaml:4:10"),
        (HEAD + "---\n" + HEAD, "r.yaml:1:1"),
        (HEAD + "registries: {a.io: [", "r.yaml:4:1"),
    ],
)
def test_what_is_wrong(text: str, place: str) -> None:
    with pytest.raises(BadRegistries) as caught:
        read_registries(text.encode(), "r.yaml")
    assert caught.value.problems[0].startswith(place)


def test_whom_a_pull_asks(tmp_path: Path) -> None:
    logins, path = tmp_path / "config.json", tmp_path / "registries.yaml"
    path.write_text(GOOD)
    logins.write_text('{"auths": {"https://index.docker.io/v1/": {"auth": "bWU6eA=="}}}')
    origins = Origins(path, logins).of(parse_reference("busybox"))
    assert [(each.endpoint.host, each.credential) for each in origins] == [
        ("mirror.lan:5000", None),
        ("other.example", None),
        ("registry-1.docker.io", Credential("me", "x")),
    ]


def test_without_files_the_registry_is_asked_as_anybody(tmp_path: Path) -> None:
    origins = Origins(tmp_path / "none", tmp_path / "no-logins").of(parse_reference("quay.io/a/b"))
    assert [(each.endpoint, each.credential) for each in origins] == [(Endpoint("quay.io"), None)]


def test_a_file_that_cannot_be_read_refuses(tmp_path: Path) -> None:
    path = tmp_path / "registries.yaml"
    path.write_text("registries: {")
    with pytest.raises(Invalid, match="registries"):
        Origins(path, tmp_path / "none").of(parse_reference("busybox"))
    with pytest.raises(Invalid, match="directory"):
        Origins(tmp_path, tmp_path / "none").of(parse_reference("busybox"))


def test_a_projects_own_logins_come_first(tmp_path: Path) -> None:
    def logins(name: str, password: str, *hosts: str) -> Path:
        path = tmp_path / name
        entries = {host: {"username": "me", "password": password} for host in hosts}
        path.write_text(json.dumps({"auths": entries}))
        return path

    own = logins("shop.json", "own", "a.io")
    everybody = logins("all.json", "all", "a.io", "b.io")
    settings = tmp_path / "registries.yaml"
    settings.write_text(HEAD + f"projects:\n  shop: {{logins: {own}}}\n")
    origins = Origins(settings, everybody)

    def password(image: str, project: str) -> str:
        found = origins.of(parse_reference(image), project)[-1].credential
        return found.password if found else ""

    assert (password("a.io/x", "shop"), password("b.io/x", "shop"), password("c.io/x", "shop")) == (
        "own",
        "all",
        "",
    )
    assert (password("a.io/x", "other"), password("a.io/x", "")) == ("all", "all")
    own.unlink()
    assert password("a.io/x", "shop") == "all", "a file that is not there says nothing"


def test_a_projects_logins_are_a_path() -> None:
    with pytest.raises(BadRegistries) as caught:
        read_registries((HEAD + "projects:\n  shop: {logins: here.json}\n").encode(), "r.yaml")
    assert caught.value.problems[0].startswith("r.yaml:4:18")
