"""Who we are to which registry, as people have told Docker: `config.json` and `docker-credential-*`.

Read anew for each pull, so that a login counts at once. The programs that keep passwords are run as
docker/docker-credential-helpers says: the registry's name on standard input, JSON on standard output,
nothing of it in an argument. Writes the file for `login` and `logout`, mode 0600.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import pwd
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runtime.errors import Invalid, SetpointError, Temporary
from runtime.images.content import replace_file
from runtime.images.reference import DEFAULT_DOMAIN
from runtime.images.registry.credentials import Credential

HUB_KEY = "https://index.docker.io/v1/"
HELPER_SECONDS = 30.0
MAX_CONFIG_BYTES = 4 << 20
_HELPER = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_HELPER_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_NOT_FOUND = "credentials not found"
_TOKEN_USER = "<token>"


def default_path() -> Path:
    """$DOCKER_CONFIG/config.json, else of the user's home as the password file says it."""
    folder = os.environ.get("DOCKER_CONFIG")
    return Path(folder or Path(pwd.getpwuid(os.geteuid()).pw_dir) / ".docker") / "config.json"


def find_credential(domain: str, path: Path) -> Credential | None:
    """Who to be for a domain of image names; None when nobody said. A helper for the registry comes
    first, then what is in the file, then the store for all."""
    config = _read(path)
    key = key_of(domain)
    helpers = _object(config, "credHelpers", path)
    helper = helpers.get(key) or helpers.get(domain)
    if helper:
        return _ask_helper(str(helper), key)
    if (found := _from_file(_object(config, "auths", path), key, domain, path)) is not None:
        return found
    store = config.get("credsStore")
    return _ask_helper(str(store), key) if store else None


def store_credential(domain: str, credential: Credential, path: Path) -> str:
    """Keep it: in a helper when the file names one. Returns the helper's name, or "" when the secret is
    now in the file, readable for its owner."""
    config, key = _read(path), key_of(domain)
    helper = _object(config, "credHelpers", path).get(key) or config.get("credsStore")
    auths = _object(config, "auths", path)
    if helper:
        secret = credential.identity_token or credential.password
        user = _TOKEN_USER if credential.identity_token else credential.username
        body = json.dumps({"ServerURL": key, "Username": user, "Secret": secret})
        _run_helper(str(helper), "store", body)
        entry: dict[str, str] = {}
    elif credential.identity_token:
        entry = {"identitytoken": credential.identity_token}
    else:
        entry = {"auth": credential.basic().removeprefix("Basic ")}
    _write(path, {**config, "auths": {**auths, key: entry}})
    return str(helper or "")


def forget_credential(domain: str, path: Path) -> bool:
    """Whether there was one."""
    config, key = _read(path), key_of(domain)
    helper = _object(config, "credHelpers", path).get(key) or config.get("credsStore")
    was_there = False
    if helper:
        was_there = _ask_helper(str(helper), key) is not None
        _run_helper(str(helper), "erase", key)
    auths = _object(config, "auths", path)
    left = {name: entry for name, entry in auths.items() if _same(name, key, domain) is False}
    if left != auths:
        was_there = True
        _write(path, {**config, "auths": left})
    return was_there


def key_of(domain: str) -> str:
    """What Docker calls a registry in its file: the hub has the name of its first API."""
    return HUB_KEY if domain == DEFAULT_DOMAIN else domain


# --- the file ---------------------------------------------------------------------------------


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_CONFIG_BYTES + 1)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise Invalid("read credentials", str(path), error.strerror or str(error)) from error
    try:
        value = json.loads(data) if len(data) <= MAX_CONFIG_BYTES else None
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise Invalid(
            "read credentials", str(path), "not a JSON object", "mend it, or move it away and log in"
        )
    return value


def _write(path: Path, config: Mapping[str, Any]) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    previous = os.umask(0o077)
    try:
        replace_file(path, json.dumps(config, indent=2).encode() + b"\n")
    finally:
        os.umask(previous)


def _object(config: Mapping[str, Any], key: str, path: Path) -> dict[str, Any]:
    value = config.get(key)
    value = {} if value is None else value
    if not isinstance(value, dict):
        raise Invalid("read credentials", str(path), f"{key} is not an object")
    return value


def _from_file(auths: Mapping[str, Any], key: str, domain: str, path: Path) -> Credential | None:
    for name, entry in auths.items():
        if _same(name, key, domain) and isinstance(entry, dict) and (found := _parse(entry, name, path)):
            return found
    return None


def _same(name: str, key: str, domain: str) -> bool:
    """Entries are hosts, or URLs that older programs wrote."""
    return name in (key, domain) or re.sub(r"^https?://|/(v[12]/?)?$", "", name) == domain


def _parse(entry: Mapping[str, Any], name: str, path: Path) -> Credential | None:
    token, packed = entry.get("identitytoken"), entry.get("auth")
    if isinstance(token, str) and token:
        return Credential(identity_token=token)
    if not isinstance(packed, str) or not packed:
        user, password = entry.get("username"), entry.get("password")
        return Credential(user, password) if isinstance(user, str) and isinstance(password, str) else None
    try:
        unpacked = base64.b64decode(packed, validate=True).decode()
    except (binascii.Error, ValueError):
        unpacked = ""
    if ":" not in unpacked:
        raise Invalid("read credentials", str(path), f"auth of {name[:200]} is not base64 of USER:PASSWORD")
    known, _, secret = unpacked.partition(":")
    return Credential(known, secret.rstrip("\0"))


# --- helpers ----------------------------------------------------------------------------------


def _ask_helper(helper: str, key: str) -> Credential | None:
    answer = _run_helper(helper, "get", key)
    if answer is None:
        return None
    try:
        value = json.loads(answer)
        user, secret = value["Username"], value["Secret"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise _failed(helper, "its answer is not what docker-credential-helpers says") from None
    if not isinstance(user, str) or not isinstance(secret, str):
        raise _failed(helper, "its answer is not what docker-credential-helpers says")
    return Credential(identity_token=secret) if user == _TOKEN_USER else Credential(user, secret)


def _run_helper(helper: str, verb: str, told: str) -> str | None:
    """Its output; None when it knows nothing of that registry."""
    if not _HELPER.fullmatch(helper):
        raise Invalid("read credentials", repr(helper[:80]), "not the name of a credential helper")
    environment = {
        name: os.environ[name] for name in ("HOME", "DOCKER_CONFIG", "XDG_RUNTIME_DIR") if name in os.environ
    }
    environment.setdefault("HOME", pwd.getpwuid(os.geteuid()).pw_dir)
    try:
        done = subprocess.run(
            [f"docker-credential-{helper}", verb], input=told, capture_output=True, text=True, check=False,
            timeout=HELPER_SECONDS, env={**environment, "PATH": _HELPER_PATH},
        )  # fmt: skip
    except FileNotFoundError:
        raise _failed(helper, "there is no such program", f"install docker-credential-{helper}") from None
    except subprocess.TimeoutExpired:
        raise Temporary("read credentials", helper, f"no answer in {HELPER_SECONDS:.0f} s", "", 30) from None
    if done.returncode == 0:
        return done.stdout
    said = " ".join((done.stdout or done.stderr).split())[:200]
    if _NOT_FOUND in said:
        return None
    raise _failed(helper, said or f"exit code {done.returncode}")


def _failed(helper: str, reason: str, hint: str = "") -> SetpointError:
    return Invalid("read credentials", f"docker-credential-{helper}", reason, hint)
