"""Anything may happen, and beside it somebody gives a container of the Docker API names and networks, again
and again, while all the rest goes on: in the end it has the last of them.
"""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from agent.manifest.hashing import hashes
from agent.manifest.objects import Object, Where
from agent.manifest.spec import AnySpec, Asked, Attachment, ContainerSpec, NetworkSpec
from store.records import Key
from tests.sim.fake_engine import BUSYBOX
from tests.sim.test_anything import Anything

BOX = Key("@api", "container", "0123456789ab")
NETWORKS = ("one", "two", "three")
MEMORY = (None, 1 << 20, 2 << 20)


class AnythingAsked(Anything):
    def __init__(self) -> None:
        super().__init__()
        self.asked: ContainerSpec | None = None
        self.said: dict[Key, AnySpec] = {}  # all that was ever asked for

    @rule(
        name=st.sampled_from(["p", "q", "r"]),
        networks=st.lists(st.sampled_from(NETWORKS), unique=True),
        ensure=st.sampled_from(["running", "running", "running", "stopped"]),
        memory=st.sampled_from(MEMORY),
    )
    def ask(self, name: str, networks: list[str], ensure: str, memory: int | None) -> None:
        for each in networks:
            self._put(Key("@api", "network", each), NetworkSpec(name=each))
        attachments = {each: Attachment(aliases=(each * 2,)) for each in networks}
        self.asked = ContainerSpec.model_validate(
            {"image": BUSYBOX.id, "container_name": name, "networks": attachments, "ensure": ensure,
             "asked": Asked(), "restart": {"policy": "always"}, **({"mem_limit": memory} if memory else {})}
        )  # fmt: skip
        self._put(BOX, self.asked)

    @precondition(lambda self: self.asked is not None)
    @rule()
    def let_go(self) -> None:
        self.asked = None
        self.host.do(self.host.loop.remove(BOX))

    @rule(after=st.integers(0, 5))
    def crash_and_lose_the_database(self, after: int) -> None:
        """What the API made is nobody's then, and left alone, until who asked for it says so again."""
        super().crash_and_lose_the_database(after)
        for key, spec in self.said.items():
            self._put(key, spec)
        if self.asked is None and BOX in self.said:
            self.host.do(self.host.loop.remove(BOX))

    def _put(self, key: Key, spec: AnySpec) -> None:
        self.said[key] = spec
        whole, recreate = hashes(spec)
        self.host.do(self.host.loop.put(Object(key, spec, Where("", 0), whole, recreate)))

    def what_is_wanted_is_what_runs(self) -> None:
        super().what_is_wanted_is_what_runs()
        found = [s for s in self.engine.list() if s.labels.get("setpoint.key") == str(BOX)]
        if self.asked is None:
            assert found == [], (self.host.phases(), self.host.loop.objects().get(BOX))
            return
        (state,) = found
        wanted = set(self.asked.networks)
        assert state.name == self.asked.container_name, self.host.phases()
        assert {each.network for each in state.endpoints} == wanted
        assert (state.phase == "running") == (self.asked.ensure == "running"), self.host.phases()
        assert state.phase != "running" or state.addresses.keys() == wanted
        assert state.resources.memory_bytes == self.asked.mem_limit

    def take_all_away(self) -> None:
        for key in [key for key in self.host.loop.objects() if key.project == "@api"]:
            self.host.do(self.host.loop.remove(key))
        super().take_all_away()


AnythingAsked.TestCase.settings = Anything.TestCase.settings
TestAnythingAsked = AnythingAsked.TestCase
