"""What happens between two looks of an engine that opens."""

from __future__ import annotations

from typing import Any

import pytest

from runtime.engine import NativeEngine
from runtime.layout import Layout
from runtime.supervisor import records
from runtime.supervisor.client import Client
from tests.native import another_engine, run, shell, until


async def test_an_end_between_the_index_and_the_supervisors_list_is_known(
    engine: NativeEngine, instance: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = shell(engine, "one", "while ! [ -e /go ]; do sleep 0.01; done; exit 6")
    await run(engine, config)
    living = engine.state(config.id)
    assert living is not None
    await engine.close()
    connect = Client.open

    async def late(client: Client, *arguments: Any) -> None:
        """The index has been read: now it ends, and only then the supervisor is asked."""
        open(f"/proc/{living.pid}/root/go", "w").close()
        await until(lambda: records.read(str(instance.containers / config.id), records.EXIT))
        await connect(client, *arguments)

    monkeypatch.setattr(Client, "open", late)
    async with another_engine(instance) as second:
        state = second.state(config.id)
        assert state is not None and (state.phase, state.exit_code) == ("stopped", 6)
