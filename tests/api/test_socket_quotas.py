"""Quotas of scoped sockets through real clients: never one more than is allowed, whoever asks at once,
whatever agent counts, and a place is free as soon as what had it is gone."""

from __future__ import annotations

import io
import secrets
import tarfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.api.http_client import Answer, Http
from tests.e2e.own_story import own_story
from tests.e2e.story import Story, eventually

FILE = "ops/sockets.yaml"
SOCKETS = """\
apiVersion: setpoint/v1
kind: Socket
metadata: {name: few}
spec:
  allow: [write]
  quota: {containers: 3, networks: 2, volumes: 3, execs: 2}
---
apiVersion: setpoint/v1
kind: Socket
metadata: {name: small}
spec:
  allow: [write]
  quota: {memory: 100m, cpus: 1, pids: 150, each: {memory: 40m, cpus: 0.5, pids: 100}}
---
apiVersion: setpoint/v1
kind: Socket
metadata: {name: sum}
spec: {allow: [write], quota: {memory: 100m}}
---
apiVersion: setpoint/v1
kind: Socket
metadata: {name: brief}
spec: {allow: [write], time_to_live: 2s, quota: {containers: 1, networks: 1, volumes: 1}}
"""
PLACES = {"few": 3, "small": 10, "sum": 17, "brief": 22}
"""The line of each."""
SLEEP = {"Image": "busybox", "Cmd": ["sleep", "1000"], "StopSignal": "SIGKILL"}
MIB = 1 << 20


class Quotas:
    def __init__(self, story: Story) -> None:
        self.story = story
        self.all = Http(story.layout.agent_socket)

    def http(self, name: str) -> Http:
        return Http(self.story.layout.run / "sockets" / f"ops.{name}.sock")

    def make(self, name: str, **body: Any) -> Answer:
        query = {"name": f"n{secrets.token_hex(4)}"}
        return self.http(name)("POST", "/containers/create", {**SLEEP, **body}, query=query)

    def made(self, name: str, **body: Any) -> str:
        answer = self.make(name, **body)
        assert answer.status == 201, answer.body
        return str(answer.json["Id"])

    def remove(self, name: str, id: str) -> None:
        answer = self.http(name)("DELETE", f"/containers/{id}", query={"force": "1"})
        assert answer.status == 204, answer.body

    def count(self, noun: str, name: str) -> int:
        filters = f'{{"label":["io.setpoint.socket=ops/{name}"]}}'
        path = "/containers/json" if noun == "containers" else f"/{noun}"
        found = self.all("GET", path, query={"all": "1", "filters": filters}).json
        return len(found["Volumes"] if noun == "volumes" else found)


@pytest.fixture(scope="module")
def quotas(busybox_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Quotas]:
    with own_story(tmp_path_factory.mktemp("quotas")) as story:
        story.commit({FILE: SOCKETS})
        story.start_agent()
        story.setpoint("image", "load", busybox_archive)
        story.setpoint("sync", "--wait")
        yield Quotas(story)


@pytest.fixture(autouse=True)
def _clean(quotas: Quotas) -> Iterator[None]:
    yield
    for row in quotas.all("GET", "/containers/json", query={"all": "1"}).json:
        quotas.all("DELETE", f"/containers/{row['Id']}", query={"force": "1", "v": "1"})
    for noun, key in (("networks", "Id"), ("volumes", "Name")):
        found = quotas.all("GET", f"/{noun}").json
        for each in found["Volumes"] if noun == "volumes" else found:
            if "io.setpoint.socket" in (each["Labels"] or {}):
                quotas.all("DELETE", f"/{noun}/{each[key]}")


def refused(answer: Answer, name: str, words: str) -> bool:
    """With a 403 that says where the quota is written, what is used up, and what to do."""
    assert answer.status == 403, answer.body
    assert answer.message.startswith(
        f"over the quota of the socket ops/{name} ({FILE}:{PLACES[name]}): {words}"
    ), answer.message
    return "(hint: " in answer.message


def at_once(count: int, ask: Callable[[int], Answer]) -> Counter[int]:
    """The answers to so many who ask at the same time."""
    gate = threading.Barrier(count)

    def one(number: int) -> int:
        gate.wait(60)
        return ask(number).status

    with ThreadPoolExecutor(count) as pool:
        return Counter(pool.map(one, range(count)))


# --- how many -------------------------------------------------------------------------------------


@pytest.mark.parametrize("noun", ["containers", "networks", "volumes"])
def test_of_a_hundred_who_ask_at_once_no_more_get_it_than_may(quotas: Quotas, noun: str) -> None:
    most = {"containers": 3, "networks": 2, "volumes": 3}[noun]

    def ask(number: int) -> Answer:
        http = quotas.http("few")
        if noun == "containers":
            return http("POST", "/containers/create", SLEEP, query={"name": f"p{number}"})
        return http("POST", f"/{noun}/create", {"Name": f"p{number}"})

    assert at_once(100, ask) == {201: most, 403: 100 - most}
    assert quotas.count(noun, "few") == most
    last = ask(200)
    assert refused(last, "few", f"{noun}: {most} of {most} are there")
    assert last.message.endswith(f"(hint: remove what is not needed, or raise quota.{noun} there)")


def test_a_hundred_names_of_volumes_at_once_are_no_way_round(quotas: Quotas) -> None:
    """Volumes that come with containers, with a name or without."""

    def ask(number: int) -> Answer:
        host = {"Binds": [f"v{number}:/a"]} if number % 2 else {}
        return quotas.make("few", HostConfig=host, Volumes={"/b": {}, "/c": {}} if not number % 2 else {})

    assert at_once(60, ask)[201] <= 3
    names = [each["Name"] for each in quotas.all("GET", "/volumes").json["Volumes"]]
    assert 1 <= len(names) <= 3


def test_what_is_removed_frees_its_place_at_once(quotas: Quotas) -> None:
    http = quotas.http("few")
    for _ in range(5):
        ids = [quotas.made("few") for _ in range(3)]
        http("POST", f"/containers/{ids[0]}/start")
        assert refused(quotas.make("few"), "few", "containers: 3 of 3 are there")
        for id in ids:
            quotas.remove("few", id)
    for _ in range(5):
        networks = [http("POST", "/networks/create", {"Name": f"n{number}"}) for number in range(2)]
        assert [each.status for each in networks] == [201, 201]
        assert refused(http("POST", "/networks/create", {"Name": "more"}), "few", "networks: 2 of 2")
        for each in networks:
            assert http("DELETE", f"/networks/{each.json['Id']}").status == 204
    for _ in range(5):
        volumes = [http("POST", "/volumes/create", {}) for _ in range(3)]
        assert refused(http("POST", "/volumes/create", {}), "few", "volumes: 3 of 3")
        for each in volumes:
            assert http("DELETE", f"/volumes/{each.json['Name']}").status == 204


def test_a_volume_that_is_there_takes_no_place_again(quotas: Quotas) -> None:
    http = quotas.http("few")
    for name in ("v1", "v2", "v3"):
        assert http("POST", "/volumes/create", {"Name": name}).status == 201
    assert http("POST", "/volumes/create", {"Name": "v1"}).status == 201
    quotas.made("few", HostConfig={"Binds": ["v1:/a", "v2:/b"]})
    assert refused(quotas.make("few", HostConfig={"Binds": ["v4:/a"]}), "few", "volumes: 3 of 3 are there")


def test_volumes_without_a_name_go_with_their_container(quotas: Quotas) -> None:
    """Else nobody at the socket could remove them, or see them."""
    for _ in range(3):
        id = quotas.made("few", Volumes={"/a": {}, "/b": {}, "/c": {}})
        assert refused(quotas.make("few", Volumes={"/a": {}}), "few", "volumes: 3 of 3 are there")
        quotas.remove("few", id)
    quotas.made("few", Volumes={"/a": {}})
    quotas.http("few")("POST", "/containers/prune")
    assert quotas.all("GET", "/volumes").json["Volumes"] == []


def test_what_a_create_did_not_make_takes_no_place(quotas: Quotas) -> None:
    for _ in range(5):
        bad = quotas.make("few", HostConfig={"Binds": ["v1:/a"], "NetworkMode": "nowhere"})
        assert bad.status == 400, bad.body
    assert [quotas.make("few").status for _ in range(3)] == [201] * 3


def test_what_has_expired_frees_its_place(quotas: Quotas) -> None:
    http = quotas.http("brief")

    def is_made(path: str) -> bool:
        return http("POST", path, {"Name": "two"}).status == 201

    for path in ("/networks/create", "/volumes/create"):
        assert http("POST", path, {"Name": "one"}).status == 201
        assert http("POST", path, {"Name": "two"}).status == 403
    quotas.made("brief")
    assert refused(quotas.make("brief"), "brief", "containers: 1 of 1")
    eventually(lambda: quotas.make("brief").status == 201, "its place is free")
    for path in ("/networks/create", "/volumes/create"):
        eventually(partial(is_made, path), "its place is free")


def test_execs_that_have_not_ended_are_counted(quotas: Quotas) -> None:
    http, id = quotas.http("few"), quotas.made("few")
    assert http("POST", f"/containers/{id}/start").status == 204

    def ask(_number: int = 0, command: str = "sleep 1000") -> Answer:
        return http("POST", f"/containers/{id}/exec", {"Cmd": command.split()})

    first, second = ask(command="true"), ask()
    assert [first.status, second.status] == [201, 201]
    assert refused(ask(), "few", "execs: 2 of 2 are there")
    for each in (first, second):
        assert http("POST", f"/exec/{each.json['Id']}/start", {"Detach": True}).status == 200
    eventually(lambda: not http("GET", f"/exec/{first.json['Id']}/json").json["Running"], "one has ended")
    assert at_once(50, ask) == {201: 1, 403: 49}
    assert quotas.all("POST", f"/containers/{id}/exec", {"Cmd": ["true"]}).status == 201  # others are not


# --- how much -------------------------------------------------------------------------------------


def limits_of(quotas: Quotas, id: str) -> tuple[int, int, int]:
    host = quotas.all("GET", f"/containers/{id}/json").json["HostConfig"]
    return host["Memory"] // MIB, host["NanoCpus"], host["PidsLimit"]


def test_what_says_nothing_gets_what_each_may_have(quotas: Quotas) -> None:
    id = quotas.made("small", HostConfig={"PidsLimit": 50})
    assert limits_of(quotas, id) == (40, 500_000_000, 50)
    id = quotas.made("small", HostConfig={"Memory": 10 * MIB, "NanoCpus": 500_000_000})
    assert limits_of(quotas, id) == (10, 500_000_000, 100)
    assert quotas.http("small")("POST", f"/containers/{id}/start").status == 204
    assert refused(quotas.make("small"), "small", "cpus: 1 of 1 are given, and 0.5 more asked for")


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"Memory": 41 * MIB}, "memory: 41m for one, and each may have 40m"),
        ({"NanoCpus": 600_000_000}, "cpus: 0.6 for one, and each may have 0.5"),
        ({"CpuQuota": 60_000, "CpuPeriod": 100_000}, "cpus: 0.6 for one, and each may have 0.5"),
        ({"PidsLimit": 101}, "pids: 101 for one, and each may have 100"),
        ({"PidsLimit": -1}, "pids: one without a limit, and each may have 100"),
        ({"PidsLimit": 0}, "pids: one without a limit, and each may have 100"),
        ({"MemorySwap": -1}, "swap: more than as much again as its memory"),
        ({"Memory": 20 * MIB, "MemorySwap": 41 * MIB}, "swap: more than as much again as its memory"),
    ],
)  # fmt: skip
def test_nobody_has_more_than_each_may(quotas: Quotas, asked: dict[str, int], words: str) -> None:
    assert refused(quotas.make("small", HostConfig=asked), "small", words)


@pytest.mark.parametrize(
    "asked",
    [
        {"Memory": 41 * MIB, "MemorySwap": -1}, {"NanoCpus": 600_000_000}, {"PidsLimit": 101},
        {"PidsLimit": -1}, {"PidsLimit": 0}, {"MemorySwap": -1},
    ],
)  # fmt: skip
def test_nor_by_an_update(quotas: Quotas, asked: dict[str, int]) -> None:
    id = quotas.made("small")
    before = limits_of(quotas, id)
    assert quotas.http("small")("POST", f"/containers/{id}/update", asked).status == 403
    assert limits_of(quotas, id) == before
    assert quotas.http("small")("POST", f"/containers/{id}/update", {"Memory": 20 * MIB}).status == 200
    assert limits_of(quotas, id)[0] == 20


def test_nor_by_another_word_for_processors(quotas: Quotas) -> None:
    id = quotas.made("small", HostConfig={"CpuQuota": 40_000})
    for more in ({"CpuQuota": 60_000}, {"CpuQuota": -1}, {"CpuPeriod": 50_000}):
        assert quotas.http("small")("POST", f"/containers/{id}/update", more).status == 403, more
    assert quotas.http("small")("POST", f"/containers/{id}/update", {"CpuQuota": 30_000}).status == 200


def test_an_update_has_its_own_share_and_what_is_left(quotas: Quotas) -> None:
    first = quotas.made("sum", HostConfig={"Memory": 40 * MIB, "MemorySwap": 80 * MIB})
    quotas.made("sum", HostConfig={"Memory": 40 * MIB})
    http = quotas.http("sum")

    def update(memory: int) -> Answer:
        return http(
            "POST", f"/containers/{first}/update", {"Memory": memory * MIB, "MemorySwap": memory * MIB}
        )

    assert update(60).status == 200
    assert refused(update(61), "sum", "memory: 40m of 100m are given, and 61m more asked for")
    assert refused(
        quotas.make("sum", HostConfig={"Memory": 6 * MIB}), "sum", "memory: 100m of 100m are given"
    )
    assert update(20).status == 200
    quotas.made("sum", HostConfig={"Memory": 40 * MIB})


def test_without_a_word_of_how_much_it_needs_none_is_made(quotas: Quotas) -> None:
    answer = quotas.make("sum")
    assert refused(answer, "sum", "memory: a container without a limit")
    assert "say how much it needs (--memory), or give quota.each.memory there" in answer.message


def test_of_a_hundred_at_once_the_sum_is_never_more(quotas: Quotas) -> None:
    answers = at_once(100, lambda _: quotas.make("sum", HostConfig={"Memory": 30 * MIB}))
    assert answers == {201: 3, 403: 97}


def test_a_container_cannot_take_more_than_it_was_given(quotas: Quotas) -> None:
    command = ["sh", "-c", "for n in $(seq 200); do sleep 60 & done; wait"]
    id = quotas.made("small", Cmd=command, HostConfig={"PidsLimit": 20})
    http = quotas.http("small")
    assert http("POST", f"/containers/{id}/start").status == 204

    def says() -> bytes:
        return http("GET", f"/containers/{id}/logs", query={"stderr": "1", "stdout": "1"}).body

    eventually(lambda: b"can't fork" in says(), "the kernel refuses it")


# --- builds ---------------------------------------------------------------------------------------


def context_of(*lines: str) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        content = "\n".join(lines).encode()
        head = tarfile.TarInfo("Dockerfile")
        head.size = len(content)
        tar.addfile(head, io.BytesIO(content))
    return packed.getvalue()


def test_a_build_is_a_container_as_long_as_it_runs(quotas: Quotas) -> None:
    http = quotas.http("few")
    slow = context_of("FROM busybox", f"RUN sleep 3; echo {secrets.token_hex(8)}")
    quotas.made("few")
    answers = at_once(6, lambda _: http("POST", "/build", slow, query={"nocache": "1"}))
    assert answers == {200: 2, 403: 4}
    for _ in range(2):
        quotas.made("few")
    assert refused(http("POST", "/build", slow), "few", "containers: 3 of 3 are there")


def test_a_build_has_no_more_than_each_may(quotas: Quotas) -> None:
    http = quotas.http("small")
    lines = "for n in $(seq 200); do sleep 5 & done; true"
    said = http("POST", "/build", context_of("FROM busybox", f"RUN {lines}"), query={"nocache": "1"}).body
    assert b"can't fork" in said, said
    for query, words in (
        ({"memory": str(41 * MIB)}, "memory: 41m for one, and each may have 40m"),
        ({"cpuquota": "60000"}, "cpus: 0.6 for one, and each may have 0.5"),
        ({"memswap": "-1"}, "swap: more than as much again"),
    ):
        assert refused(http("POST", "/build", context_of("FROM busybox"), query=query), "small", words)


# --- who counts -----------------------------------------------------------------------------------


def test_an_agent_that_was_killed_counts_the_same(quotas: Quotas) -> None:
    http = quotas.http("few")
    ids = [quotas.made("few") for _ in range(3)]
    http("POST", f"/containers/{ids[0]}/start")
    http("POST", "/networks/create", {"Name": "one"})
    http("POST", "/volumes/create", {"Name": "one"})
    quotas.story.kill(quotas.story.agent_pid())
    quotas.story.start_agent()
    quotas.story.setpoint("sync", "--wait")
    assert refused(quotas.make("few"), "few", "containers: 3 of 3 are there")
    assert http("POST", "/networks/create", {"Name": "two"}).status == 201
    assert refused(http("POST", "/networks/create", {"Name": "three"}), "few", "networks: 2 of 2")
    quotas.remove("few", ids[0])
    quotas.made("few")


def test_others_have_quotas_of_their_own_and_root_has_none(quotas: Quotas) -> None:
    ids = [quotas.made("few") for _ in range(3)]
    quotas.made("sum", HostConfig={"Memory": 6 * MIB})
    labels = {"io.setpoint.socket": "ops/few"}
    own = quotas.all("POST", "/containers/create", {**SLEEP, "Labels": labels}).json["Id"]
    assert quotas.all("POST", f"/containers/{own}/update", {"Memory": 900 * MIB}).status == 200
    quotas.remove("few", ids[0])
    assert refused(
        quotas.make("few"), "few", "containers: 3 of 3 are there"
    )  # what bears its label is its own


def test_a_quota_that_changes_holds_from_then_on(quotas: Quotas) -> None:
    for _ in range(2):
        quotas.made("few")
    quotas.story.apply({FILE: SOCKETS.replace("containers: 3", "containers: 1")})
    assert refused(quotas.make("few"), "few", "containers: 2 of 1 are there")
    assert quotas.count("containers", "few") == 2
    quotas.story.apply({FILE: SOCKETS})
    quotas.made("few")


def test_each_refusal_is_told(quotas: Quotas) -> None:
    for _ in range(3):
        quotas.made("few")
    quotas.make("few")
    audit = (quotas.story.layout.data / "audit/ops.few.jsonl").read_text().splitlines()
    assert "over the quota of the socket ops/few" in audit[-1]
    assert "Refused" in quotas.story.setpoint("events", "ops/socket/few")
