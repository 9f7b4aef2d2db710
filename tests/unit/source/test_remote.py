"""A remote repository: followed as it goes on, goes back, goes away and comes back."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from agent.manifest.objects import Revision
from agent.source import remote as module
from agent.source.git_program import OPTIONS
from agent.source.remote import Remote, RemoteSource, check_ref, check_url, credential_options
from runtime.errors import Invalid
from tests.unit.source.support import abandon, commit, following, git, make_repository, until


@asynccontextmanager
async def following_remote(
    remote: Remote, mirror: Path
) -> AsyncIterator[tuple[RemoteSource, AsyncIterator[Revision]]]:
    source = RemoteSource(remote, mirror)
    revisions = source.revisions()
    try:
        yield source, revisions
    finally:
        await revisions.aclose()  # type: ignore[attr-defined]


def remote_of(repository: Path, **options: str) -> Remote:
    return Remote(f"file://{repository}", poll_seconds=3600, **options)  # type: ignore[arg-type]


async def change(repository: Path, **files: str) -> str:
    return await asyncio.to_thread(commit, repository, "change", **files)


async def after_sync(source: RemoteSource, revisions: AsyncIterator[Revision]) -> Revision:
    source.sync()
    return await following(revisions)


async def failing(source: RemoteSource, words: str) -> None:
    """Look once more, and wait for an error that holds words."""
    source._status = replace(source.status, error="")
    source.sync()
    await until(lambda: words in source.status.error)


async def test_it_is_followed_as_it_goes_on(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "origin")
    first = commit(repository, "Add the shop", deploy__shop__web_yaml="a: 1", other_yaml="x")
    remote = remote_of(repository, path="/deploy/")
    async with following_remote(remote, tmp_path / "mirror") as (source, revisions):
        found = await following(revisions)
        name = f"file://{repository}#main:deploy"
        assert found == Revision(first, name, {"shop/web.yaml": b"a: 1"}, "Add the shop", "Ada", "")
        second = await change(repository, deploy__shop__web_yaml="a: 2")
        assert (await after_sync(source, revisions)).id == second
        for number in range(3):
            third = await change(repository, deploy__shop__web_yaml=f"b: {number}")
        assert (await after_sync(source, revisions)).id == third
        assert source.status.warnings == ()
        assert source.status.error == ""
    assert not (tmp_path / "mirror/deploy").exists(), "there is no work tree"


async def test_the_poll_finds_it(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "origin")
    commit(repository, a_yaml="1")
    remote = replace(remote_of(repository), poll_seconds=1)
    async with following_remote(remote, tmp_path / "mirror") as (source, revisions):
        await following(revisions)
        seen_at = source.status.seen_at
        waiting = asyncio.ensure_future(anext(revisions))
        await until(lambda: source.status.seen_at > seen_at)
        id = await change(repository, a_yaml="2")
        assert (await asyncio.wait_for(waiting, 10)).id == id


async def test_rewound_and_rewritten_is_followed_and_said(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "origin")
    first = commit(repository, a_yaml="1")
    async with following_remote(remote_of(repository), tmp_path / "mirror") as (source, revisions):
        await following(revisions)
        second = await change(repository, a_yaml="2")
        await after_sync(source, revisions)
        git(repository, "reset", "-q", "--hard", first)
        assert (await after_sync(source, revisions)).id == first
        assert source.status.warnings == (f"main was rewound from {second[:12]} to {first[:12]}",)
        git(repository, "commit", "-q", "--amend", "-m", "other")
        other = await change(repository, a_yaml="3")
        assert (await after_sync(source, revisions)).id == other
        assert "main was rewritten" in source.status.warnings[0]


async def test_the_last_good_one_stays(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "origin")
    first = commit(repository, deploy__a_yaml="1")
    remote = remote_of(repository, path="deploy")
    async with following_remote(remote, tmp_path / "mirror") as (source, revisions):
        await following(revisions)
        waiting = asyncio.ensure_future(anext(revisions))

        shutil.move(repository, tmp_path / "away")
        await failing(source, "git ls-remote")
        assert source.status.error.endswith(f"keeping {first[:12]}")
        shutil.move(tmp_path / "away", repository)

        git(repository, "branch", "-q", "-m", "main", "other")
        await failing(source, "main is not in the repository")
        git(repository, "branch", "-q", "-m", "other", "main")

        git(repository, "mv", "deploy", "moved")
        await change(repository)
        await failing(source, "has no directory deploy/")

        (repository / "deploy").mkdir()
        await change(repository, deploy__README="nothing here")
        await failing(source, "has no manifest below deploy/")
        assert source.status.revision == first
        assert not waiting.done()

        shutil.rmtree(repository)
        make_repository(repository)
        await failing(source, "or the repository is empty")

        id = await change(repository, deploy__a_yaml="new")
        source.sync()
        assert (await asyncio.wait_for(waiting, 10)).id == id
        assert source.status.error == ""


async def test_after_a_start_without_the_server_the_mirror_counts(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "origin")
    first = commit(repository, a_yaml="1")
    async with following_remote(remote_of(repository), tmp_path / "mirror") as (_, revisions):
        await following(revisions)
    shutil.move(repository, tmp_path / "away")
    async with following_remote(remote_of(repository), tmp_path / "mirror") as (source, revisions):
        assert (await following(revisions)).id == first
        waiting = asyncio.ensure_future(anext(revisions))
        await until(lambda: source.status.error)
        shutil.move(tmp_path / "away", repository)
        second = await change(repository, a_yaml="2")
        source.sync()
        assert (await asyncio.wait_for(waiting, 10)).id == second


async def test_a_mirror_of_another_repository_does_not_count(tmp_path: Path) -> None:
    one, two = make_repository(tmp_path / "one"), make_repository(tmp_path / "two")
    commit(one, a_yaml="1")
    second = commit(two, b_yaml="2")
    async with following_remote(remote_of(one), tmp_path / "mirror") as (_, revisions):
        await following(revisions)
    async with following_remote(remote_of(two), tmp_path / "mirror") as (_, revisions):
        found = await following(revisions)
        assert (found.id, dict(found.files)) == (second, {"b.yaml": b"2"})


@pytest.mark.parametrize("damage", ["objects", "HEAD", "refs", "setpoint-owner"])
async def test_a_damaged_mirror_is_made_anew(tmp_path: Path, damage: str) -> None:
    repository = make_repository(tmp_path / "origin")
    first = commit(repository, a_yaml="1")
    async with following_remote(remote_of(repository), tmp_path / "mirror") as (_, revisions):
        await following(revisions)
    place = tmp_path / "mirror" / damage
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    async with following_remote(remote_of(repository), tmp_path / "mirror") as (_, revisions):
        assert (await following(revisions)).id == first


@pytest.mark.parametrize("ref", ["v1", "refs/tags/v1", "annotated", "release/1.0", "refs/heads/release/1.0"])
async def test_branches_and_tags(tmp_path: Path, ref: str) -> None:
    repository = make_repository(tmp_path / "origin")
    first = commit(repository, a_yaml="1")
    git(repository, "tag", "v1")
    git(repository, "tag", "-a", "-m", "x", "annotated")
    git(repository, "branch", "release/1.0")
    commit(repository, a_yaml="2")
    async with following_remote(remote_of(repository, ref=ref), tmp_path / "mirror") as (source, revisions):
        assert (await following(revisions)).id == first
        seen_at = source.status.seen_at
        waiting = asyncio.ensure_future(anext(revisions))
        source.sync()
        await until(lambda: source.status.seen_at > seen_at)
        assert not waiting.done()
        await abandon(waiting)


async def test_a_tag_on_what_is_no_commit(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "origin")
    commit(repository, a_yaml="1")
    git(repository, "tag", "tree", "HEAD^{tree}")
    async with following_remote(remote_of(repository, ref="tree"), tmp_path / "mirror") as (
        source,
        revisions,
    ):
        waiting = asyncio.ensure_future(anext(revisions))
        await until(lambda: source.status.error)
        assert not waiting.done()
        await abandon(waiting)


async def test_links_and_submodules_are_said_and_left_out(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "origin")
    inner = make_repository(tmp_path / "inner")
    commit(inner, x_yaml="1")
    (repository / "x.yaml").symlink_to("/etc/passwd")
    git(repository, "submodule", "add", "-q", str(inner), "sub.yaml")
    commit(repository, a_yaml="1")
    async with following_remote(remote_of(repository), tmp_path / "mirror") as (source, revisions):
        assert (await following(revisions)).files == {"a.yaml": b"1"}
        said = "\n".join(source.status.warnings)
        assert "x.yaml is a symbolic link" in said
        assert "sub.yaml is a submodule" in said


async def test_a_mirror_is_kept_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_MIRROR_BYTES", 0)
    repository = make_repository(tmp_path / "origin")
    commit(repository, a_yaml="1")
    async with following_remote(remote_of(repository), tmp_path / "mirror") as (source, revisions):
        await following(revisions)
        for number in range(3):
            id = await change(repository, a_yaml="x" * 1000 * number)
            assert (await after_sync(source, revisions)).id == id
    assert len(list((tmp_path / "mirror/objects/pack").glob("*.pack"))) <= 1


async def test_a_pack_over_the_limit_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PACK_BYTES", 100_000)
    repository = make_repository(tmp_path / "origin")
    (repository / "big.bin").write_bytes(b"".join(n.to_bytes(4, "little") for n in range(0, 2**31, 4001)))
    commit(repository, a_yaml="1")
    async with following_remote(remote_of(repository), tmp_path / "mirror") as (source, revisions):
        waiting = asyncio.ensure_future(anext(revisions))
        await until(lambda: source.status.error)
        assert "git fetch" in source.status.error
        assert not waiting.done()
        await abandon(waiting)


async def test_passwords_are_never_said(tmp_path: Path) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))  # nobody listens
        port = server.getsockname()[1]
        credentials = tmp_path / "credentials"
        credentials.write_text(f"https://user:secret@127.0.0.1:{port}\n")
        remote = Remote(f"https://user:secret@127.0.0.1:{port}/x.git", credentials=credentials)
        async with following_remote(remote, tmp_path / "mirror") as (source, revisions):
            waiting = asyncio.ensure_future(anext(revisions))
            await until(lambda: source.status.error)
            await abandon(waiting)
            assert "secret" not in repr(source.status)
            assert "127.0.0.1" in source.status.source
    for file in (tmp_path / "mirror").rglob("*"):
        assert not file.is_file() or b"secret" not in file.read_bytes()


def test_failures_are_asked_about_less_and_less() -> None:
    source = RemoteSource(Remote("https://example.org/x", poll_seconds=30), Path("/nowhere"))
    delays = []
    for failures in range(8):
        source._failures = failures
        delays.append(source._delay())
    assert 27 <= delays[0] <= 33
    assert delays[3] > 4 * delays[0]
    assert max(delays) <= 660


GOOD_URLS = [
    "https://example.org/team/shop.git",
    "https://user:token@my-host.example.org:8443/x",
    "ssh://git@example.org:22/x.git",
    "ssh://git@my-host/x",
    "git@example.org:team/shop.git",
    "my-host.example.org:shop.git",
    "host:~/shop",
    "file:///srv/git/shop.git",
    "/srv/git/shop.git",
    "https://[::1]/x",
]
BAD_URLS = [
    "",
    "-h",
    "--upload-pack=touch /tmp/x",
    "-oProxyCommand=x",
    "ext::sh -c touch% /tmp/x",
    "ext::x",
    "fd::17",
    "fd::17/x",
    "http://example.org/x",
    "git://example.org/x",
    "ftp://example.org/x",
    "HTTPS://example.org/x",
    "ssh://-oProxyCommand=x/y",
    "ssh://user@-oProxyCommand=x/y",
    "ssh://-x@host/y",
    "https://-x/y",
    "-x@host:y",
    "user@-host:y",
    "-host:y",
    "host:-x",
    "host::x",
    "transport::https://example.org",
    "https://example.org/a b",
    "https://example.org/\n",
    "https://example.org/\0",
    "file:// /x",
    "relative/path",
    "./relative",
    "../x",
    "~/x",
    "C:\\x",
    "user@host",
    "https:/x",
    "https://" + "x" * 3000,
    "javascript:alert(1)",
    "$(touch x):y",
    "`x`:y",
    "a;b:c",
    "https://exa\u0301mple.org/\u2028",
]


@pytest.mark.parametrize("url", GOOD_URLS)
def test_urls_that_are_followed(url: str) -> None:
    check_url(url)
    assert "token" not in Remote(url).name


@pytest.mark.parametrize("url", BAD_URLS)
def test_urls_that_are_refused(url: str) -> None:
    with pytest.raises(Invalid):
        check_url(url)


@pytest.mark.parametrize("ref", ["main", "release/1.0", "v1.2+x", "refs/heads/main", "feature_x-1"])
def test_refs_that_are_followed(ref: str) -> None:
    check_ref(ref)


@pytest.mark.parametrize(
    "ref",
    (
        [
            "",
            "-x",
            "--upload-pack=x",
            "a..b",
            "a//b",
            "a/.b",
            "a/",
            "a.",
            "a.lock",
            "a@{1}",
            "a b",
            "a~1",
            "a^",
            "a:b",
            "*",
            "refs/*",
            "a\n",
            "a\0",
            "HEAD^{tree}",
            "$(x)",
            "x" * 300,
            "/a",
            ".a",
        ]
    ),
)
def test_refs_that_are_refused(ref: str) -> None:
    with pytest.raises(Invalid):
        check_ref(ref)


@pytest.mark.parametrize("path", ["..", "a/../b", "a//b", "./a", ".git", "a/.git/b", "a\0b", ".gitmodules"])
def test_paths_that_are_refused(path: str) -> None:
    with pytest.raises(Invalid):
        Remote("https://example.org/x", path=path)


def test_polling_too_often_is_refused() -> None:
    with pytest.raises(Invalid):
        Remote("https://example.org/x", poll_seconds=0.1)


def test_credentials_are_read_and_never_taken_out(tmp_path: Path) -> None:
    file = tmp_path / "git credentials"
    file.write_text("https://me:secret@git.example.org\n")
    asked = "protocol=https\nhost=git.example.org\n\n"
    said = "protocol=https\nhost=git.example.org\nusername=me\npassword=secret\n\n"

    def credential(verb: str, text: str) -> str:
        options = [*OPTIONS.split(), *credential_options(file)]
        words = ["git", *options, "credential", verb]
        environment = os.environ | {"GIT_TERMINAL_PROMPT": "0", "GIT_CONFIG_GLOBAL": "/dev/null"}
        return subprocess.run(
            words, input=text, env=environment, text=True, check=True, stdout=subprocess.PIPE
        ).stdout

    assert "password=secret" in credential("fill", asked)
    credential("reject", said)
    credential("approve", said.replace("secret", "other"))
    assert file.read_text() == "https://me:secret@git.example.org\n"
    with pytest.raises(Invalid, match="a ' in a path"):
        Remote("https://git.example.org/x", credentials=Path("/etc/it's"))
