"""Builds on the real engine: what a Dockerfile says is what its image is, and no step is run for nothing."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

from agent.checker.leaked import find_leaked
from agent.checker.seen import look
from runtime.build_recipe import BUILT
from runtime.build_steps import LABEL, NETWORK, StepLimits
from runtime.builds import new_id
from runtime.engine import NativeEngine
from runtime.errors import Invalid, NotFound, Unsupported
from runtime.images.build.order import BuildOrder
from runtime.images.compose import read_config
from tests.kernel.build.building import build, root_of, tree_of, write
from tests.native import PATIENCE_SECONDS, config_of, ended, run, until

DOCKERFILE = """\
FROM busybox
ENV GREETING="hello there" N=1
WORKDIR /srv/app
COPY greeting.txt files/ ./
RUN echo "$GREETING $N" > said && cat greeting.txt >> said
USER 1000:1001
LABEL made.by=test
EXPOSE 80
ENTRYPOINT ["cat"]
CMD ["said"]
"""
FILES = {"greeting.txt": "from the context\n", "files/inner/one": "1\n"}


@pytest.fixture
def context(tmp_path: Path) -> Path:
    return write(tmp_path / "context", FILES)


async def test_an_image_is_built_and_runs(engine: NativeEngine, context: Path) -> None:
    built = await build(engine, context, DOCKERFILE, tags=("lab/app:1", "lab/app:latest"))
    image = built.found
    assert set(image.names) == {"lab/app:1", "lab/app:latest"}
    assert (image.entrypoint, image.command, image.user) == (("cat",), ("said",), "1000:1001")
    assert image.environment[-2:] == ("GREETING=hello there", "N=1")
    assert image.labels["made.by"] == "test" and image.exposed_ports == ("80/tcp",)
    config = config_of(engine, "app")
    await run(engine, type(config)(id=config.id, name="app", image=image.id, sandbox=config.sandbox))
    assert (await ended(engine, config.id)).exit_code == 0
    log = (engine.log_directory(config.id) / "log").read_text()
    assert "hello there 1" in log and "from the context" in log
    await engine.delete(config.id)


async def test_a_rebuild_with_nothing_changed_runs_no_step(engine: NativeEngine, context: Path) -> None:
    first = await build(engine, context, DOCKERFILE, tags=("lab/app:1",))
    os.utime(context / "greeting.txt", (1, 1))  # no time counts
    before = set(engine.layout.images.rglob("*"))
    second = await build(engine, context, DOCKERFILE, tags=("lab/app:1",))
    assert len(first.ended("done")) == 3 and not first.ended("cached")
    assert second.ended("done") == [] and len(second.ended("cached")) == 3
    assert second.found.id == first.found.id
    assert set(engine.layout.images.rglob("*")) == before


@pytest.mark.parametrize(
    ("name", "content", "again"),
    [("greeting.txt", "another\n", 2), ("files/inner/one", "2\n", 2), ("unused", "x", 0)],
)
async def test_only_what_changed_and_what_follows_is_built_again(
    engine: NativeEngine, context: Path, name: str, content: str, again: int
) -> None:
    await build(engine, context, DOCKERFILE)
    write(context, {name: content})
    second = await build(engine, context, DOCKERFILE)
    assert len(second.ended("done")) == again


async def test_a_label_or_a_command_makes_nothing_anew(engine: NativeEngine, context: Path) -> None:
    first = await build(engine, context, DOCKERFILE)
    second = await build(engine, context, DOCKERFILE.replace("made.by=test", "made.by=another"))
    assert not second.ended("done") and second.found.id != first.found.id
    assert second.found.layers == first.found.layers


async def test_no_cache_runs_all(engine: NativeEngine, context: Path) -> None:
    await build(engine, context, DOCKERFILE)
    assert len((await build(engine, context, DOCKERFILE, no_cache=True)).ended("done")) == 3


STAGES = """\
FROM busybox AS one
RUN {wait} one two && echo 1 > /one
FROM busybox AS two
RUN {wait} two one && echo 2 > /two
FROM busybox AS never
RUN false
FROM scratch AS empty
COPY --from=two /two /
FROM busybox
COPY --from=one /one /
COPY --from=empty / /from-empty/
"""


async def test_stages_run_side_by_side_and_only_those_that_are_needed(
    engine: NativeEngine, tmp_path: Path
) -> None:
    meet = "--mount=type=cache,target=/meet,id=meet"
    loop = "for i in $(seq 600); do test -e /meet/%s && break; sleep 0.1; done; test -e /meet/%s"
    text = STAGES
    for mine, other in (("one", "two"), ("two", "one")):
        text = text.replace(
            f"RUN {{wait}} {mine} {other} &&", f"RUN {meet} touch /meet/{mine}; {loop % (other, other)} &&"
        )
    built = await build(engine, None, text)
    assert not any("false" in step for step in built.texts.values())
    tree = tree_of(engine, built.found, tmp_path / "root")
    assert {"one", "from-empty", "from-empty/two"} <= tree.keys()
    assert "meet" not in tree and "two" not in tree


async def test_target_arguments_and_labels(engine: NativeEngine) -> None:
    text = "FROM busybox AS first\nARG V=1\nRUN echo v=$V\nFROM first\nRUN false\n"
    built = await build(engine, None, text, target="first", arguments={"V": "2"}, labels={"a": "b"})
    assert built.output == "v=2" and built.found.labels == {"a": "b"}
    with pytest.raises(Invalid, match="nowhere"):
        await build(engine, None, text, target="nowhere")


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        ("RUN echo told; exit 3", "exit code 3"),
        ("COPY nothing /", "no such file"),
        ("RUN --mount=type=secret,id=token,required true", "was given none"),
        ("COPY --chown=nobody-here x /", "no user nobody-here"),
    ],
)
async def test_an_error_names_the_line(engine: NativeEngine, context: Path, step: str, reason: str) -> None:
    write(context, {"x": "x"})
    with pytest.raises((Invalid, NotFound)) as caught:
        await build(engine, context, f"FROM busybox\n\n# a comment\n{step}\n")
    assert "Dockerfile:4" in str(caught.value) and reason in str(caught.value)
    found = engine.builds.history.all()[0]
    assert found["state"] == "failed" and reason in found["error"]
    assert not engine.list()


async def test_what_was_done_before_an_error_is_kept(engine: NativeEngine) -> None:
    text = "FROM busybox\nRUN echo one > /one\nRUN test -e /sys/nothing"
    for how in ("done", "cached"):
        with pytest.raises(Invalid) as caught:
            await build(engine, None, text)
        assert caught.value.built.ended(how) == ["RUN echo one > /one"]  # type: ignore[attr-defined]


async def test_a_stage_that_fails_ends_the_others_and_is_what_is_told(engine: NativeEngine) -> None:
    text = """\
FROM busybox AS slow
RUN --mount=type=cache,target=/meet,id=meet touch /meet/slow; sleep 1000
FROM busybox AS wrong
RUN --mount=type=cache,target=/meet,id=meet \\
    for i in $(seq 600); do test -e /meet/slow && exit 9; sleep 0.1; done
FROM scratch
COPY --from=slow / /1/
COPY --from=wrong / /2/
"""
    with pytest.raises(Invalid, match="Dockerfile:4: RUN: the command ended with exit code 9"):
        await asyncio.wait_for(build(engine, None, text), PATIENCE_SECONDS * 5)
    assert not engine.list() and not list((engine.layout.images / "ingest").iterdir())


async def test_networks_and_limits_of_steps(engine: NativeEngine) -> None:
    text = (
        "FROM busybox\nRUN ip -o link | wc -l\nRUN --network=none ip -o link | wc -l\n"
        "RUN cd /sys/fs/cgroup; cat memory.max memory/memory.limit_in_bytes 2>/dev/null | head -n1\n"
    )
    order = BuildOrder(new_id(), dockerfile_text=text)
    said: list[str] = []
    limits = StepLimits(memory_bytes=64 << 20)
    await engine.builds.run(order, lambda e: said.append(str(e.get("text"))), limits)
    assert {"2", "1", str(64 << 20)} <= set(said)
    assert not engine.list_networks() and not engine.list()
    with pytest.raises(Invalid):
        await build(engine, None, "FROM busybox\nRUN --network=host true\n")
    with pytest.raises(Invalid):
        await build(engine, None, "FROM busybox\nRUN --security=insecure true\n")


async def test_a_build_that_nobody_waits_for_is_ended(engine: NativeEngine) -> None:
    said: list[object] = []
    order = BuildOrder(new_id(), dockerfile_text="FROM busybox\nRUN echo begun; sleep 1000\n")
    work = asyncio.ensure_future(engine.builds.run(order, said.append))
    await until(lambda: any("begun" in str(event) for event in said))
    assert [state.labels[LABEL] for state in engine.list()] == [order.id]
    work.cancel()
    await asyncio.wait({work}, timeout=PATIENCE_SECONDS)
    assert work.cancelled() and not engine.list() and not engine.list_networks()
    assert engine.builds.history.all()[0]["error"] == "cancelled"
    assert not list(engine.layout.run_builds.iterdir())


async def test_a_reproducible_build(engine: NativeEngine, context: Path) -> None:
    found = [await build(engine, context, DOCKERFILE, no_cache=True, epoch=1_000_000_000) for _ in range(2)]
    assert found[0].found.digest == found[1].found.digest
    config = read_config(engine.layout.images, found[0].found.id)
    assert config["created"] == "2001-09-09T01:46:40Z"


async def test_only_this_machine_is_built_for(engine: NativeEngine) -> None:
    with pytest.raises(Unsupported, match="this machine runs"):
        await build(engine, None, "FROM busybox\n", platform="linux/s390x")


async def test_history_logs_and_documents(engine: NativeEngine, context: Path) -> None:
    built = await build(engine, context, DOCKERFILE, tags=("lab/app:1",))
    found = engine.builds.history.find(built.id[:8])
    assert (found["state"], found["run"], found["tags"]) == ("done", 3, ["lab/app:1"])
    assert [event["kind"] for event in engine.builds.history.log(found["id"])][-1] == "end"
    config = read_config(engine.layout.images, built.found.id)
    made = [entry["created_by"] for entry in config["history"] if not entry.get("empty_layer")]
    assert len(made) == len(config["rootfs"]["diff_ids"]) == 4 and "RUN" in made[-1]
    assert json.dumps(config).count("greeting.txt") == 2  # in COPY's and RUN's history alone


async def test_mounts_of_a_step_leave_nothing_in_its_layer(
    engine: NativeEngine, context: Path, tmp_path: Path
) -> None:
    text = """\
FROM busybox
RUN --mount=type=bind,target=/ctx,rw --mount=type=cache,target=/deep/er/cache,mode=0700,uid=7 \\
    --mount=type=tmpfs,target=/tmp/mem --mount=type=secret,id=s,target=/etc/app/s --mount=type=bind,from=busybox,source=/bin,target=/bb \\
    cat /ctx/greeting.txt && echo gone > /ctx/greeting.txt && echo kept > /deep/er/cache/x && \\
    stat -c '%a %u' /deep/er/cache && ls /bb/sh && cat /etc/app/s && echo y > /tmp/mem/y
RUN --mount=type=cache,target=/deep/er/cache,mode=0700,uid=7 cat /deep/er/cache/x && echo z > /z
"""  # noqa: E501
    built = await build(engine, context, text, secrets={"s": b"hidden\n"})
    assert "from the context" in built.output and "kept" in built.output and "700 7" in built.output
    assert (context / "greeting.txt").read_text() == FILES["greeting.txt"]
    plain = tree_of(engine, (await build(engine, None, "FROM busybox\n")).found, tmp_path / "plain")
    tree = tree_of(engine, built.found, tmp_path / "root")
    assert tree.keys() - plain.keys() == {"z"}


async def test_a_tar_is_a_context(engine: NativeEngine, context: Path, tmp_path: Path) -> None:
    import tarfile

    write(
        context, {"Dockerfile": "FROM scratch\nCOPY . /all/\n", ".dockerignore": "files\n!files/inner/one\n"}
    )
    with tarfile.open(tmp_path / "context.tar.gz", "w:gz") as tar:
        tar.add(context, ".")
    order = BuildOrder(new_id(), "tar", str(tmp_path / "context.tar.gz"))
    image = await engine.builds.run(order, lambda event: None)
    with root_of(engine, image, tmp_path / "root") as root:
        names = {str(path.relative_to(root)) for path in root.rglob("*")}
    assert {"all/files/inner/one", "all/greeting.txt"} <= names


async def test_ignored_files_are_not_there(engine: NativeEngine, context: Path, tmp_path: Path) -> None:
    write(context, {"keep/a": "a", "keep/b.log": "b", "secret/key": "k", "x.log": "x"})
    write(
        context,
        {".dockerignore": "*.log\n**/*.log\nsecret\nDockerfile\n", "Dockerfile": "FROM scratch\nCOPY . /\n"},
    )
    built = await build(engine, context)
    tree = tree_of(engine, built.found, tmp_path / "root")
    assert {"keep", "keep/a", "greeting.txt"} <= tree.keys()
    assert not {"keep/b.log", "secret", "x.log", "Dockerfile"} & tree.keys()
    with pytest.raises(NotFound, match="dockerignore"):
        await build(engine, context, "FROM scratch\nCOPY secret/key /\n")


async def test_what_a_killed_agent_left_is_removed(engine: NativeEngine) -> None:
    """As the next agent finds it: a step's container, its network, the run directory and a history."""
    steps = engine.builds._steps
    await steps._make_network()
    id = new_id()
    busybox = engine.image("busybox")
    assert busybox is not None
    stack = engine.images.stack(busybox.id)
    step = {
        "step": 1, "argv": ["sleep", "1000"], "environment": {}, "secrets": {"TOKEN": "canary-of-a-secret"},
        "working_dir": "/", "user": "", "mounts": [], "network": "default", "lower": list(stack.lower),
        "root": list(stack.root),
    }  # fmt: skip
    running = asyncio.ensure_future(steps.run(id, step, StepLimits(), lambda stream, line: None))
    await until(lambda: any(state.phase == "running" for state in engine.list()))
    assert "canary-of-a-secret" not in "".join(
        path.read_text() for path in engine.layout.containers.rglob("container.json")
    )
    (engine.layout.run_builds / id).mkdir(parents=True)
    engine.builds.history.begin({"id": id}).end(state="running")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    found = {finding.subject for finding in find_leaked(look(engine.layout))}
    assert {f"container build-{id[:12]}-1", f"directory {engine.layout.run_builds / id}"} <= found
    await engine.builds.open()
    assert not list(find_leaked(look(engine.layout)))
    assert not engine.list() and all(network.name != NETWORK for network in engine.list_networks())
    assert not engine.layout.run_builds.exists()
    assert engine.builds.history.find(id)["error"].startswith("broken off")


async def test_what_manifests_build_is_not_kept_as_what_came_by_hand(engine: NativeEngine) -> None:
    """It can be built again; a name that a person gave it keeps it."""
    text = "FROM busybox\nLABEL n=1\n"
    built = await build(engine, None, text, tags=(f"{BUILT}:1",))
    assert {each.by_hand for each in engine.images.holdings() if each.id == built.found.id} == {""}
    await build(engine, None, text, tags=("mine:1",))
    assert {each.by_hand for each in engine.images.holdings() if each.id == built.found.id} == {"mine:1"}


async def test_an_ssh_agent_is_reached_from_a_step_alone(engine: NativeEngine, tmp_path: Path) -> None:
    """Its socket is there while the step runs, under the name that SSH_AUTH_SOCK has."""
    served = await asyncio.start_unix_server(_greet, tmp_path / "agent")
    text = (
        'FROM busybox\nRUN --mount=type=ssh test -S "$SSH_AUTH_SOCK"\nRUN test -z "$SSH_AUTH_SOCK"\n'
    )  # fmt: skip
    async with served:
        built = await build(engine, None, text, ssh={"default": str(tmp_path / "agent")})
        names = tree_of(engine, built.found, tmp_path / "root").keys()
        assert not {name for name in names if "ssh" in name or "buildkit" in name}
    with pytest.raises(Invalid, match="given no agent"):
        await build(engine, None, "FROM busybox\nRUN --mount=type=ssh,required true\n")


async def _greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()
