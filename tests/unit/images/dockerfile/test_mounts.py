"""RUN --mount: every type with its options, and what is refused."""

from __future__ import annotations

import pytest

from runtime.images.dockerfile.mounts import check_mount, origin_name, read_mount
from runtime.images.dockerfile.problems import Mistake
from runtime.images.dockerfile.steps import (
    BindMount,
    CacheMount,
    FromContext,
    FromStage,
    Mount,
    SecretMount,
    SshMount,
    TmpfsMount,
)

STAGE = FromStage(0)


def mount(written: str, working_dir: str = "/w") -> Mount:
    return read_mount(written, lambda word: word.replace("$v", "val"), working_dir, {"s": STAGE}, 2)


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        ("target=/a", BindMount("/a", FromContext())),
        ("type=bind,from=s,source=x/../y,target=a", BindMount("/w/a", STAGE, "/y")),
        ("type=BIND,src=/x,dst=/a,rw", BindMount("/a", FromContext(), "/x", False)),
        ("target=/a,readonly=false", BindMount("/a", FromContext(), "/", False)),
        ("destination=/a,rw=true,ro", BindMount("/a", FromContext())),
        ("target=/a,source=../../etc", BindMount("/a", FromContext(), "/etc")),
        ("type=cache,target=/c", CacheMount("/c", "/c")),
        ("type=cache,target=/c,id=a/$v,sharing=LOCKED", CacheMount("/c", "a/val", "locked")),
        (
            "type=cache,target=/c,from=s,source=/x,mode=0700,uid=1,gid=2,ro",
            CacheMount("/c", "/c", "shared", STAGE, "/x", True, 0o700, 1, 2),
        ),
        ("type=tmpfs,target=/t", TmpfsMount("/t")),
        ("type=tmpfs,target=/t,size=64m", TmpfsMount("/t", 64 * 2**20)),
        ("type=tmpfs,target=/t,size=1.5GiB", TmpfsMount("/t", 3 * 2**29)),
        ("type=tmpfs,target=/t,size=4096", TmpfsMount("/t", 4096)),
        ("type=secret,id=k", SecretMount("k", "/run/secrets/k")),
        ("type=secret,id=k,target=/etc/k,required", SecretMount("k", "/etc/k", "", True)),
        ("type=secret,target=/etc/k", SecretMount("k", "/etc/k")),
        ("type=secret,source=k,required=false", SecretMount("k", "/run/secrets/k")),
        ("type=secret,id=k,env=KEY", SecretMount("k", "", "KEY")),
        ("type=secret,env=KEY", SecretMount("KEY", "", "KEY")),
        ("type=secret,id=k,env=KEY,target=/k", SecretMount("k", "/k", "KEY")),
        (
            "type=secret,id=k,mode=444,uid=1000,gid=7",
            SecretMount("k", "/run/secrets/k", "", False, 0o444, 1000, 7),
        ),
        ("type=ssh", SshMount("default", "/run/setpoint/ssh_agent.2")),
        ("type=ssh,id=git,target=/a,required,mode=0666", SshMount("git", "/a", True, 0o666)),
        ('type=bind,"source=a,b",target=/$v', BindMount("/val", FromContext(), "/a,b")),
    ],
)
def test_a_mount_is_what_its_options_say(written: str, wanted: Mount) -> None:
    assert mount(written) == wanted


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("", "says nothing"),
        ("type=volume,target=/x", "no type 'volume'"),
        ("type=cahce,target=/x", "did you mean cache?"),
        ("type=bind,tagret=/x", "did you mean target?"),
        ("type=bind", "has no target"),
        ("type=cache", "has no target"),
        ("type=bind,target", "has no value"),
        ("type=bind,target=/", "cannot be the root"),
        ("type=bind,target=/a/../..", "cannot be the root"),
        ("type=bind,target=/x,readonly=maybe", "not true or false"),
        ("type=bind,target=/x,mode=0700", "not for a mount of the type bind"),
        ("type=bind,target=/x,sharing=shared", "it is for cache"),
        ("type=cache,target=/x,sharing=alone", "is not shared as 'alone'"),
        ("type=cache,target=/x,mode=9", "no octal mode"),
        ("type=cache,target=/x,mode=77777", "no octal mode"),
        ("type=cache,target=/x,uid=-1", "no id"),
        ("type=cache,target=/x,uid=4294967295", "no id"),
        ("type=cache,target=/x,required", "it is for secret and ssh"),
        ("type=tmpfs,target=/x,size=lots", "no number of bytes"),
        ("type=tmpfs,target=/x,size=0", "no number of bytes"),
        ("type=secret", "has no name"),
        ("type=secret,id=a,source=b", "has one name"),
        ("type=secret,id=a,from=s", "not for a mount of the type secret"),
        ("type=secret,id=a,env=1x", "no variable's name"),
        ("type=ssh,source=/x", "has no source"),
        ('type=bind,"target=/x', "a quote in a wrong place"),
        ("target=/x,size=1", "it is for tmpfs"),
    ],
)
def test_a_wrong_mount_is_told(written: str, told: str) -> None:
    with pytest.raises(Mistake) as caught:
        mount(written)
    assert told in caught.value.text + caught.value.hint
    with pytest.raises(Mistake):
        check_mount(written)


def test_from_is_known_before_anything_is_expanded() -> None:
    assert origin_name("type=cache,from=s,target=$x") == "s"
    assert origin_name("type=cache,target=$x") == ""
    with pytest.raises(Mistake, match="takes no variable"):
        origin_name("from=$s,target=/x")
    check_mount("target=.")  # is the root, or is not: WORKDIR says so later
    check_mount("type=$t,target=/x")  # told later, when $t is known
