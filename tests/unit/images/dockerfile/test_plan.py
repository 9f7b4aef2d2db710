"""Which stages are built, in which order, with which variables."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.images.dockerfile.build_plan import BuildRequest, StagePlan
from runtime.images.dockerfile.image_config import ImageConfig
from runtime.images.dockerfile.plan import make_plan, missing_bases
from runtime.images.dockerfile.platforms import normal_platform
from runtime.images.dockerfile.problems import DockerfileInvalid
from runtime.images.dockerfile.stages import read_dockerfile
from runtime.images.dockerfile.steps import (
    FromContext,
    FromImage,
    FromStage,
    RunAction,
    Scratch,
    Script,
    Step,
    TransferAction,
    WorkdirAction,
)
from tests.unit.images.dockerfile.build import AMD, mistakes_of, plan_of, steps_of, target_of


def image(name: str, platform: str = AMD) -> FromImage:
    return FromImage(f"docker.io/library/{name}:latest", platform)


def environment(stage: StagePlan) -> dict[str, str]:
    return dict(stage.config.environment)


def run_of(step: Step) -> RunAction:
    assert isinstance(step.action, RunAction)
    return step.action


STAGES = """
FROM one AS a
RUN 0
FROM two AS b
COPY --from=a /x /y
FROM a AS c
RUN --mount=type=bind,from=three,target=/m --mount=type=cache,from=b,target=/n 1
FROM unused AS d
COPY --from=c . .
FROM c
COPY --from=0 x y
"""


@pytest.mark.parametrize(
    ("target", "built", "images"),
    [
        ("", [0, 1, 2, 4], ["one", "two", "three"]),
        ("a", [0], ["one"]),
        ("B", [0, 1], ["one", "two"]),
        ("d", [0, 1, 2, 3], ["one", "two", "three", "unused"]),
        ("2", [0, 1, 2], ["one", "two", "three"]),
    ],
)
def test_only_what_the_target_needs_is_built_and_each_after_what_it_needs(
    target: str, built: list[int], images: list[str]
) -> None:
    plan = plan_of(STAGES, target=target)
    assert [stage.index for stage in plan.stages] == built
    assert sorted(one.reference for one in plan.images) == sorted(image(name).reference for name in images)
    seen: set[int] = set()
    for stage in plan.stages:
        assert set(stage.needs) <= seen
        assert {index for step in stage.steps for index in step.needs} <= set(stage.needs)
        seen.add(stage.index)


def test_dependencies_are_of_the_stage_and_of_the_step() -> None:
    plan = plan_of(STAGES)
    assert [(stage.index, stage.base, stage.needs) for stage in plan.stages] == [
        (0, image("one"), ()), (1, image("two"), (0,)), (2, FromStage(0), (0, 1)), (4, FromStage(2), (0, 2)),
    ]  # fmt: skip
    assert plan.stages[2].steps[0].needs == (1,)
    assert plan.stages[3].steps[0].needs == (0,)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("FROM a AS a\nCOPY --from=a x y", "D:2:13: the stage a cannot take from itself"),
        ("FROM x\nCOPY --from=b x y\nFROM y AS b\nFROM 0", ""),
        ("FROM x AS t\nCOPY --from=b x y\nFROM y AS b\nFROM t", "D:2:13: the stage b comes later"),
        ("FROM x\nCOPY --from=0 x y", "the stage 0 cannot take from itself"),
        ("FROM x AS t\nCOPY --from=1 x y\nFROM t", "the stage 1 comes later"),
        ("FROM x\nCOPY --from=7 x y", "the stage 7 does not exist"),
        ("FROM x\nCOPY --from=$v x y", "--from takes no variable"),
        ("FROM x\nRUN --mount=from=$v,target=/x y", "from= takes no variable"),
        ("FROM x\nCOPY --from=../e x y", "'../e'"),
        ("FROM $x", "D:1:6: FROM '$x' is empty: x has no value"),
        ("FROM UPPER", "'UPPER': the name has upper-case letters (hint: write upper)"),
        ("FROM --platform=a/b/c/d x", "'a/b/c/d' is no platform"),
        ("FROM --platform=$x x", "is no platform"),
        ("ARG a=${b\nFROM x", "D:1: no } ends"),
        ("FROM x\nENV a=${b:?missing}", "D:2:7: b: missing"),
        ("FROM x\nRUN --network=host y", "the step asks for the host's network"),
        ("FROM x\nRUN --mount=target=. y", "a mount cannot be the root itself"),
        ("FROM x\nWORKDIR /src\nRUN --mount=target=. y", ""),
        ("FROM x\nRUN --mount=target=/a --mount=target=/a y", "two mounts at '/a'"),
        ("FROM x\nCOPY a $b", "the destination '' is empty"),
        ("FROM x\nCOPY $b a", "a source is empty"),
        ("FROM x\nRUN <<a/b\n#!/x\na/b", "'a/b' is no name for a script"),
    ],
)
def test_what_cannot_be_planned_is_told(text: str, told: str) -> None:
    mistakes = mistakes_of(text)
    assert (told in mistakes[0]) if told else mistakes == []


def test_mistakes_of_all_needed_stages_come_at_once() -> None:
    text = "FROM x AS a\nENV b=${c:?1}\nENV d=${e:?2}\nFROM a\nSTOPSIGNAL ${f:-nope}\n"
    assert [mistake.split(" ")[0] for mistake in mistakes_of(text)] == ["D:2:7:", "D:3:7:", "D:5:17:"]


def test_an_unknown_target_is_told_with_those_that_are() -> None:
    assert "did you mean build?" in mistakes_of("FROM x AS build\nFROM y", target="biuld")[0]
    assert "no named stages" in mistakes_of("FROM x", target="9")[0]


def test_a_wrong_letter_in_a_stages_name_is_remarked() -> None:
    plan = plan_of("FROM x AS builder\nFROM y\nCOPY --from=buidler a b\n")
    assert [str(remark.text) for remark in plan.remarks] == [
        "buidler is no stage, so it is an image: did you mean builder?"
    ]


def test_global_arguments_are_for_from_and_go_into_stages_by_name() -> None:
    text = "ARG A=1 B=${A}2\nARG C\nFROM i:$B\nENV x=$A$B\nARG A\nARG C=own\nENV y=$A$C\n"
    plan = plan_of(text)
    assert plan.stages[-1].base == FromImage("docker.io/library/i:12", AMD)
    assert {name: environment(plan.stages[-1])[name] for name in "xy"} == {"x": "", "y": "1own"}
    given = plan_of(text, arguments={"A": "9", "C": "8", "NO": "1", "HTTP_PROXY": "p"})
    assert given.stages[-1].base == FromImage("docker.io/library/i:92", AMD)
    assert environment(given.stages[-1])["y"] == "98"
    assert given.unused_arguments == ("NO",)


@pytest.mark.parametrize("value", ["x" * 131_073, "a\0b", "caf\udce9"])
def test_a_value_that_no_process_could_be_given_is_refused(value: str) -> None:
    assert "the build argument A" in mistakes_of("FROM x\nARG A\n", arguments={"A": value})[0]
    assert mistakes_of("FROM x\nARG B\n", arguments={"A": value}) == []


def test_the_later_of_env_and_arg_is_in_force_and_env_alone_stays_in_the_image() -> None:
    stage = target_of("FROM x\nARG a=1\nENV a=2 b=$a\nRUN r\nARG a=3\nENV c=$a\nRUN s")
    assert {name: environment(stage)[name] for name in "abc"} == {"a": "2", "b": "1", "c": "3"}
    first, second = (step for step in stage.steps if step.keyword == "RUN")
    assert "a=2" in run_of(first).environment and "a=3" in run_of(second).environment


def test_one_line_expands_with_what_was_before_it() -> None:
    assert environment(target_of("FROM x\nENV a=1\nENV a=2 b=$a"))["b"] == "1"
    assert environment(target_of("FROM x\nARG a=1 b=${a}2\nENV c=$b"))["c"] == "12"


def test_a_stage_goes_on_with_the_variables_of_the_stage_below() -> None:
    stage = target_of("FROM x AS a\nARG v=1\nENV e=2\nWORKDIR /w\nUSER u\nFROM a\nENV f=$v$e\nRUN r")
    assert environment(stage)["f"] == "12"
    run = run_of(stage.steps[-1])
    assert (run.working_dir, run.user) == ("/w", "u") and "v=1" in run.environment


def test_the_config_of_the_base_is_where_a_stage_begins() -> None:
    base = ImageConfig(  # noqa: S604
        environment=(("PATH", "/bin"), ("a", "1")), working_dir="/srv", user="web", shell=("/bin/ash", "-ec"),
        labels=(("l", "1"),), entrypoint=("e",), command=("c",),
    )  # fmt: skip
    stage = target_of(
        "FROM x\nWORKDIR sub\nRUN echo $a\nLABEL m=$a\nCOPY f .\n", {"x": base}, labels={"l": "2"}
    )
    run = run_of(stage.steps[1])
    assert (run.argv, run.user, run.working_dir) == (("/bin/ash", "-ec", "echo $a"), "web", "/srv/sub")
    assert run.environment == ("PATH=/bin", "a=1")
    assert stage.config.labels == (("l", "2"), ("m", "1"))
    copy = stage.steps[3].action
    assert isinstance(copy, TransferAction) and (copy.destination, copy.is_directory) == ("/srv/sub", True)
    assert stage.initial == base


def test_the_order_that_labels_are_asked_for_in_makes_no_other_image() -> None:
    one, other = (
        target_of("FROM x", labels=labels) for labels in ({"b": "1", "a": "2"}, {"a": "2", "b": "1"})
    )
    assert one.config.labels == other.config.labels == (("a", "2"), ("b", "1"))


def test_path_is_always_set() -> None:
    assert environment(target_of("FROM scratch"))["PATH"].startswith("/usr/local/sbin:")
    assert environment(target_of("FROM x"))["PATH"].startswith("/usr/local/sbin:")
    assert target_of("FROM scratch").config.working_dir == "/"


def test_platforms() -> None:
    text = "FROM --platform=$BUILDPLATFORM x AS b\nARG TARGETARCH TARGETVARIANT BUILDARCH\nRUN r\n"
    text += "FROM x\nCOPY --from=b a c\nCOPY --from=y a c\n"
    plan = plan_of(text, platform="linux/arm/v7")
    assert [stage.platform for stage in plan.stages] == [AMD, "linux/arm/v7"]
    assert set(plan.images) == {image("x", AMD), image("x", "linux/arm/v7"), image("y", "linux/arm/v7")}
    assert set(run_of(plan.stages[0].steps[-1]).environment) >= {
        "TARGETARCH=arm",
        "TARGETVARIANT=v7",
        "BUILDARCH=amd64",
    }


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("linux/amd64", AMD), ("LINUX/x86_64", AMD), ("amd64", AMD), ("linux/arm64/v8", "linux/arm64"),
        ("aarch64", "linux/arm64"), ("linux/arm", "linux/arm/v7"), ("armel", "linux/arm/v6"),
        ("linux/arm/v6", "linux/arm/v6"), ("linux/riscv64", "linux/riscv64"),
    ],
)  # fmt: skip
def test_platforms_have_one_spelling(written: str, normal: str) -> None:
    assert normal_platform(written) == normal


def test_triggers_of_a_base_run_first_and_may_need_another_stage() -> None:
    base = ImageConfig(on_build=("COPY --from=tools /t /t", "RUN make", "ENV made=1"))
    text = "FROM other AS tools\nFROM base AS b\nRUN own\nFROM c\n"
    plan = plan_of(text, {"base": base}, target="b")
    assert [stage.index for stage in plan.stages] == [0, 1]
    assert [(step.keyword, step.is_trigger, step.place.first) for step in plan.stages[1].steps] == [
        ("COPY", True, 2), ("RUN", True, 2), ("ENV", True, 2), ("RUN", False, 3),
    ]  # fmt: skip
    assert plan.stages[1].config.on_build == ()


def test_a_trigger_makes_the_plan_ask_for_one_more_base() -> None:
    dockerfile = read_dockerfile(b"FROM other AS tools\nFROM base\n")
    request = BuildRequest(AMD, AMD)
    assert missing_bases(dockerfile, request, {}) == (image("base"),)
    known = {image("base"): ImageConfig(on_build=("COPY --from=tools /t /t",))}
    assert missing_bases(dockerfile, request, known) == (image("other"),)
    with pytest.raises(KeyError):
        make_plan(dockerfile, request, known)


def test_triggers_of_a_stage_run_in_the_stages_on_it_and_once() -> None:
    plan = plan_of("FROM x AS a\nONBUILD RUN t\nFROM a AS b\nFROM b\n")
    assert [[step.keyword for step in stage.steps] for stage in plan.stages] == [["ONBUILD"], ["RUN"], []]
    assert plan.stages[0].config.on_build == ("RUN t",)


@pytest.mark.parametrize(
    "trigger", ["RUM x", "FROM x", "ONBUILD RUN x", "RUN a\nRUN b", "", "COPY a", "RUN 'a" + "b" * 70_000]
)
def test_a_bad_trigger_of_a_base_is_told_at_from(trigger: str) -> None:
    dockerfile = read_dockerfile(b"FROM x\nRUN y\n", "D")
    with pytest.raises(DockerfileInvalid) as caught:
        make_plan(dockerfile, BuildRequest(AMD, AMD), {image("x"): ImageConfig(on_build=(trigger,))})
    assert "D:1: the base's ONBUILD" in str(caught.value)


@pytest.mark.parametrize(
    ("body", "argv", "script"),
    [
        ("RUN a  b", ("/bin/sh", "-c", "a  b"), None),
        ('RUN ["a", "$b"]', ("a", "$b"), None),
        ("RUN <<E\na\nb\nE", ("/bin/sh", "-c", "a\nb\n"), None),
        ("RUN <<-E\n\ta\n\tE", ("/bin/sh", "-c", "a\n"), None),
        ("RUN <<'E' cat > x\n$a\nE", ("/bin/sh", "-c", "<<'E' cat > x\n$a\nE"), None),
        ("RUN cat <<-E <<F\n\ta\nE\nb\nF", ("/bin/sh", "-c", "cat <<-E <<F\n\ta\nE\nb\nF"), None),
        ("RUN <<E\n#!/bin/py\nx\nE", ("/dev/pipes/E",), Script("/dev/pipes/E", "#!/bin/py\nx\n")),
        ('SHELL ["/b", "-x"]\nRUN <<E\na\nE', ("/b", "-x", "a\n"), None),
        ("RUN a \\\n  && b", ("/bin/sh", "-c", "a   && b"), None),
    ],
)
def test_what_is_run(body: str, argv: tuple[str, ...], script: Script | None) -> None:
    run = run_of(steps_of(body)[-1])
    assert (run.argv, run.script) == (argv, script)


def test_network_and_proxies() -> None:
    run = run_of(steps_of("RUN x", network="none", arguments={"https_proxy": "p", "NO_PROXY": "n"})[0])
    assert run.network == "none"
    assert set(run.proxies) == {"HTTPS_PROXY=p", "https_proxy=p", "NO_PROXY=n", "no_proxy=n"}
    assert run_of(steps_of("RUN --network=host x", network="host")[0]).network == "host"
    assert run_of(steps_of("RUN --network=none x", network="host")[0]).network == "none"
    step = steps_of("RUN x", arguments={"HTTP_PROXY": "secret"})[0]
    assert "secret" not in str(step.history) + str(run_of(step).environment)


def test_only_what_docker_expands_is_expanded() -> None:
    text = """FROM scratch
ENV v=x
LABEL $v=$v
USER $v
WORKDIR /$v
VOLUME /$v
VOLUME ["/j$v"]
EXPOSE ${v:+80}
STOPSIGNAL ${v:+TERM}
CMD $v
ENTRYPOINT ["$v"]
HEALTHCHECK CMD $v
SHELL ["$v"]
ONBUILD RUN $v
MAINTAINER $v
COPY --chown=$v --chmod=${v:+600} --exclude=$v $v ${v}2 /$v/
COPY <<A <<'B' /$v/
$v
A
$v
B
RUN --mount=type=cache,id=$v,target=/$v [ $v ]
"""
    stage = target_of(text)
    config = stage.config
    assert dict(config.labels)["x"] == "x"
    assert (config.user, config.working_dir, config.volumes) == ("x", "/x", ("/x", "/jx"))
    assert (config.ports, config.stop_signal) == (("80/tcp",), "TERM")
    assert (config.command, config.entrypoint) == (("/bin/sh", "-c", "$v"), ("$v",))
    assert config.healthcheck is not None and config.healthcheck.test == ("CMD-SHELL", "$v")
    assert (config.shell, config.on_build, config.author) == (("$v",), ("RUN $v",), "$v")
    copy, inline, run = (step.action for step in stage.steps[-3:])
    assert (
        isinstance(copy, TransferAction) and isinstance(inline, TransferAction) and isinstance(run, RunAction)
    )
    assert (copy.owner, copy.mode, copy.exclude, copy.destination) == ("x", "600", ("x",), "/x")
    assert [getattr(source, "path") for source in copy.sources] == ["x", "x2"]  # noqa: B009
    assert [getattr(source, "content") for source in inline.sources] == ["x\n", "$v\n"]  # noqa: B009
    assert run.argv == ("$v", "[ $v ]")
    assert (getattr(run.mounts[0], "id"), run.mounts[0].target) == ("x", "/x")  # noqa: B009


def test_a_directory_is_made_for_workdir_but_the_root() -> None:
    first, second, third = steps_of("WORKDIR a/../b\nWORKDIR ../..\nWORKDIR /c/")
    assert (first.action, second.action, third.action) == (WorkdirAction("/b"), None, WorkdirAction("/c"))


def test_unset_variables_secrets_and_second_commands_are_remarked() -> None:
    plan = plan_of(
        "FROM x\nENV version=1\nENV a=$verison\nARG API_TOKEN\nENV DB_PASSWORD=x\nCMD a\nCMD b\nUSER $u\n"
    )
    assert [(remark.line, remark.text) for remark in plan.remarks] == [
        (3, "$verison is not set: did you mean version?"),
        (4, "API_TOKEN stays in the image's history: use RUN --mount=type=secret"),
        (5, "DB_PASSWORD stays in the image: use RUN --mount=type=secret"),
        (7, "a second CMD: only the last one counts"),
        (8, "$u is not set"),
        (8, "USER is empty, which is root"),
    ]


def test_scratch_and_the_context_are_origins() -> None:
    stage = target_of("FROM scratch\nCOPY a b\nCOPY --from=scratch a b\n")
    assert [getattr(step.action, "origin") for step in stage.steps] == [FromContext(), Scratch()]  # noqa: B009


LINES = st.lists(
    st.sampled_from(
        [
            "FROM x AS a", "FROM a AS b", "FROM scratch", "FROM b", "COPY --from=a x y", "COPY --from=0 x y",
            "RUN --mount=from=b,target=/m r", "ENV a=$b b=${a:-c}", "ARG a=1", "ONBUILD RUN x", "CMD x",
            "WORKDIR $a", "RUN <<E\nx\nE", "COPY <<E /x\n$a\nE", "USER ${a}", "# c", "ENTRYPOINT []",
        ]
    ),
    max_size=14,
)  # fmt: skip


@given(LINES, st.sampled_from(["", "a", "b", "0", "1"]))
def test_a_plan_is_always_in_order_and_always_the_same(lines: list[str], target: str) -> None:
    text = "\n".join(lines)
    try:
        plan = plan_of(text, target=target)
    except DockerfileInvalid as error:
        assert all(problem.line <= len(text.split("\n")) + 1 for problem in error.problems)
        return
    indexes = [stage.index for stage in plan.stages]
    assert indexes == sorted(set(indexes))
    assert all(set(stage.needs) <= {*indexes[:place]} for place, stage in enumerate(plan.stages))
    for stage in plan.stages:
        assert [step.before for step in stage.steps] == [
            stage.initial,
            *(step.after for step in stage.steps),
        ][:-1][: len(stage.steps)]
    assert plan == plan_of(text, target=target)
