"""A build's events in Docker's words, and in BuildKit's."""

from __future__ import annotations

from typing import Any

from agent.api.docker.build_cache import PruneWish, choose
from agent.api.docker.build_stream import DockerLines, quiet_done, tagged
from agent.api.docker.buildkit.vertexes import Progress
from agent.api.docker.buildkit.wire import Message
from runtime.errors import Invalid
from runtime.images.build.cache import Cached, CachedStep
from runtime.images.build.states import Layer
from runtime.model import ImageInfo

ID = "sha256:" + "ab" * 32
PLAN = {
    "kind": "plan",
    "stages": [
        {"stage": "base", "base": "docker.io/library/busybox:latest", "count": 2, "acts": [2]},
        {"stage": "1", "base": "stage 0", "count": 1, "acts": [1]},
    ],
}


def image() -> ImageInfo:
    return ImageInfo(**{**dict.fromkeys(ImageInfo.__dataclass_fields__), "id": ID})  # type: ignore[arg-type]


def step(number: int, stage: str, position: int, text: str) -> dict[str, Any]:
    return {"kind": "step", "step": number, "stage": stage, "position": position, "count": 9, "text": text}


def test_steps_are_numbered_as_they_stand() -> None:
    lines = DockerLines()
    assert not lines.is_begun
    assert list(lines.of(PLAN)) == []
    assert lines.is_begun
    said = [line["stream"] for event in (
        step(1, "base", 1, "ENV A=1"), step(2, "base", 2, "RUN make"),
        {"kind": "log", "step": 2, "stream": "stdout", "text": "out"},
        {"kind": "log", "step": 2, "stream": "stderr", "text": "err"},
        {"kind": "end", "step": 2, "how": "cached"}, step(3, "1", 1, "COPY a /"),
        {"kind": "remark", "line": 0, "text": "careful"},
    ) for line in lines.of(event)]  # fmt: skip
    assert said == [
        "Step 1/5 : FROM docker.io/library/busybox:latest\n", "Step 2/5 : ENV A=1\n", "Step 3/5 : RUN make\n",
        "out\n", "\x1b[91merr\n\x1b[0m", " ---> Using cache\n", "Step 4/5 : FROM stage 0\n",
        "Step 5/5 : COPY a /\n", " ---> [Warning] careful\n",
    ]  # fmt: skip


def test_the_end() -> None:
    lines = DockerLines()
    list(lines.of(PLAN))
    told = [*lines.done(image(), with_aux=True), *tagged(("lab/a:1",))]
    assert told[:2] == [
        {"stream": "Step 1/5 : FROM docker.io/library/busybox:latest\n"},
        {"stream": "Step 4/5 : FROM stage 0\n"},
    ]
    assert told[2:] == [
        {"aux": {"ID": ID}},
        {"stream": "Successfully built abababababab\n"},
        {"stream": "Successfully tagged lab/a:1\n"},
    ]
    assert {"aux": {"ID": ID}} not in list(lines.done(image(), with_aux=False))
    assert quiet_done(image()) == {"stream": f"{ID}\n"}


def test_a_command_that_failed_gives_its_exit_code() -> None:
    lines = DockerLines()
    list(lines.of(PLAN))
    list(lines.of(step(2, "base", 2, "RUN exit 3")))
    list(lines.of({"kind": "end", "step": 2, "how": "failed"}))
    error = Invalid("build", "Dockerfile:4: RUN", "the command ended with exit code 3", "its output is above")
    said = "Dockerfile:4: The command 'exit 3' returned a non-zero code: 3"
    assert lines.failed(error) == {"errorDetail": {"code": 3, "message": said}, "error": said}


def test_another_error_has_its_line_and_no_code() -> None:
    error = Invalid("build", "Dockerfile:2: COPY", "there is no such file")
    said = "build Dockerfile:2: COPY: there is no such file"
    assert DockerLines().failed(error) == {"errorDetail": {"message": said}, "error": said}


# --- BuildKit's ---------------------------------------------------------------------------------------


def names(data: bytes) -> list[str]:
    return [vertex.text(3) for vertex in Message(data).messages(1)]


def test_vertexes_are_the_steps_that_change_files() -> None:
    progress = Progress("ref", lambda: 100.25)
    assert names(progress.of(PLAN)) == ["[base 1/2] FROM docker.io/library/busybox:latest"] * 2
    assert progress.of(step(1, "base", 1, "ENV A=1")) == b""
    assert names(progress.of(step(2, "base", 2, "RUN make"))) == ["[base 2/2] RUN make"]
    [log] = Message(progress.of({"kind": "log", "step": 2, "stream": "stderr", "text": "err"})).messages(3)
    assert (log.whole(3), log.blob(4)) == (2, b"err\n")
    assert (log.message(2).whole(1), log.message(2).whole(2)) == (100, 250_000_000)
    [vertex] = Message(progress.of({"kind": "end", "step": 2, "how": "cached"})).messages(1)
    assert vertex.flag(4) and vertex.has(6)
    assert vertex.text(1) == log.text(1)  # the digest ties them
    assert names(progress.of(step(3, "1", 1, "COPY a /"))) == ["[stage-1 2/2] COPY a /"]


def test_an_error_is_told_on_all_that_had_begun() -> None:
    progress = Progress("ref", lambda: 1.0)
    progress.of(PLAN)
    progress.of(step(2, "base", 2, "RUN make"))
    assert progress.of({"kind": "end", "step": 2, "how": "failed"}) == b""
    [vertex] = Message(progress.fail("no")).messages(1)
    assert (vertex.text(3), vertex.text(7)) == ("[base 2/2] RUN make", "no")
    assert progress.fail("no") == b""


def test_remarks_are_warnings_of_a_vertex_that_is_there() -> None:
    progress = Progress("ref", lambda: 1.0)
    [begun] = Message(progress.begin("[internal] load build definition from Dockerfile")).messages(1)
    [warning] = Message(progress.of({"kind": "remark", "line": 3, "text": "careful"})).messages(4)
    assert (warning.text(1), warning.blob(3)) == (begun.text(1), b"careful (line 3)")


# --- what a prune takes -------------------------------------------------------------------------------


def kept(key: str, used_at: float, size: int) -> CachedStep:
    layer = Layer("sha256:d", "sha256:d", size, "", "sha256:d") if size else None
    return CachedStep(key, used_at, Cached(layer, ""))


STEPS = [kept("aa", 10.0, 100), kept("bb", 30.0, 100), kept("ab", 20.0, 0)]


def test_a_prune_takes_all_the_oldest_first() -> None:
    assert choose(STEPS, PruneWish(), 40.0) == ("aa", "ab", "bb")


def test_what_was_used_lately_stays() -> None:
    assert choose(STEPS, PruneWish(unused_seconds=15.0), 40.0) == ("aa", "ab")


def test_the_newest_stay_up_to_a_size() -> None:
    assert choose(STEPS, PruneWish(keep_bytes=100), 40.0) == ("aa",)
    assert choose(STEPS, PruneWish(keep_bytes=99), 40.0) == ("aa", "ab", "bb")
    assert choose(STEPS, PruneWish(keep_bytes=200), 40.0) == ()


def test_one_by_the_beginning_of_its_key() -> None:
    assert choose(STEPS, PruneWish(id="a"), 40.0) == ("aa", "ab")
