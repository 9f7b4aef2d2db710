"""D: what a hostile Dockerfile, context or base image tries on the host that builds it."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import hashlib
import http.server
import io
import json
import os
import tarfile
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from runtime.builds import new_id
from runtime.engine import NativeEngine
from runtime.errors import Conflict, Invalid, NotFound, SetpointError
from runtime.images.build import http as fetching
from runtime.images.build import paths, stubs
from runtime.images.build.order import BuildOrder
from runtime.layout import Layout
from tests.kernel.build.building import build, tree_of, write
from tests.native import native_engine

CANARY = "canary-of-the-host"
SECRET = "s3cret-canary-7f1c"
RACES = 500


@pytest.fixture
async def engine(instance: Layout, busybox_archive: Path) -> AsyncIterator[NativeEngine]:
    async with native_engine(instance, busybox_archive) as engine:
        yield engine


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A directory of the host that no build may see or change."""
    return write(
        tmp_path / "outside", {"file": CANARY, "dir/inner": CANARY, "passwd": "eve:x:0:0::/:/bin/sh\n"}
    )


def untouched(outside: Path) -> None:
    assert {str(p.relative_to(outside)) for p in outside.rglob("*")} == {"file", "dir", "dir/inner", "passwd"}
    assert (outside / "file").read_text() == (outside / "dir/inner").read_text() == CANARY


# --- D1: mounts of RUN steps --------------------------------------------------------------------

D1 = (
    "RUN ln -s {out} /l\nFROM busybox\nRUN --mount=type=bind,from=0,source=/l,target=/m cat /m/file",
    "RUN ln -s {out} /l\nFROM busybox\nRUN --mount=type=bind,from=0,source=/l/file,target=/m cat /m",
    "RUN mkdir /d && ln -s ../../../../../../../..{out} /d/l\nFROM busybox\n"
    "RUN --mount=type=bind,from=0,source=/d/l,target=/m cat /m/file",
    "RUN --mount=type=bind,source=../outside,target=/m cat /m/file",
    "RUN --mount=type=bind,source=link,target=/m cat /m/file",
    "RUN --mount=type=bind,source=/../../..{out},target=/m cat /m/file",
    "RUN ln -s {out} /l && true\nFROM busybox\n"
    "RUN --mount=type=cache,id=c1,target=/m,from=0,source=/l cat /m/file",
    "RUN --mount=type=cache,id=../../../..{out},target=/m cat /m/file",
    "COPY --from=busybox /../../../../..{out}/file /x\nRUN cat /x",
    "RUN ln -s {out} /mnt/x\nRUN --mount=type=tmpfs,target=/mnt/x touch /mnt/x/new; cat /mnt/x/file",
    "RUN --mount=type=bind,target=/ctx,rw cat /ctx/link/file",
)


@pytest.mark.parametrize("steps", D1)
async def test_d1_no_mount_of_a_step_leads_to_the_host(
    engine: NativeEngine, tmp_path: Path, outside: Path, steps: str
) -> None:
    context = write(tmp_path / "context", {"x": "x"})
    (context / "link").symlink_to(outside)
    said = ""
    try:
        said = (await build(engine, context, f"FROM busybox\n{steps.format(out=outside)}\n")).output
    except SetpointError as error:
        said = error.built.output  # type: ignore[attr-defined]
    assert CANARY not in said
    untouched(outside)


async def test_d1_a_link_in_the_place_of_a_stub_removes_no_file(
    engine: NativeEngine, tmp_path: Path, outside: Path
) -> None:
    """CVE-2024-23652: the step puts a link where its mount's place was, or a directory above it."""
    (outside / "file").write_bytes(b"")
    text = (
        "FROM busybox\nRUN --mount=type=tmpfs,target=/stub/a/file "
        f"umount /stub/a/file; rm -rf /stub/a && ln -s {outside} /stub/a; true\n"
    )
    with contextlib.suppress(SetpointError):
        await build(engine, None, text)
    assert (outside / "file").exists()


def test_d1_stubs_are_removed_in_the_upper_directory_alone(tmp_path: Path, outside: Path) -> None:
    (outside / "file").write_bytes(b"")
    (outside / "empty").mkdir()
    upper, below = (
        write(tmp_path / "upper", {"kept/": "", "mine/full": "x"}),
        write(tmp_path / "below", {"a/": ""}),
    )
    (upper / "link").symlink_to(outside)
    write(upper, {"stub/": "", "gone/deeper/file": ""})
    root = os.open(below, os.O_RDONLY)
    try:
        targets = ["/link/file", "/link/empty", "/stub", "/gone/deeper/file", "/mine/full", "/../stub"]
        stubs.remove_stubs(upper, root, targets)
    finally:
        os.close(root)
    assert (outside / "file").exists() and (outside / "empty").is_dir()
    assert not (upper / "stub").exists() and not (upper / "gone").exists()
    assert (upper / "mine/full").exists() and (upper / "kept").is_dir()


def test_d1_a_directory_that_turns_into_a_link_is_not_followed(tmp_path: Path, outside: Path) -> None:
    """The race of CVE-2024-23651, 500 times: what was looked up is exchanged before it is opened."""
    root = write(tmp_path / "root", {"d/file": "mine"})
    (root / "l").symlink_to(outside)
    stop = threading.Event()

    def exchange() -> None:
        while not stop.is_set():
            os.rename(root / "d", root / "t")
            os.rename(root / "l", root / "d")
            os.rename(root / "d", root / "l")
            os.rename(root / "t", root / "d")

    racer = threading.Thread(target=exchange)
    racer.start()
    opened = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for _ in range(RACES):
            with contextlib.suppress(OSError):
                descriptor = paths.open_file(opened, paths.real_path(opened, "d/file"))
                assert os.read(descriptor, 100) == b"mine"
                os.close(descriptor)
    finally:
        stop.set()
        racer.join()
        os.close(opened)


def test_d1_what_turned_into_a_link_after_it_was_looked_up_is_refused(tmp_path: Path, outside: Path) -> None:
    root = write(tmp_path / "root", {"d/file": "mine"})
    opened = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        parts = paths.real_path(opened, "d/file")
        (root / "d").rename(root / "gone")
        (root / "d").symlink_to(outside)
        with pytest.raises(OSError, match="openat2"):
            os.close(paths.open_file(opened, parts))
        with pytest.raises(NotADirectoryError):
            os.close(paths.make_directories(opened, ("d", "new"), 0o755, lambda descriptor: None))
    finally:
        os.close(opened)
    untouched(outside)


def test_d1_a_link_in_the_image_is_the_images(tmp_path: Path, outside: Path) -> None:
    """An absolute link is one from the root that it lies in, never from the host's."""
    root = write(tmp_path / "root", {"etc/passwd": "mine"})
    (root / "l").symlink_to(outside / "file")
    (root / "p").symlink_to("/etc/passwd")
    opened = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        assert paths.real_path(opened, "p") == ("etc", "passwd")
        assert ".." not in paths.real_path(opened, "l")
        assert paths.status(opened, paths.real_path(opened, "l")) is None
    finally:
        os.close(opened)


async def test_d1_a_step_gets_no_more_rights_than_a_container(engine: NativeEngine) -> None:
    for flag in ("--security=insecure", "--network=host", "--device=/dev/null"):
        with pytest.raises(Invalid):
            await build(engine, None, f"FROM busybox\nRUN {flag} true\n")
    text = (
        "FROM busybox\nRUN mount -t tmpfs none /mnt 2>/dev/null && echo MOUNTED; "
        "mknod /x b 8 0 && cat /x >/dev/null 2>&1 && echo READ; grep CapEff /proc/self/status\n"
    )
    said = (await build(engine, None, text)).output
    assert "MOUNTED" not in said and "READ" not in said and "00000000a80425fb" in said


# --- D3: what ADD fetches -----------------------------------------------------------------------


class _Server(http.server.BaseHTTPRequestHandler):
    """/file is content, /to?URL redirects there, /cut breaks off."""

    def do_GET(self) -> None:
        if self.path.startswith("/to?"):
            self.send_response(302)
            self.send_header("Location", self.path[4:])
            self.end_headers()
            return
        body = b"fetched"
        self.send_response(200 if self.path in ("/file", "/cut") else 404)
        self.send_header("Content-Length", str(len(body) + (self.path == "/cut")))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    served = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Server)
    thread = threading.Thread(target=served.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{served.server_address[1]}"
    served.shutdown()
    served.server_close()
    thread.join()


URLS = (
    "file:///etc/passwd", "ftp://host/file", "http://127.0.0.1:1/file", "http://localhost:1/file",
    "http://[::1]:1/file", "http://0.0.0.0:1/", "http://169.254.169.254/latest/meta-data/",
    "http://[fe80::1]/x", "http://[::ffff:127.0.0.1]:1/", "http://2130706433:1/", "http://0x7f000001:1/",
    "http://127.1:1/file", "http://[::ffff:169.254.169.254]/", "http://224.0.0.1/", "http:///nohost",
    "gopher://127.0.0.1/", "http://127.0.0.1:99999/", "https://127.0.0.1:1/file",
)  # fmt: skip


@pytest.mark.parametrize("url", URLS)
def test_d3_nothing_of_this_machine_is_fetched(tmp_path: Path, url: str) -> None:
    with pytest.raises(Invalid):
        fetching.fetch_file(url, "x", tmp_path / "place", "", reaches_host=False)
    assert not (tmp_path / "place").exists()


def test_d3_no_redirect_leads_from_the_world_to_a_private_network() -> None:
    private = fetching._plain("10.0.0.1")
    assert fetching._why_not(private, may_be_private=True, reaches_host=False) == ""
    assert "redirect" in fetching._why_not(private, may_be_private=False, reaches_host=True)
    loopback = fetching._plain("127.0.0.1")
    assert fetching._why_not(loopback, may_be_private=False, reaches_host=True)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/to?file:///etc/passwd", "not an http"), ("/to?http://169.254.169.254/", "no address"),
        ("/cut", "cut off"), ("/nothing", "404"),
    ],
)  # fmt: skip
def test_d3_redirects_and_cuts(server: str, tmp_path: Path, path: str, reason: str) -> None:
    with pytest.raises(SetpointError, match=reason):
        fetching.fetch_file(f"{server}{path}", "x", tmp_path / "place", "", reaches_host=True)


async def test_d3_a_checksum_is_held_to(engine: NativeEngine, server: str, tmp_path: Path) -> None:
    digest = "sha256:" + hashlib.sha256(b"fetched").hexdigest()
    text = f"FROM scratch\nADD --checksum={{}} {server}/file /here/\n"
    built = await build(engine, None, text.format(digest), network="host")
    mode, uid, *_ = tree_of(engine, built.found, tmp_path / "root")["here/file"]
    assert (mode, uid) == ("0o100600", 0)
    with pytest.raises(Invalid, match="it has the digest"):
        await build(engine, None, text.format("sha256:" + "0" * 64), network="host")


# --- D4: out of the context -----------------------------------------------------------------------

D4 = (
    "COPY link/file /x", "COPY link /x", "COPY up /x", "COPY abs /x", "COPY dir/up/file /x",
    "COPY ../outside/file /x", "COPY /../../outside/file /x", "COPY l* /x/", "COPY */up/file /x/",
    "ADD link/file /x", "COPY --parents link/file /x/", "COPY --parents ./dir/./up/file /x/",
    "COPY --link link/file /x", "COPY loop /x", "COPY proc/self/environ /x",
)  # fmt: skip


@pytest.mark.parametrize("step", D4)
async def test_d4_nothing_outside_of_the_context_is_copied(
    engine: NativeEngine, tmp_path: Path, outside: Path, step: str
) -> None:
    context = write(tmp_path / "context", {"x": "x", "dir/y": "y"})
    (context / "link").symlink_to(outside)
    (context / "abs").symlink_to(outside / "file")
    (context / "up").symlink_to("../outside/file")
    (context / "dir/up").symlink_to("../../outside")
    (context / "loop").symlink_to("loop")
    (context / "proc").symlink_to("/proc")
    try:
        built = await build(engine, context, f"FROM scratch\n{step}\n")
    except SetpointError:
        return
    sha = hashlib.sha256(CANARY.encode()).hexdigest()
    assert sha not in str(tree_of(engine, built.found, tmp_path / "root"))


def test_d4_a_path_above_the_context_is_the_contexts_top(tmp_path: Path) -> None:
    opened = os.open(write(tmp_path / "root", {"d/file": ""}), os.O_RDONLY | os.O_DIRECTORY)
    try:
        assert paths.real_path(opened, "../../d/../../d/./file") == ("d", "file")
    finally:
        os.close(opened)


@pytest.mark.parametrize("name", ["Dockerfile", ".dockerignore", "Dockerfile.dockerignore"])
async def test_d4_the_files_that_steer_are_the_contexts(
    engine: NativeEngine, tmp_path: Path, outside: Path, name: str
) -> None:
    (outside / "passwd").write_text("FROM scratch\nLABEL it=leaked\n")
    context = write(tmp_path / "context", {"a": "a"})
    if name != "Dockerfile":
        write(context, {"Dockerfile": "FROM scratch\nCOPY . /\n"})
    (context / name).symlink_to(outside / "passwd")
    with contextlib.suppress(SetpointError):
        built = await build(engine, context)
        assert "it" not in built.found.labels and "a" in tree_of(engine, built.found, tmp_path / "root")


async def test_d4_what_would_block_or_is_no_file_is_not_opened(engine: NativeEngine, tmp_path: Path) -> None:
    context = write(tmp_path / "context", {"x": "x"})
    os.mkfifo(context / "Dockerfile")
    with pytest.raises(Invalid, match="not a regular file"):
        await asyncio.wait_for(build(engine, context), 30)
    (context / "Dockerfile").unlink()
    os.mknod(context / "device", 0o600 | 0o060000, os.makedev(8, 0))
    with pytest.raises(Invalid, match="a device"):
        await build(engine, context, "FROM scratch\nCOPY . /\n")


def _hostile_tar(name: str, link: str = "") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        info = tarfile.TarInfo(name)
        if link:
            info.type, info.linkname = tarfile.SYMTYPE, link
            tar.addfile(info)
            info = tarfile.TarInfo(f"{name}/file")
        info.size = 4
        tar.addfile(info, io.BytesIO(b"evil"))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "link"), [("../file", ""), ("d/../../file", ""), ("l", "{out}"), ("/l", "../outside")]
)
async def test_d4_no_archive_writes_outside(
    engine: NativeEngine, tmp_path: Path, outside: Path, name: str, link: str
) -> None:
    data = _hostile_tar(name, link.format(out=outside))
    context = write(tmp_path / "context", {"a.tar": data})
    with contextlib.suppress(SetpointError):
        await build(engine, context, "FROM scratch\nADD a.tar /x/\n")
    (tmp_path / "context.tar").write_bytes(data)
    order = BuildOrder(
        new_id(), "tar", str(tmp_path / "context.tar"), dockerfile_text="FROM scratch\nCOPY . /\n"
    )
    with contextlib.suppress(SetpointError):
        await engine.builds.run(order, lambda event: None)
    untouched(outside)


# --- D5: secrets ----------------------------------------------------------------------------------


async def test_d5_a_secret_leaves_no_trace(engine: NativeEngine, tmp_path: Path) -> None:
    """In no layer, no history, no log, no cache, no record; also when the step prints it, or fails."""
    text = """\
FROM busybox
RUN --mount=type=secret,id=token test "$(cat /run/secrets/token)" = "$(cat /run/secrets/token)" && cat /run/secrets/token
RUN --mount=type=secret,id=token,env=TOKEN,target=/deep/secret test -n "$TOKEN" && echo "said: $TOKEN"
RUN --mount=type=secret,id=token cp /run/secrets/token /tmp/x && rm /tmp/x
"""  # noqa: E501
    await build(engine, None, text, secrets={"token": SECRET.encode()}, tags=("lab/x:1",))
    with pytest.raises(Invalid):
        await build(
            engine, None, text + "RUN --mount=type=secret,id=token,env=T echo $T; exit 1\n",
            secrets={"token": SECRET.encode()},
        )  # fmt: skip
    for root in (engine.layout.data, engine.layout.run):
        for path in root.rglob("*"):
            if path.is_file() and not path.is_symlink():
                assert SECRET.encode() not in path.read_bytes(), path
    image = engine.image("lab/x:1")
    assert image is not None
    names = tree_of(engine, image, tmp_path / "root").keys()
    assert not {"run/secrets", "deep", "tmp/x"} & names


async def test_d5_a_secret_of_several_lines_is_not_told_line_by_line(engine: NativeEngine) -> None:
    key = f"-----BEGIN KEY-----\n{SECRET}-1\n{SECRET}-2\n"
    loop = 'while read l; do echo "<$l>"; done'
    text = f"FROM busybox\nRUN --mount=type=secret,id=key cat /run/secrets/key | {loop}\n"
    said = (await build(engine, None, text, secrets={"key": key.encode()})).output
    assert SECRET not in said and said.count("<***>") == 3


# --- C4: the cache ---------------------------------------------------------------------------------


async def test_c4_a_pulled_image_is_never_taken_for_what_was_built(
    engine: NativeEngine, tmp_path: Path
) -> None:
    """An image whose history says that it is what this Dockerfile makes, with another layer in its place."""
    from tests.unit.images import craft

    text = "FROM scratch\nCOPY x /x\n"
    context = write(tmp_path / "context", {"x": "mine"})
    layer = craft.tar(craft.entry("x", b"evil"))
    config = json.loads(craft.config([layer]))
    config["history"] = [{"created_by": "COPY x /x"}]
    document = json.dumps(config).encode()
    packed = gzip.compress(layer, 1, mtime=0)
    manifest = craft.manifest(document, [packed])
    found = craft.layout(craft.index(craft.manifest_entry(manifest, "forged:1")), document, manifest, packed)
    engine.images.load(craft.write_tar(tmp_path / "forged.tar", found))
    built = await build(engine, context, text, tags=("mine:1",))
    assert built.ended("done") == ["COPY x /x"]
    sha = hashlib.sha256(b"evil").hexdigest()
    assert sha not in str(tree_of(engine, built.found, tmp_path / "root"))


@pytest.mark.parametrize("damage", ["cut", "garbage", "other layer"])
async def test_c4_a_damaged_entry_is_a_miss(engine: NativeEngine, tmp_path: Path, damage: str) -> None:
    context = write(tmp_path / "context", {"x": "mine"})
    text = "FROM scratch\nCOPY x /x\n"
    await build(engine, context, text)
    for path in (engine.layout.images / "build-cache").iterdir():
        data = json.loads(path.read_bytes())
        if not data.get("layer"):
            continue
        data["layer"]["digest"] = "sha256:" + "0" * 64
        path.write_text({"cut": "", "garbage": "[[", "other layer": json.dumps(data)}[damage])
    assert (await build(engine, context, text)).ended("done") == ["COPY x /x"]


async def test_c4_what_the_cache_holds_is_no_garbage_and_what_it_forgot_is(
    engine: NativeEngine, tmp_path: Path
) -> None:
    from runtime.images.build.cache import Cache
    from runtime.images.index import locked

    context = write(tmp_path / "context", {"x": "mine"})
    text = "FROM scratch\nCOPY x /x\n"
    await build(engine, context, text, tags=("lab/x:1",))
    await engine.remove_image("lab/x:1")
    assert (await build(engine, context, text, tags=("lab/x:1",))).ended("cached") == ["COPY x /x"]
    with contextlib.suppress(Conflict, NotFound):
        await engine.remove_image("lab/x:1")
    with locked(engine.layout.images):
        assert Cache(engine.layout.images).prune() > 0
    engine.images.remove_litter(in_use=())
    assert (await build(engine, context, text)).ended("done") == ["COPY x /x"]
