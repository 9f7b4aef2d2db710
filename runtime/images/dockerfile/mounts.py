"""`RUN --mount=type=…,…` to a Mount. Pure.

Read twice: when the Dockerfile is read, for what is wrong whatever the variables are, and for the stages
that it needs (`origin_name`); and when the step is made, with its variables expanded.
"""

from __future__ import annotations

import csv
import posixpath
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from runtime.images.dockerfile.image_config import below
from runtime.images.dockerfile.problems import Mistake, did_you_mean, shown
from runtime.images.dockerfile.steps import (
    BindMount,
    CacheMount,
    FromContext,
    Mount,
    Origin,
    Scratch,
    SecretMount,
    SshMount,
    TmpfsMount,
)

Word = Callable[[str], str]

_ALIASES = {
    "src": "source", "dst": "target", "destination": "target", "ro": "readonly", "rw": "readwrite",
}  # fmt: skip
_SWITCHES = ("readonly", "readwrite", "required")
_FIELDS = (
    "type", "from", "source", "target", "readonly", "readwrite", "required", "id", "sharing", "mode", "uid",
    "gid", "size", "env",
)  # fmt: skip
_KINDS = ("bind", "cache", "tmpfs", "secret", "ssh")
_SHARINGS = ("shared", "private", "locked")
_TRUE = ("1", "t", "true", "T", "TRUE", "True")
_FALSE = ("0", "f", "false", "F", "FALSE", "False")
_CACHE_ID = re.compile(r"[A-Za-z0-9_.:@%+~=,/-]{1,255}")
_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:@%+=-]{0,127}")
_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_SIZE = re.compile(r"([0-9]{1,15})(?:\.([0-9]{1,3}))? ?([kmgtp]?)(?:i?b)?", re.IGNORECASE | re.ASCII)
_UNITS = " kmgtp"
_SOMEWHERE = "/w" * 64  # a directory so deep that no relative target is the root
_MOST_ID = 2**32 - 2  # of users and groups: -1 is "no change"
_MOST_BYTES = 2**62


@dataclass(frozen=True, slots=True)
class _Options:
    written: str
    texts: dict[str, str] = field(default_factory=dict)
    switches: dict[str, bool] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        return self.texts.get("type", "bind")


def origin_name(written: str) -> str:
    """What `from=` says, "" without one. Variables are not expanded in it, as with Docker."""
    for name, value in _fields(written):
        if name == "from" and value is not None:
            if "$" in value:
                raise Mistake(
                    "from= takes no variable",
                    "name a stage: FROM $IMAGE AS NAME, and write from=NAME",
                    written,
                )
            return value
    return ""


def check_mount(written: str) -> None:
    """`Mistake` for what is wrong before any variable is known."""
    origin_name(written)
    if "$" not in written:
        read_mount(written, lambda word: word, _SOMEWHERE, {}, 0, is_check=True)


def read_mount(
    written: str,
    word: Word,
    working_dir: str,
    origins: Mapping[str, Origin],
    number: int,
    is_check: bool = False,
) -> Mount:
    """number: of the mount in its instruction, for a name of its own. origins: by what `from=` says."""
    options = _read_options(written, word)
    name = options.texts.get("from", "")
    default: Origin = Scratch() if options.kind == "cache" else FromContext()
    origin = default if not name or is_check else origins[name]
    match options.kind:
        case "cache":
            return _cache(options, _target(options, working_dir), origin)
        case "tmpfs":
            return TmpfsMount(_target(options, working_dir), _size(options))
        case "secret":
            return _secret(options, working_dir)
        case "ssh":
            return _ssh(options, working_dir, number)
        case _:
            is_read_only = options.switches.get("readonly", True)
            return BindMount(_target(options, working_dir), origin, _source(options), is_read_only)


def _read_options(written: str, word: Word) -> _Options:
    options = _Options(written)
    for name, value in _fields(written):
        if value is None:
            _set_switch(options, name, True)
            continue
        expanded = value if name == "from" else word(value)
        if name in _SWITCHES:
            _set_switch(options, name, _truth(name, expanded, written))
        else:
            options.texts[name] = expanded.lower() if name in ("type", "sharing") else expanded
    _check(options)
    return options


def _fields(written: str) -> list[tuple[str, str | None]]:
    """`name=value` and bare names of switches, by the names that aliases stand for."""
    try:
        rows = list(csv.reader([written], strict=True))
    except csv.Error:
        raise Mistake(
            "--mount has a quote in a wrong place", 'write "source=a,b" for a comma', written
        ) from None
    if not rows or not written:
        raise Mistake("--mount says nothing", "write --mount=type=cache,target=PATH")
    found: list[tuple[str, str | None]] = []
    for one in rows[0]:
        given, equals, value = one.partition("=")
        name = _ALIASES.get(given.lower(), given.lower())
        if name not in _FIELDS:
            hint = did_you_mean(name, (*_FIELDS, *_ALIASES)) or f"there are {', '.join(_FIELDS)}"
            raise Mistake(f"--mount has no option {shown(given)}", hint, one)
        if not equals and name not in _SWITCHES:
            raise Mistake(f"the option {name} of --mount has no value", f"write {name}=VALUE", one)
        found.append((name, value if equals else None))
    return found


def _set_switch(options: _Options, name: str, value: bool) -> None:
    if name == "required":
        options.switches["required"] = value
    else:
        options.switches["readonly"] = value if name == "readonly" else not value


def _check(options: _Options) -> None:
    kind = options.kind
    if kind not in _KINDS:
        hint = did_you_mean(kind, _KINDS) or f"there are {', '.join(_KINDS)}"
        raise Mistake(f"--mount has no type {shown(kind)}", hint, options.written)
    owned = ("cache", "secret", "ssh")
    only = {
        "sharing": ("cache",), "size": ("tmpfs",), "env": ("secret",), "required": ("secret", "ssh"),
        "mode": owned, "uid": owned, "gid": owned,
        "from": ("bind", "cache", "tmpfs"),
    }  # fmt: skip
    for name in (*options.texts, *options.switches):
        if kind not in only.get(name, _KINDS):
            raise Mistake(
                f"the option {name} is not for a mount of the type {kind}",
                f"it is for {' and '.join(only[name])}", options.written,
            )  # fmt: skip


def _cache(options: _Options, target: str, origin: Origin) -> CacheMount:
    sharing = options.texts.get("sharing", "") or "shared"
    if sharing not in _SHARINGS:
        hint = did_you_mean(sharing, _SHARINGS) or "shared, private or locked"
        raise Mistake(f"a cache is not shared as {shown(sharing)}", hint, options.written)
    identity = options.texts.get("id", "") or target
    if not _CACHE_ID.fullmatch(identity) or ".." in identity.split("/"):
        raise Mistake(
            f"{shown(identity)} is no name for a cache",
            "letters, digits and _.:@%+~=,/- without .., at most 255", options.written,
        )  # fmt: skip
    return CacheMount(
        target, identity, sharing, origin, _source(options), options.switches.get("readonly", False),
        _mode(options, 0o755), _number(options, "uid"), _number(options, "gid"),
    )  # fmt: skip


def _secret(options: _Options, working_dir: str) -> SecretMount:
    named, source = options.texts.get("id", ""), options.texts.get("source", "")
    if named and source:
        raise Mistake("a secret has one name: id and source are the same", "keep id", options.written)
    target, env = options.texts.get("target", ""), options.texts.get("env", "")
    identity = _identity(options, named or source or posixpath.basename(target.rstrip("/")) or env)
    if env and not _VARIABLE_NAME.fullmatch(env):
        raise Mistake(f"{shown(env)} is no variable's name", "letters, digits and _", options.written)
    if target:
        target = _below(options, working_dir, target)
    elif not env:
        target = f"/run/secrets/{identity}"
    return SecretMount(
        identity, target, env, options.switches.get("required", False), _mode(options, 0o400),
        _number(options, "uid"), _number(options, "gid"),
    )  # fmt: skip


def _ssh(options: _Options, working_dir: str, number: int) -> SshMount:
    if options.texts.get("source"):
        raise Mistake("a mount of the type ssh has no source", "leave it away", options.written)
    target = options.texts.get("target", "")
    return SshMount(
        _identity(options, options.texts.get("id", "") or "default"),
        _below(options, working_dir, target) if target else f"/run/setpoint/ssh_agent.{number}",
        options.switches.get("required", False),
        _mode(options, 0o600),
        _number(options, "uid"),
        _number(options, "gid"),
    )


def _identity(options: _Options, identity: str) -> str:
    if not identity:
        raise Mistake("the secret has no name", "write id=NAME", options.written)
    if not _ID.fullmatch(identity):
        raise Mistake(
            f"{shown(identity)} is no name for a secret or an agent",
            "letters, digits and _.:@%+=-, at most 128", options.written,
        )  # fmt: skip
    return identity


def _target(options: _Options, working_dir: str) -> str:
    target = options.texts.get("target", "")
    if not target:
        raise Mistake(
            f"the mount of the type {options.kind} has no target", "write target=PATH", options.written
        )
    return _below(options, working_dir, target)


def _below(options: _Options, working_dir: str, target: str) -> str:
    path = below(working_dir, target)
    if path == "/":
        raise Mistake("a mount cannot be the root itself", "name a directory", options.written)
    return path


def _source(options: _Options) -> str:
    return below("/", options.texts.get("source", "") or "/")


def _truth(name: str, value: str, written: str) -> bool:
    if value not in (*_TRUE, *_FALSE):
        raise Mistake(f"{name} is {shown(value)}, not true or false", "", written)
    return value in _TRUE


def _mode(options: _Options, default: int) -> int:
    text = options.texts.get("mode", "")
    if not text:
        return default
    if not re.fullmatch(r"[0-7]{1,6}", text) or int(text, 8) > 0o7777:
        raise Mistake(f"mode {shown(text)} is no octal mode", "write mode=0700", options.written)
    return int(text, 8)


def _number(options: _Options, name: str) -> int:
    text = options.texts.get(name, "")
    if not text:
        return 0
    if not re.fullmatch(r"[0-9]{1,10}", text, re.ASCII) or int(text) > _MOST_ID:
        raise Mistake(f"{name} {shown(text)} is no id", f"write {name}=1000", options.written)
    return int(text)


def _size(options: _Options) -> int:
    text = options.texts.get("size", "")
    if not text:
        return 0
    match = _SIZE.fullmatch(text)
    unit = 1024 ** _UNITS.index(match[3].lower() or " ") if match else 0
    size = int(match[1]) * unit + int((match[2] or "0").ljust(3, "0")) * unit // 1000 if match else 0
    if not 0 < size <= _MOST_BYTES:
        raise Mistake(f"size {shown(text)} is no number of bytes", "write size=64m", options.written)
    return size
