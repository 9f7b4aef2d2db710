"""Containers from start to exit, as the supervisor has them."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from runtime.engine import NativeEngine
from runtime.errors import Conflict, Invalid, NotFound, SetpointError
from tests.leaks import descendants
from tests.native import config_of, ended, id_of, output, records, run, shell, supervisor_pid, until


async def test_exit_codes_and_both_streams(engine: NativeEngine) -> None:
    config = shell(engine, "one", "echo out; echo err >&2; exit 42")
    await run(engine, config)
    state = await ended(engine, config.id)
    assert (state.exit_code, state.pid, state.oom_killed) == (42, None, False)
    assert state.started_at and state.finished_at and state.finished_at >= state.started_at
    assert output(engine, config.id) == b"out\n"
    assert output(engine, config.id, "stderr") == b"err\n"


async def test_a_signal_ends_it_with_128_and_its_number(engine: NativeEngine) -> None:
    config = shell(engine, "one", "trap 'exit 9' USR1; while :; do sleep 0.01; done")
    await run(engine, config)
    await engine.signal(config.id, "SIGKILL")
    assert (await ended(engine, config.id)).exit_code == 137


async def test_a_handled_signal(engine: NativeEngine) -> None:
    config = shell(engine, "one", "trap 'exit 9' USR1; echo ready; while :; do sleep 0.01; done")
    await run(engine, config)
    await until(lambda: output(engine, config.id))
    await engine.signal(config.id, "USR1")
    assert (await ended(engine, config.id)).exit_code == 9


async def test_it_starts_again_with_its_writable_layer(engine: NativeEngine) -> None:
    config = shell(engine, "one", "echo x >>/count; wc -l </count; exit 3")
    await run(engine, config)
    await ended(engine, config.id)
    await engine.start(config.id)
    await ended(engine, config.id)
    assert output(engine, config.id).split() == [b"1", b"2"]


@pytest.mark.parametrize(
    ("command", "kind"),
    [(("/missing",), SetpointError), (("/etc",), SetpointError)],
)
async def test_a_program_that_cannot_run_is_an_error_and_leaves_nothing(
    engine: NativeEngine, command: tuple[str, ...], kind: type[Exception]
) -> None:
    config = config_of(engine, "one", *command)
    await engine.create(config)
    with pytest.raises(kind) as caught:
        await engine.start(config.id)
    assert command[0] in str(caught.value)
    state = engine.state(config.id)
    assert state is not None and state.pid is None and state.phase in ("created", "stopped")
    assert (await engine._client.call("list"))["containers"] == []


async def test_a_second_start_does_nothing(engine: NativeEngine) -> None:
    config = config_of(engine, "one", "sleep", "1000")
    await run(engine, config)
    first = engine.state(config.id)
    await asyncio.gather(*(engine.start(config.id) for _ in range(5)))
    assert engine.state(config.id) == first


async def test_two_hundred_quick_exits_leave_no_zombie_and_no_descriptor(engine: NativeEngine) -> None:
    pid = await supervisor_pid(engine)
    await run(engine, config_of(engine, "first", "true"))
    await ended(engine, id_of("first"))
    before = _descriptors(pid)
    configs = [config_of(engine, f"quick-{number}", "true") for number in range(200)]
    for batch in range(0, len(configs), 20):
        await asyncio.gather(*(run(engine, config) for config in configs[batch : batch + 20]))
    for config in configs:
        assert (await ended(engine, config.id)).exit_code == 0
    assert Path(f"/proc/{pid}/task/{pid}/children").read_text() == ""
    assert _descriptors(pid) == before
    assert len(descendants()) == 0


def _descriptors(pid: int) -> list[str]:
    """What a process has open, without the numbers that tell one pipe from another."""
    found = (os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd"))
    return sorted(target.partition(":")[0] for target in found)


async def test_orphans_of_a_container_are_reaped(engine: NativeEngine) -> None:
    config = shell(engine, "one", "(sleep 0.01 & exec true) & sleep 0.1; exec sleep 1000", pid_mode="host")
    await run(engine, config)
    pid = await supervisor_pid(engine)
    await until(lambda: len(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()) == 1)
    await engine.stop(config.id, 0)


async def test_a_process_outside_the_init_dies_with_a_container_in_the_hosts_pid_namespace(
    engine: NativeEngine,
) -> None:
    config = shell(engine, "one", "sleep 1000 & sleep 1000 & exit 0", pid_mode="host")
    await run(engine, config)
    await ended(engine, config.id)
    await until(lambda: engine.top(config.id) == ())


async def test_stop_within_the_grace_and_after_it(engine: NativeEngine) -> None:
    kind = shell(engine, "kind", "trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done")
    deaf = shell(engine, "deaf", "trap '' TERM; echo ready; while :; do sleep 0.01; done")
    for config in (kind, deaf):
        await run(engine, config)
        await until(lambda id=config.id: output(engine, id))
    await engine.stop(kind.id, 10)
    await engine.stop(deaf.id, 0.1)
    codes = [state.exit_code for state in engine.list()]
    assert codes == [7, 137]


async def test_unknown_signals_and_containers(engine: NativeEngine) -> None:
    config = config_of(engine, "one", "sleep", "1000")
    await run(engine, config)
    with pytest.raises(Invalid):
        await engine.signal(config.id, "SIGNONSENSE")
    with pytest.raises(NotFound):
        await engine.start("f" * 64)
    await engine.stop(config.id, 0)
    with pytest.raises(Conflict):
        await engine.signal(config.id, "TERM")


async def test_an_oom_kill_is_told_apart(engine: NativeEngine) -> None:
    from runtime.model import Resources

    config = shell(
        engine, "one", "tail /dev/zero", resources=Resources(memory_bytes=8 << 20, memory_swap_bytes=8 << 20)
    )
    await run(engine, config)
    state = await ended(engine, config.id)
    assert (state.exit_code, state.oom_killed) == (137, True)


async def test_log_records_are_in_order_and_bounded(engine: NativeEngine) -> None:
    config = shell(
        engine, "one", "i=0; while [ $i -lt 20000 ]; do echo line-$i; i=$((i+1)); done",
        log_max_bytes=100_000, log_max_files=3,
    )  # fmt: skip
    await run(engine, config)
    await ended(engine, config.id)
    sizes = [path.stat().st_size for path in engine.log_directory(config.id).iterdir()]
    assert len(sizes) == 3 and max(sizes) <= 100_000
    found = [record.text for record in records(engine, config.id)]
    assert found == [b"line-%d" % number for number in range(20000 - len(found), 20000)]
    assert records(engine, config.id, tail=2)[0].text == b"line-19998"


async def test_binary_output_comes_through(engine: NativeEngine) -> None:
    config = shell(engine, "one", "dd if=/bin/busybox bs=1000 count=500 2>/dev/null")
    await run(engine, config)
    await ended(engine, config.id)
    expected = Path("/bin/busybox").read_bytes()[:500_000]
    assert output(engine, config.id).removesuffix(b"\n") == expected.removesuffix(b"\n")
