"""What `type`, `o` and `device` of a volume ask for: understood word by word, or refused."""

from __future__ import annotations

from typing import Any

import pytest

from runtime.errors import Invalid, Unsupported
from runtime.volume_options import VolumeSource, is_bind, read_source


def options(kind: str = "none", device: str = "/srv/data", o: str | None = "bind") -> dict[str, str]:
    return {"type": kind, "device": device, **({} if o is None else {"o": o})}


def test_a_plain_volume_has_none() -> None:
    assert read_source({}) is None and read_source({"size": "0"}) is None


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (options(), VolumeSource("bind", "", "/srv/data")),
        (options("", o=" rbind , ro ,"), VolumeSource("bind", "", "/srv/data", True, ("ro",))),
        (options("bind", "//srv/./data/"), VolumeSource("bind", "", "/srv/data")),
        (options("none", "/", "bind,private,defaults"), VolumeSource("bind", "", "/")),
        (options("tmpfs", "tmpfs", None), VolumeSource("tmpfs", "tmpfs")),
        (
            options("tmpfs", "x", "size=100m,uid=1000,noexec"),
            VolumeSource("tmpfs", "tmpfs", "", False, ("noexec",), ("size=100m", "uid=1000")),
        ),
        (
            options("ext4", "/dev/sdb1", "noatime,sync,data=journal"),
            VolumeSource("device", "ext4", "/dev/sdb1", False, ("noatime", "sync"), ("data=journal",)),
        ),
    ],
)
def test_what_is_understood(said: dict[str, str], expected: VolumeSource) -> None:
    assert read_source(said) == expected
    assert is_bind(said) == (expected.kind == "bind")


@pytest.mark.parametrize(
    ("said", "error", "words"),
    [
        ({"foo": "bar"}, Invalid, 'invalid option: "foo"'),
        ({"device": "/x"}, Invalid, 'missing required option: "type"'),
        ({"type": "none"}, Invalid, 'missing required option: "device"'),
        ({"o": "bind", "device": "/x"}, Invalid, 'missing required option: "type"'),
        ({"size": "1g"}, Invalid, "quota size requested but no quota support"),
        (options(o="a\nb"), Invalid, "no line of text"),
        (options(device="/" + 5000 * "x"), Invalid, "4096"),
        (options(device="srv"), Invalid, "not an absolute path"),
        (options(device="/srv/../etc"), Invalid, "not an absolute path"),
        (options(o=None), Invalid, 'without "bind" in o'),
        (options("ext4"), Invalid, 'type "ext4" with "bind" in o'),
        (options(o="bind,uid=1"), Invalid, '"uid=1" in o means nothing for a bind'),
        (options(o="bind,sync"), Invalid, "none of a bind"),
        (options(o="bind,rshared"), Unsupported, '"rshared" in o is not to be had'),
        (options("nfs", ":/x", "addr=192.0.2.1,rw"), Unsupported, "mount it on the host"),
        (options("cifs", "//host/x", "username=a"), Unsupported, "mount it on the host"),
        (options("overlay", "x", "lowerdir=/etc"), Unsupported, 'type "overlay" is not to be had'),
        (options("proc", "proc", None), Unsupported, 'type "proc" is not to be had'),
        (options("ext4", "/dev/a", "loop"), Invalid, "losetup"),
        (options("ext4", "/dev/a", "x-mount.mkdir"), Invalid, "none of the kernel"),
        (options("ext4", "/dev/a", "journal_path=/dev/b"), Unsupported, "names another device"),
        (options("xfs", "/dev/a", "logdev=/dev/b"), Unsupported, "names another device"),
        (options("btrfs", "/dev/a", "device=/dev/b"), Unsupported, "names another device"),
        (options("ext4", "disk", None), Invalid, "not an absolute path"),
    ],
)
def test_what_is_refused(said: dict[str, str], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=r"(?s)" + words.replace("(", r"\(")) as caught:
        read_source(said)
    assert type(caught.value) is error


@pytest.mark.parametrize(
    ("said", "below", "oci"),
    [
        (options(), "", {"type": "bind", "source": "/srv/data", "options": ["bind", "rprivate"]}),
        (
            options(o="rbind,rw,ro"), "",
            {"type": "bind", "source": "/srv/data", "options": ["rbind", "rprivate", "rw", "ro", "rro"]},
        ),
        (
            options(device="/srv/a/b"), "/srv",
            {"type": "bind", "source": "/srv", "options": ["bind", "rprivate", "x-setpoint.subpath=a/b"]},
        ),
        (options(), "/srv/data", {"type": "bind", "source": "/srv/data", "options": ["bind", "rprivate"]}),
        (options(device="/srv"), "/", {
            "type": "bind", "source": "/", "options": ["bind", "rprivate", "x-setpoint.subpath=srv"],
        }),
        (options("tmpfs", "x", "size=1m"), "", {"type": "tmpfs", "source": "tmpfs", "options": ["size=1m"]}),
        (
            options("xfs", "/dev/a", "dev"), "",
            {"type": "xfs", "source": "/dev/a", "options": ["nosuid", "nodev", "dev"]},
        ),
    ],
)  # fmt: skip
def test_as_a_mount(said: dict[str, str], below: str, oci: dict[str, Any]) -> None:
    source = read_source(said)
    assert source is not None
    assert source.to_oci(below) == {"destination": "/", **oci}


def test_the_last_word_says_whether_it_is_written_to() -> None:
    for o, is_read_only in (("bind", False), ("bind,ro", True), ("bind,ro,rw", False), ("bind,rw,ro", True)):
        source = read_source(options(o=o))
        assert source is not None and source.is_read_only == is_read_only
