"""Logins as Docker's config.json has them, and the programs that keep passwords."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from runtime.errors import Invalid
from runtime.images.registry import docker_config
from runtime.images.registry.credentials import Credential
from runtime.images.registry.docker_config import find_credential, forget_credential, store_credential


def packed(user: str, password: str) -> str:
    return base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "docker" / "config.json"


def write(path: Path, value: object) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value))


def test_nobody_said(config: Path) -> None:
    assert find_credential("ghcr.io", config) is None


@pytest.mark.parametrize("key", ["ghcr.io", "https://ghcr.io", "https://ghcr.io/v1/", "http://ghcr.io/v2/"])
def test_a_password_in_the_file(config: Path, key: str) -> None:
    write(config, {"auths": {key: {"auth": packed("me", "a:b")}}})
    assert find_credential("ghcr.io", config) == Credential("me", "a:b")
    assert find_credential("other.io", config) is None


def test_the_hub_has_a_name_of_its_own(config: Path) -> None:
    write(config, {"auths": {"https://index.docker.io/v1/": {"auth": packed("me", "x")}}})
    assert find_credential("docker.io", config) == Credential("me", "x")


def test_an_identity_token(config: Path) -> None:
    write(config, {"auths": {"a.io": {"auth": "", "identitytoken": "T"}}})
    assert find_credential("a.io", config) == Credential(identity_token="T")


@pytest.mark.parametrize(
    "value",
    [
        [],
        {"auths": []},
        {"auths": {"a.io": {"auth": "%%"}}},
        {"auths": {"a.io": {"auth": "bm9jb2xvbg=="}}},
        {"credHelpers": {"a.io": "../../evil"}},
        {"credsStore": "there-is-none"},
    ],
)
def test_what_is_wrong_with_it_is_said(config: Path, value: object) -> None:
    write(config, value)
    with pytest.raises(Invalid, match="read credentials"):
        find_credential("a.io", config)


def test_not_json(config: Path) -> None:
    config.parent.mkdir()
    config.write_text("{" * 100_000)
    with pytest.raises(Invalid, match="not a JSON object"):
        find_credential("a.io", config)


def test_kept_in_the_file_for_its_owner_alone(config: Path) -> None:
    write(config, {"proxies": {"kept": 1}, "auths": {"b.io": {"auth": packed("b", "b")}}})
    assert store_credential("a.io", Credential("me", "secret"), config) == ""
    assert config.stat().st_mode & 0o777 == 0o600
    assert json.loads(config.read_text())["proxies"] == {"kept": 1}
    assert find_credential("a.io", config) == Credential("me", "secret")
    assert forget_credential("a.io", config) is True
    assert forget_credential("a.io", config) is False
    assert find_credential("a.io", config) is None
    assert find_credential("b.io", config) == Credential("b", "b")


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """docker-credential-test: keeps one password in a file, and notes its arguments."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "docker-credential-test"
    program.write_text(f"""#!/bin/sh
echo "$@" >>{tmp_path}/arguments
case $1 in
  store) cat >{tmp_path}/kept ;;
  get) if [ -e {tmp_path}/kept ]; then cat {tmp_path}/kept; else
         echo 'credentials not found in native keychain'; exit 1; fi ;;
  erase) rm -f {tmp_path}/kept ;;
esac
""")
    program.chmod(0o755)
    monkeypatch.setattr(docker_config, "_HELPER_PATH", f"{folder}:/usr/bin:/bin")
    return tmp_path


@pytest.mark.parametrize("value", [{"credsStore": "test"}, {"credHelpers": {"a.io": "test"}}])
def test_a_helper_keeps_it(config: Path, helper: Path, value: object) -> None:
    write(config, value)
    assert find_credential("a.io", config) is None
    assert store_credential("a.io", Credential("me", "secret"), config) == "test"
    assert "secret" not in config.read_text()
    assert "secret" not in (helper / "arguments").read_text()
    assert find_credential("a.io", config) == Credential("me", "secret")
    assert forget_credential("a.io", config) is True
    assert find_credential("a.io", config) is None


def test_a_token_in_a_helper(config: Path, helper: Path) -> None:
    write(config, {"credsStore": "test"})
    store_credential("a.io", Credential(identity_token="T"), config)
    assert find_credential("a.io", config) == Credential(identity_token="T")


def test_a_secret_does_not_show_itself() -> None:
    shown = f"{Credential('me', 'secret', 'token')!r} {Credential('me', 'secret', 'token')}"
    assert "secret" not in shown
    assert "token='" not in shown
