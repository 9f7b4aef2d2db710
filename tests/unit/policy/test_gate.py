"""The policy file: its errors with their places, who may have written it, and what happens without it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.manifest.objects import Object, Revision
from agent.manifest.reader import Reader, read
from agent.policy.gate import Gate, GatedReader
from agent.policy.policy import OPEN
from agent.policy.read import BadPolicy, read_policy
from runtime.errors import Invalid

GOOD = "apiVersion: setpoint/v1\nkind: Policy\n"
PRIVILEGED = {"shop/compose.yaml": b"services:\n  web:\n    image: nginx\n    privileged: true\n"}


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    """A policy in a directory that root alone may write; elsewhere the checks of its parents would say so."""
    if os.geteuid() != 0:
        pytest.skip("a policy is root's")
    path = tmp_path / "policy.yaml"
    path.write_text(GOOD)
    path.chmod(0o644)
    yield path


BAD = [
    ("", "p:1:1: a policy is one document"),
    ("a: [", "p:2:1"),
    ("apiVersion: setpoint/v1\n", "kind is missing"),
    (GOOD + "allow: {privileged: maybe}\n", "p:3:21: allow: privileged: needs true or false"),
    (GOOD + "allow:\n  namespaces: [user]\n", "p:4:16: allow: namespaces: item 1:"),
    (GOOD + "allow:\n  capabilities: [NET_ADMIN, NOPE]\n", 'p:4:29: allow: capabilities: item 2: "NOPE"'),
    (GOOD + "allow: {binds: [srv]}\n", "p:3:17"),
    (GOOD + "allow: {binds: [/srv/../etc]}\n", "p:3:17"),
    (GOOD + "allow: {binds: ['/srv/*']}\n", "p:3:17"),
    (GOOD + "allow: {binds: ['/srv:rx']}\n", "p:3:17"),
    (GOOD + "allow: {ports: [1-99999]}\n", "p:3:17"),
    (GOOD + "allow: {ports: [9-1]}\n", "p:3:17"),
    (GOOD + "allow: {ports: ['999.1.1.1:80']}\n", "p:3:17"),
    (GOOD + "allow: {privilged: true}\n", 'p:3:9: allow: unknown field "privilged"'),
    (GOOD + "projects: {a: {below: ../x}}\n", "p:3:23"),
    (GOOD + "require: [sense]\n", "p:3:11"),
    (GOOD + "more: 1\n", "p:3:1"),
    ("apiVersion: setpoint/v2\nkind: Policy\n", "p:1:13"),
    (GOOD + "allow: {privileged: true, privileged: false}\n", "given twice"),
]


@pytest.mark.parametrize(("text", "said"), BAD)
def test_errors_have_their_place(text: str, said: str) -> None:
    with pytest.raises(BadPolicy) as caught:
        read_policy(text.encode(), "p")
    assert said in "\n".join(caught.value.problems)


def test_all_errors_come_at_once() -> None:
    with pytest.raises(BadPolicy) as caught:
        read_policy((GOOD + "allow: {privileged: 1, namespaces: [x], binds: [y]}\n").encode(), "p")
    assert len(caught.value.problems) == 3


def refused(file: Path, **options: bool) -> str:
    with pytest.raises(BadPolicy) as caught:
        Gate(file, **options).policy()
    return caught.value.problems[0]


def test_another_user_s_file_is_refused(file: Path) -> None:
    os.chown(file, 1000, 0)
    assert "owned by user 1000" in refused(file)


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_a_file_that_others_write_is_refused(file: Path, mode: int) -> None:
    file.chmod(mode)
    assert "others than root may write it" in refused(file)


def test_a_directory_that_others_write_is_refused(file: Path) -> None:
    file.parent.chmod(0o777)
    assert f"{file.parent}: others than root may write it" in refused(file)


def test_so_is_one_behind_a_link(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "policy.yaml").write_text(GOOD)
    other.chmod(0o777)
    file.unlink()
    file.symlink_to(other / "policy.yaml")
    assert f"{other}: others than root may write it" in refused(file)


@pytest.mark.parametrize("kind", ["directory", "fifo"])
def test_what_is_no_file_is_refused_at_once(file: Path, kind: str) -> None:
    file.unlink()
    (file.mkdir if kind == "directory" else lambda: os.mkfifo(file))()
    assert "not a regular file" in refused(file)


def test_one_that_is_named_must_be_there(file: Path) -> None:
    file.unlink()
    assert "no such policy file" in refused(file, is_needed=True)
    assert Gate(file).policy() is OPEN


def test_an_unreadable_policy_lets_nothing_through(file: Path) -> None:
    file.write_text(GOOD + "allow: {nope: 1}\n")
    revision = Revision("1", "test", {"a/compose.yaml": b"services:\n  a:\n    image: nginx\n"})
    manifest = Gate(file).admit(read(revision), revision)
    assert manifest.is_withheld and not manifest.objects
    assert f"policy: {file}:3:9" in manifest.errors[0].message


def test_a_change_counts_when_it_is_saved(file: Path) -> None:
    reader = GatedReader(Reader(), Gate(file))
    revision = Revision("1", "test", PRIVILEGED)
    assert len(reader.read(revision).errors) == 1 and not reader.is_stale()
    file.write_text(GOOD + "allow: {privileged: true}\n")
    assert reader.is_stale()
    assert reader.read(revision).errors == () and not reader.is_stale()
    file.write_text(GOOD)
    assert len(reader.read(revision).errors) == 1, "what was let through before is judged again"


def test_what_no_manifest_describes_is_judged_alike(file: Path) -> None:
    wanted: Object = next(iter(read(Revision("1", "test", PRIVILEGED)).objects.values()))
    with pytest.raises(Invalid, match=r"privileged is not allowed by .*policy.yaml \(rule privileged\)"):
        Gate(file).check(wanted)
    file.write_text("kind: [")
    with pytest.raises(Invalid, match="the policy cannot be read"):
        Gate(file).check(wanted)


@pytest.mark.parametrize(
    ("rules", "allowed", "refused"),
    [
        ("", ("nginx", "evil.example/x"), ()),
        ("allow: {images: [docker.io/library/*]}\n",
         ("nginx:1", "docker.io/library/a"), ("evil.example/x", "me/x")),
        ("allow: {images: [docker.io/library/*]}\nprojects: {shop: {images: [lab.example/*]}}\n",
         ("nginx", "lab.example/a"), ("evil.example/x",)),
        ("projects: {shop: {images: [lab.example/*]}}\n", ("nginx", "evil.example/x"), ()),
    ],
)  # fmt: skip
def test_an_image_by_hand(file: Path, rules: str, allowed: tuple[str, ...], refused: tuple[str, ...]) -> None:
    file.write_text(GOOD + rules)
    gate = Gate(file)
    for name in allowed:
        gate.check_image("pull image", name)
    for name in refused:
        with pytest.raises(Invalid, match=f"image {name} is not allowed by {file}:3 .rule images."):
            gate.check_image("pull image", name)


def test_no_image_by_hand_under_a_policy_that_cannot_be_read(file: Path) -> None:
    file.write_text("a: [")
    with pytest.raises(Invalid, match="the policy cannot be read"):
        Gate(file).check_image("pull image", "nginx")
