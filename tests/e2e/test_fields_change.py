"""What a changed field does: in place where the kernel can, else with a new container; and what stays."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.images import write_image
from tests.e2e.project import BASE, Project, cgroup_value, has_v1
from tests.e2e.story import Story, eventually, is_alive, started_at

MIB = 1024 * 1024
FIELDS = """\
services:
  a:
    <<: *base
    {field}
    volumes: [kept:/kept, /anonymous]
    networks: [net, other]
networks: {{net: {{}}, other: {{}}}}
volumes: {{kept: {{}}}}
"""


class Field:
    """One service of a project, of which one line changes."""

    def __init__(self, project: Project) -> None:
        self.project = project

    def becomes(self, line: str) -> tuple[str, int]:
        """Its container's id and process with this line."""
        self.project.apply(BASE + FIELDS.format(field=line or "x-nothing: 0"))
        return self.project.container("a")["id"], self.project.pid("a")


@pytest.fixture(scope="module")
def field(shared_story: Story) -> Iterator[Field]:
    yield Field(Project(shared_story, "change"))


def file_of(project: Project, name: str, controller: str, v1: str, v2: str) -> str:
    return cgroup_value(project.pid(name), controller, v1, v2)


def _cpu(project: Project) -> tuple[int, int]:
    """Quota (-1: none) and period."""
    found = [
        file_of(project, "a", "cpu", file, "cpu.max") for file in ("cpu.cfs_quota_us", "cpu.cfs_period_us")
    ]
    quota, period = found if has_v1("cpu") else found[0].split()
    return -1 if quota == "max" else int(quota), int(period)


# --- in place -----------------------------------------------------------------------------------


def test_limits_change_in_place_and_go_again(field: Field) -> None:
    before = field.becomes("")
    project = field.project
    everything = "cpus: 0.5\n    cpu_shares: 512\n    mem_limit: 64m\n    pids_limit: 50\n    cpuset: '0'"
    assert field.becomes(everything) == before
    assert file_of(project, "a", "memory", "memory.limit_in_bytes", "memory.max") == str(64 * MIB)
    assert file_of(project, "a", "pids", "pids.max", "pids.max") == "50"
    assert file_of(project, "a", "cpu", "cpu.cfs_quota_us", "cpu.max").split()[0] == "50000"
    assert file_of(project, "a", "cpu", "cpu.shares", "cpu.weight") == ("512" if has_v1("cpu") else "20")
    assert project.process_status("a")["Cpus_allowed_list"] == "0"
    assert field.becomes("cpus: 0.25\n    mem_limit: 32m\n    pids_limit: 60") == before
    assert file_of(project, "a", "memory", "memory.limit_in_bytes", "memory.max") == str(32 * MIB)
    assert file_of(project, "a", "cpu", "cpu.cfs_quota_us", "cpu.max").split()[0] == "25000"
    assert field.becomes("cpu_quota: 5000\n    cpu_period: 20000") == before
    assert _cpu(project) == (5000, 20_000)
    assert field.becomes("cpu_period: 50000") == before
    assert _cpu(project) == (-1, 50_000)
    assert field.becomes("mem_limit: 128m\n    memswap_limit: -1") == before
    assert _cpu(project) == (-1, 100_000)
    assert field.becomes("") == before
    limit = file_of(project, "a", "memory", "memory.limit_in_bytes", "memory.max")
    assert limit == "max" or int(limit) > 1 << 60
    assert file_of(project, "a", "cpu", "cpu.cfs_quota_us", "cpu.max").split()[0] in ("-1", "max")
    assert file_of(project, "a", "pids", "pids.max", "pids.max") == "2048"
    allowed = Path("/proc/self/status").read_text().partition("Cpus_allowed_list:")[2].split()[0]
    assert project.process_status("a")["Cpus_allowed_list"] == allowed


@pytest.mark.parametrize(
    "line",
    [
        "restart: always",
        "stop_grace_period: 3s",
        "healthcheck: {test: 'true', interval: 100ms}",
        "depends_on: []",
        "expose: ['80']",
        "pull_policy: never",
        "on_unhealthy: restart",
        "x-note: {any: thing}",
        "deploy: {resources: {limits: {memory: 64m}}}",
        "scale: 1",
        "command: sleep '1000'",  # other words for the same
    ],
)
def test_what_the_agent_alone_looks_at_changes_no_container(field: Field, line: str) -> None:
    before = field.becomes("")
    assert field.becomes(line) == before


# --- anew ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "command: [sleep, '2000']",
        "environment: {A: '1'}",
        "user: '1000'",
        "labels: {tier: front}",
        "hostname: other",
        "cap_add: [NET_ADMIN]",
        "read_only: true",
        "tmpfs: /scratch",
        "init: true",
        "tty: true",
        "working_dir: /opt",
        "stop_signal: KILL",
        "ulimits: {nofile: 512}",
        "oom_score_adj: 10",
        "shm_size: 1m",
        "extra_hosts: [x=10.0.0.1]",
        "dns: 10.0.0.1",
        "logging: {options: {max-size: 1m}}",
        "sysctls: {net.core.somaxconn: 55}",
        "ports: ['127.0.0.1::80']",
    ],
)
def test_what_a_process_is_born_with_makes_a_new_container(field: Field, line: str) -> None:
    id, pid = field.becomes("")
    addresses = field.project.container("a")["addresses"]
    network = field.project.namespace("a", "net")
    new_id, new_pid = field.becomes(line)
    assert new_id != id and new_pid != pid
    assert not is_alive(pid)
    # What it had outlives it: its network namespace with the addresses, and all of its volumes.
    assert field.project.namespace("a", "net") == network
    assert field.project.container("a")["addresses"] == addresses


def test_volumes_outlive_the_container_named_or_not(field: Field) -> None:
    field.becomes("")
    field.project.sh("a", "echo one >/kept/x; echo two >/anonymous/x; echo three >/gone")
    field.becomes("environment: {SECOND: life}")
    assert field.project.sh("a", "cat /kept/x /anonymous/x") == "one\ntwo\n"
    field.project.sh("a", "test -e /gone", code=1)


def test_an_env_file_and_dot_env_count_by_their_content(field: Field) -> None:
    project = field.project
    text = BASE + FIELDS.format(field='env_file: a.env\n    environment: {W: "${WORD:-}"}')
    project.apply(text, {"a.env": "A=1\n", ".env": "WORD=1\n"})
    first = project.container("a")["id"]
    project.apply(text, {"a.env": "# said otherwise\nA='1'\n", ".env": "OTHER=2\nWORD=1\n"})
    assert project.container("a")["id"] == first
    project.apply(text, {"a.env": "A=2\n"})
    second = project.container("a")["id"]
    project.apply(text, {".env": "WORD=3\n"})
    assert len({first, second, project.container("a")["id"]}) == 3
    assert (project.environ("a")["A"], project.environ("a")["W"]) == ("2", "3")


def test_another_image_of_the_same_name(shared_story: Story, busybox_archive: Path, tmp_path: Path) -> None:
    project = Project(shared_story, "retagged")
    seen: list[str] = []
    for version in ("one", "two"):
        archive = write_image(
            tmp_path / "moving.tar", busybox_archive, "moving:latest", Env=[f"VERSION={version}"]
        )
        shared_story.setpoint("image", "load", "--force", archive)
        project.apply(BASE + "services: {a: {<<: *base, image: 'moving:latest'}}\n")
        eventually(lambda: another_than(project, seen), f"version {version} runs")
        seen.append(project.environ("a")["VERSION"])
    assert seen == ["one", "two"]


def another_than(project: Project, seen: list[str]) -> bool:
    found = project.refresh()["container/a"]
    return bool(found["ready"]) and project.environ("a")["VERSION"] not in seen


# --- scale --------------------------------------------------------------------------------------


def test_scale_keeps_who_is_there(shared_story: Story) -> None:
    project = Project(shared_story, "scaled")
    text = BASE + "services: {{a: {{<<: *base, {scale}}}}}\n"

    def pids(scale: str) -> list[int]:
        project.apply(text.format(scale=scale))
        return [container["pid"] for container in project.object("a")["containers"]]

    two = pids("scale: 2")
    assert len(set(two)) == 2
    four = pids("deploy: {replicas: 4}")
    assert four[:2] == two and len(set(four)) == 4
    assert {container["name"] for container in project.object("a")["containers"]} == {
        f"scaled-a-{number}" for number in range(1, 5)
    }
    assert pids("scale: 1") == two[:1]
    assert not any(is_alive(pid) for pid in four[1:])
    assert pids("scale: 0") == []
    assert len(pids("scale: 1")) == 1


def test_replicas_are_replaced_one_at_a_time(shared_story: Story) -> None:
    project = Project(shared_story, "rolled")
    check = "healthcheck: {test: 'true', interval: 50ms}"
    text = BASE + f"services: {{a: {{<<: *base, scale: 3, {check}, environment: {{V: '%s'}}}}}}\n"
    project.apply(text % 1)
    before = [container["pid"] for container in project.object("a")["containers"]]
    project.commit(text % 2)
    fewest = 3
    while any(is_alive(pid) for pid in before):
        running = [c["pid"] for c in project.refresh()["container/a"]["containers"]]
        fewest = min(fewest, sum(1 for pid in running if pid and is_alive(pid)))
    project.settle()
    assert fewest >= 2
    assert all(project.proc("a", n).joinpath("environ").read_bytes().count(b"V=2") for n in (1, 2, 3))


# --- networks that are shared -------------------------------------------------------------------

SHARED = """\
services:
  owner: {{<<: *base, environment: {{V: "{version}"}}}}
  joiner: {{<<: *base, network_mode: "service:owner"}}
"""


def test_who_shares_a_network_keeps_it_when_its_owner_is_replaced(shared_story: Story) -> None:
    project = Project(shared_story, "shared")
    project.apply(BASE + SHARED.format(version=1))
    inode, joiner, owner = project.namespace("joiner", "net"), project.pid("joiner"), project.pid("owner")
    project.apply(BASE + SHARED.format(version=2))
    assert project.pid("owner") != owner
    assert project.pid("joiner") == joiner
    assert project.namespace("owner", "net") == project.namespace("joiner", "net") == inode
    project.story.kill(project.pid("owner"))
    eventually(lambda: project.refresh() and project.object("owner")["restarts"] == 1, "it is put back")
    eventually(lambda: project.refresh()["container/owner"]["ready"], "it runs")
    assert project.namespace("owner", "net") == inode
    assert project.pid("joiner") == joiner


# --- dependencies -------------------------------------------------------------------------------

ORDER = """\
x-told: &told
  image: busybox:latest
  volumes: [log:/log]
services:
  app:
    <<: *told
    command: [sh, -c, *loop, app]
    environment: {{N: "{app}"}}
    depends_on: {{db: {{condition: service_started, restart: true}}}}
  lone: {{<<: *told, command: [sh, -c, *loop, lone], depends_on: [db]}}
  db: {{<<: *told, command: [sh, -c, *loop, db], environment: {{N: "{db}"}}}}
volumes: {{log: {{}}}}
"""
LOOP = """\
x-loop: &loop |
  trap 'sleep 0.1; echo "stop $$0" >>/log/log; exit 0' TERM
  echo "start $$0" >>/log/log
  while :; do sleep 0.02; done
"""


def test_dependencies_start_first_and_stop_last(shared_story: Story) -> None:
    project = Project(shared_story, "ordered")
    log = shared_story.layout.volumes / "ordered_log"
    project.apply(LOOP + ORDER.format(app=1, db=1))
    path = next(path for path in log.rglob("log") if path.is_file())
    eventually(lambda: path.read_text().count("start") == 3, "all have started")
    app, lone, db = (project.pid(name) for name in ("app", "lone", "db"))
    assert started_at(db) <= min(started_at(app), started_at(lone))
    path.write_text("")
    project.apply(LOOP + ORDER.format(app=1, db=2))
    assert project.pid("db") != db
    eventually(lambda: not is_alive(app), "depends_on: restart restarts")
    project.settle()
    assert project.pid("lone") == lone
    eventually(lambda: path.read_text().count("start") == 2, "app and db run again")
    path.write_text("")
    project.commit(None)
    eventually(lambda: not project.refresh() or set(project._objects) == {"volume/log"}, "all are gone")
    told = path.read_text().splitlines()
    assert sorted(told) == ["stop app", "stop db", "stop lone"]
    assert told[-1] == "stop db"


# --- removal ------------------------------------------------------------------------------------

REMOVAL = """\
services:
  a: {<<: *base, volumes: ["kept:/kept", "dropped:/dropped"]}
  b: {<<: *base}
volumes: {kept: {}, dropped: {keep: false}}
"""


def test_what_is_removed_from_a_manifest_goes_and_volumes_stay_unless_told(shared_story: Story) -> None:
    project = Project(shared_story, "removed")
    project.apply(BASE + REMOVAL)
    a, b = project.pid("a"), project.pid("b")
    project.apply(BASE + "services: {b: {<<: *base}}\n")
    assert not is_alive(a)
    assert project.pid("b") == b
    volumes = {v["name"] for v in json.loads(shared_story.setpoint("volume", "ls", "-o", "json"))}
    assert "removed_kept" in volumes
    assert "removed_dropped" not in volumes
    project.commit(None)
    eventually(lambda: not [key for key in project.refresh() if not key.startswith("volume/")], "all is gone")
    assert not is_alive(b)
    networks = {n["name"] for n in json.loads(shared_story.setpoint("network", "ls", "-o", "json"))}
    assert "removed_default" not in networks
