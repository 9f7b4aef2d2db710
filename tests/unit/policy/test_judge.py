"""What a policy refuses, and at which line: each case is a service, read as manifests are."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.manifest.objects import Manifest, Revision
from agent.manifest.reader import read
from agent.manifest.spec import ContainerSpec, ImageSpec, NetworkSpec, SocketSpec, VolumeSpec
from agent.policy import judge
from agent.policy.gate import Gate
from agent.policy.policy import OPEN, STRICT
from agent.policy.read import read_policy
from runtime.security import MASKED_PATHS
from store.records import Key

HEAD = "services:\n  web:\n    image: nginx\n"
POLICY = b"""
apiVersion: setpoint/v1
kind: Policy
allow:
  namespaces: [uts]
  capabilities: [NET_ADMIN]
  devices: [/dev/dri, "/dev/ttyUSB*"]
  binds: [/srv/data, "/etc/localtime:ro", "/mnt/m:shared"]
  unconfined: [apparmor]
  ports: ["80", 8000-8999/tcp, "127.0.0.1:0-65535"]
  sysctls: ["net.core.*"]
  images: ["docker.io/library/*", "reg.example.org/team/*:v*"]
  external: [proxy]
projects:
  media:
    below: media
    privileged: true
    namespaces: [network]
    binds: [/srv/media]
    images: ["*"]
"""


def judged(body: str, policy: bytes | None = POLICY, path: str = "shop/compose.yaml") -> Manifest:
    """Of a whole file."""
    revision = Revision("1", "test", {path: body.encode()}, base="/srv/manifests")
    manifest = read(revision)
    assert not manifest.errors, manifest.errors
    gate = Gate(None, read_policy(policy, "/etc/p.yaml") if policy else STRICT)
    return gate.admit(manifest, revision)


def service(line: str) -> str:
    return HEAD + "".join(f"    {each}\n" for each in line.split("\n"))


# service's lines, rule, line:column
DENIED = [
    ("privileged: true", "privileged", "4:5"),
    ('privileged: "true"', "privileged", "4:5"),
    ("network_mode: host", "namespaces", "4:5"),
    ("pid: host", "namespaces", "4:5"),
    ("ipc: host", "namespaces", "4:5"),
    ("network_mode: container:other", "namespaces", "4:5"),
    ("pid: container:other", "namespaces", "4:5"),
    ("ipc: container:other", "namespaces", "4:5"),
    ("cgroup: host", "namespaces", "4:5"),
    ('device_cgroup_rules: ["b 8:0 rw"]', "devices", "4:27"),
    ("hidden_paths: [/proc/kcore]", "unconfined", "4:5"),
    ("readonly_paths: []", "unconfined", "4:5"),
    ('ports: ["9000-9010:80"]', "ports", "4:13"),
    ("cap_add: [SYS_ADMIN]", "capabilities", "4:15"),
    ("cap_add: [NET_ADMIN, SYS_ADMIN]", "capabilities", "4:26"),
    ("cap_add:\n- net_admin\n- cap_sys_module", "capabilities", "6:7"),
    ("cap_add: [ALL]", "capabilities", "4:15"),
    ("cap_add: [all]", "capabilities", "4:15"),
    ("cap_add: [SYS_PTRACE]", "capabilities", "4:15"),
    ("cap_add: [BPF]", "capabilities", "4:15"),
    ("cap_add: [DAC_READ_SEARCH]", "capabilities", "4:15"),
    ("devices: [/dev/sda]", "devices", "4:15"),
    ("devices: [/dev/dri, /dev/mem]", "devices", "4:25"),
    ("devices: [/dev/drive]", "devices", "4:15"),
    ("devices: [/dev]", "devices", "4:15"),
    ("devices: [/dev/dri/../sda]", "devices", "4:15"),
    ('devices: ["/dev/sda:/dev/dri/card0"]', "devices", "4:15"),
    ("devices: [{source: /dev/kmsg}]", "devices", "4:15"),
    ("devices: [/dev/ttyS0]", "devices", "4:15"),
    ('volumes: ["/:/host"]', "binds", "4:15"),
    ('volumes: ["/etc:/host"]', "binds", "4:15"),
    ('volumes: ["/etc:/host:ro"]', "binds", "4:15"),
    ('volumes: ["/srv/database:/x"]', "binds", "4:15"),
    ('volumes: ["/srv:/x"]', "binds", "4:15"),
    ('volumes: ["/srv/data/../../etc:/x"]', "binds", "4:15"),
    ('volumes: ["/srv/data/../secret:/x"]', "binds", "4:15"),
    ('volumes: ["//etc:/x"]', "binds", "4:15"),
    ('volumes: ["./conf:/x"]', "binds", "4:15"),
    ('volumes: ["../../../etc:/x"]', "binds", "4:15"),
    ('volumes: ["~/.ssh:/x"]', "binds", "4:15"),
    ('volumes: ["/var/run/docker.sock:/x"]', "binds", "4:15"),
    ('volumes: ["/proc:/x"]', "binds", "4:15"),
    ('volumes: ["/dev/mem:/x"]', "binds", "4:15"),
    ('volumes: ["data:/a", "/root:/x"]\n', "binds", "4:26"),
    ("volumes: [{type: bind, source: /root, target: /x}]", "binds", "4:15"),
    ("volumes:\n- type: bind\n  source: /root\n  target: /x", "binds", "5:7"),
    ('volumes: ["/etc/localtime:/x"]', "binds", "4:15"),
    ('volumes: ["/srv/data:/x:rshared"]', "binds", "4:15"),
    ('volumes: ["/srv/data:/x:shared"]', "binds", "4:15"),
    ("security_opt: [seccomp=unconfined]", "unconfined", "4:20"),
    ("security_opt: [seccomp:unconfined]", "unconfined", "4:20"),
    ("security_opt: [no-new-privileges:true, seccomp=/srv/mine.json]", "unconfined", "4:44"),
    ("security_opt: [systempaths=unconfined]", "unconfined", "4:20"),
    ('ports: ["443:443"]', "ports", "4:13"),
    ('ports: ["80:80", "22:22"]', "ports", "4:22"),
    ('ports: ["8000:8000/udp"]', "ports", "4:13"),
    ('ports: ["8000-8001:1-2", "22:22"]', "ports", "4:5"),
    ('ports: ["10.0.0.1:443:443"]', "ports", "4:13"),
    ('ports: ["9000"]', "ports", "4:13"),
    ("ports: [{target: 1, published: 22}]", "ports", "4:13"),
    ("sysctls: {net.ipv4.ip_forward: 1}", "sysctls", "4:15"),
    ("sysctls: [net.ipv4.ip_forward=1]", "sysctls", "4:15"),
    ("sysctls: {kernel.shmmax: 1}", "sysctls", "4:15"),
]
ALLOWED = [
    "privileged: false",
    "network_mode: none",
    "uts: host",
    "cgroup: private",
    "hidden_paths: [" + ", ".join((*MASKED_PATHS, "/proc/more")) + "]",
    "ipc: shareable",
    "cap_add: [NET_ADMIN]",
    "cap_add: [CAP_CHOWN, net_bind_service]",
    "cap_drop: [ALL]",
    "devices: [/dev/dri]",
    "devices: [/dev/dri/card0]",
    "devices: [/dev/ttyUSB3]",
    'volumes: ["/srv/data:/x"]',
    'volumes: ["/srv/data/a/b:/x:ro"]',
    'volumes: ["/srv//data/./a:/x"]',
    'volumes: ["/etc/localtime:/x:ro"]',
    'volumes: ["/mnt/m:/x:rshared"]',
    'volumes: ["/srv/data:/x:rslave"]',
    "volumes: [/anonymous]",
    "tmpfs: [/run]",
    "security_opt: [apparmor=unconfined]",
    "security_opt: [no-new-privileges:true]",
    'ports: ["80:80"]',
    'ports: ["127.0.0.1:443:443"]',
    'ports: ["127.0.0.1::443"]',
    'ports: ["8000-8002:1-3"]',
    'ports: ["10.0.0.1:80:80/udp"]',
    "sysctls: {net.core.somaxconn: 1}",
    "user: root",
    "ensure: absent\nprivileged: true",
]
IMAGES = [
    ("nginx", True),
    ("nginx:1.27", True),
    ("docker.io/library/redis", True),
    ("library/redis", True),
    ("acme/app", False),
    ("docker.io/acme/app", False),
    ("reg.example.org/team/app:v2", True),
    ("reg.example.org/team/app:latest", False),
    ("reg.example.org/team/app", False),
    ("reg.example.org/other/app:v2", False),
    ("reg.example.org.evil.org/team/app:v2", False),
    ("localhost:5000/library/nginx", False),
]


@pytest.mark.parametrize(("line", "rule", "place"), DENIED)
def test_refused_at_its_place(line: str, rule: str, place: str) -> None:
    text = service(line)
    if "data:/a" in line:
        text += "volumes:\n  data:\n"
    manifest = judged(text)
    assert [(str(e.where), f"(rule {rule})" in e.message) for e in manifest.errors] == [
        (f"shop/compose.yaml:{place}", True)
    ]
    assert "by /etc/p.yaml" in manifest.errors[0].message and manifest.errors[0].hint
    key = Key("shop", "container", "web")
    assert key not in manifest.objects and manifest.denied.keys() == {key}
    assert manifest.frozen_files == {"shop/compose.yaml"}


@pytest.mark.parametrize("line", ALLOWED)
def test_allowed(line: str) -> None:
    assert judged(service(line)).errors == ()


@pytest.mark.parametrize(("image", "is_allowed"), IMAGES)
def test_images(image: str, is_allowed: bool) -> None:
    manifest = judged(f"services:\n  web:\n    image: {image}\n")
    assert (manifest.errors == ()) is is_allowed
    assert is_allowed or str(manifest.errors[0].where) == "shop/compose.yaml:3:5"


BUILD_POLICY = b"""
apiVersion: setpoint/v1
kind: Policy
allow: {binds: [/srv/data, "/etc/keys:ro"]}
"""


@pytest.mark.parametrize(
    ("build", "rule", "place"),
    [
        ("network: host", "namespaces", "3:25"),
        ("secrets: [{source: t, file: /root/t}]", "binds", "3:35"),
        ("secrets: [{source: t, file: /srv/data/../../root/t}]", "binds", "3:35"),
        ("secrets: [{source: t, environment: T}, {source: u, file: ./u}]", "binds", "3:64"),
        ("ssh: [default]", "binds", "3:31"),
        ("ssh: [a=/run/agent.sock]", "binds", "3:31"),
        ("ssh: [a=/etc/keys/agent.sock]", "binds", "3:31"),
        ("secrets: [{source: t, file: /etc/keys/t}, {source: u, environment: U}]", "", ""),
        ("ssh: [a=/srv/data/agent.sock]", "", ""),
        ("network: none", "", ""),
    ],
)
def test_what_of_the_host_a_build_is_given(build: str, rule: str, place: str) -> None:
    manifest = judged(f"services:\n  web:\n    build: {{context: ., {build}}}\n", BUILD_POLICY)
    found = [(str(e.where), f"(rule {rule})" in e.message) for e in manifest.errors]
    assert found == ([(f"shop/compose.yaml:{place}", True)] if rule else [])


@pytest.mark.parametrize(
    ("line", "rule", "_place"), [each for each in DENIED if each[1] not in ("ports", "sysctls")]
)
def test_the_built_in_policy_refuses_all_that_reaches_the_host(line: str, rule: str, _place: str) -> None:
    text = service(line) + ("volumes:\n  data:\n" if "data:/a" in line else "")
    assert [f"(rule {rule})" in error.message for error in judged(text, None).errors] in ([True], [True] * 2)


def test_the_built_in_policy_lets_an_ordinary_service_be() -> None:
    assert judged(service('ports: ["80:80"]\nvolumes: [data:/x]') + "volumes:\n  data:\n", None).errors == ()


@pytest.mark.parametrize(
    ("path", "body", "is_allowed"),
    [
        ("media/compose.yaml", "privileged: true", True),
        ("media/compose.yaml", 'volumes: ["/srv/media/films:/x"]', True),
        ("media/compose.yaml", 'volumes: ["/srv/data:/x"]', True),
        ("media/compose.yaml", "pid: host", False),
        ("media/compose.yaml", "image: acme/app", True),
        ("shop/compose.yaml", "privileged: true", False),
    ],
)
def test_more_for_a_project(path: str, body: str, is_allowed: bool) -> None:
    text = f"services:\n  web:\n    {body}\n" if "image" in body else service(body)
    assert (judged(text, path=path).errors == ()) is is_allowed


def test_a_project_is_not_its_name_alone() -> None:
    """Whoever writes a manifest writes its project's name."""
    assert len(judged("name: media\n" + service("privileged: true")).errors) == 1


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ("type: none, o: bind, device: /srv/data/db", ""),
        ("type: none, o: 'bind,ro', device: /etc/localtime", ""),
        ("type: tmpfs, o: size=64m, device: tmpfs", ""),
        ("type: ext4, device: /dev/dri/disk", ""),
        ("type: none, o: bind, device: /etc", "binds"),
        ("type: none, o: bind, device: /srv", "binds"),
        ("type: none, o: bind, device: ./data", "binds"),
        ("type: none, o: bind, device: /etc/localtime", "binds"),
        ("type: ext4, device: /dev/sda1", "devices"),
        ("type: ext4, o: ro, device: /dev/sda1", "devices"),
    ],
)
def test_what_a_volume_has_mounted(options: str, rule: str) -> None:
    manifest = judged(f"volumes:\n  x:\n    driver_opts: {{{options}}}\n")
    if not rule:
        assert manifest.errors == () and manifest.objects
        return
    [error] = manifest.errors
    column = 19 + options.index("device")
    assert str(error.where) == f"shop/compose.yaml:3:{column}" and f"(rule {rule})" in error.message


@pytest.mark.parametrize(("path", "is_allowed"), [("media/compose.yaml", True), ("shop/compose.yaml", False)])
def test_a_bridge_by_its_name_is_the_host_s_network(path: str, is_allowed: bool) -> None:
    body = "networks:\n  x: {driver_opts: {com.docker.network.bridge.name: br7}}\n"
    manifest = judged(body, path=path)
    assert (manifest.errors == ()) is is_allowed
    assert is_allowed or "bridge br7 by its name is not allowed" in manifest.errors[0].message


def test_options_that_nobody_understands_reach_nothing() -> None:
    policy = read_policy(POLICY, "/etc/p.yaml")
    spec = VolumeSpec(driver_opts={"type": "nonsense", "device": "/etc"})
    assert judge.judge(policy, Key("shop", "volume", "x"), spec) == ()


@pytest.mark.parametrize(("name", "is_allowed"), [("proxy", True), ("other_data", False)])
def test_what_belongs_to_others(name: str, is_allowed: bool) -> None:
    for section in ("networks", "volumes"):
        manifest = judged(f"{section}:\n  x: {{external: true, name: {name}}}\n")
        assert (manifest.errors == ()) is is_allowed
        assert is_allowed or str(manifest.errors[0].where) == "shop/compose.yaml:2:7"


@pytest.mark.parametrize(
    ("requirement", "with_it"),
    [("read_only", "read_only: true"), ("no_new_privileges", "security_opt: [no-new-privileges:true]")],
)
def test_what_everybody_must_have(requirement: str, with_it: str) -> None:
    policy = f"apiVersion: setpoint/v1\nkind: Policy\nrequire: [{requirement}]\n".encode()
    assert judged(service(with_it), policy).errors == ()
    assert "(rule require)" in judged(service("init: true"), policy).errors[0].message


def test_an_envelope_has_places_too() -> None:
    text = (
        "apiVersion: setpoint/v1\nkind: Container\nmetadata: {name: a}\nspec: {image: nginx}\n---\n"
        "apiVersion: setpoint/v1\nkind: Container\nmetadata: {name: b}\nspec:\n  image: nginx\n  pid: host\n"
    )
    assert [str(error.where) for error in judged(text, path="shop/x.yaml").errors] == ["shop/x.yaml:11:3"]


def test_what_an_anchor_brings_is_found_where_it_is_written() -> None:
    text = "x-base: &base\n  privileged: true\nservices:\n  web:\n    <<: *base\n    image: nginx\n"
    assert [str(error.where) for error in judged(text).errors] == ["shop/compose.yaml:2:3"]


def test_all_that_is_wrong_comes_at_once() -> None:
    manifest = judged(service("pid: host\nprivileged: true\ncap_add: [SYS_TIME]"))
    assert [error.where.line for error in manifest.errors] == [4, 5, 6]


def test_others_go_on() -> None:
    files = {"a/compose.yaml": service("privileged: true").encode(), "b/compose.yaml": HEAD.encode()}
    revision = Revision("1", "test", files)
    manifest = Gate(None, STRICT).admit(read(revision), revision)
    assert {key.project for key in manifest.objects} == {"b"}


def test_the_network_of_those_who_stay_stays() -> None:
    files = {
        "shop/a.compose.yaml": service("privileged: true").encode(),
        "shop/b.compose.yaml": b"services:\n  db:\n    image: nginx\n",
    }
    revision = Revision("1", "test", files)
    manifest = Gate(None, STRICT).admit(read(revision), revision)
    assert {key.name for key in manifest.objects} == {"db", "default"}


def test_without_a_policy_everything_is_as_it_was() -> None:
    revision = Revision("1", "test", {"a/compose.yaml": service("privileged: true").encode()})
    manifest = read(revision)
    assert Gate(Path("/nonexistent/policy.yaml"), OPEN).admit(manifest, revision) is manifest


def test_every_field_of_a_spec_was_looked_at() -> None:
    """A new one goes into judge.HARMLESS when it cannot reach the host, else it gets a rule."""
    assert set(ContainerSpec.model_fields) == judge.JUDGED | judge.HARMLESS
    assert set(NetworkSpec.model_fields) | set(VolumeSpec.model_fields) == judge.THINGS
    assert set(ImageSpec.model_fields) <= judge.JUDGED | judge.HARMLESS
    assert set(SocketSpec.model_fields) == judge.SOCKETS


def test_a_bind_is_held_below_the_outermost_that_can_be_written() -> None:
    policy = read_policy(
        b"apiVersion: setpoint/v1\nkind: Policy\nallow: {binds: [/srv/a/b, '/:ro']}\n"
        b"projects: {x: {binds: [/srv/a]}}\n",
        "p",
    )
    assert judge.bind_root(policy, "/srv/a/b/c") == "/srv/a"
    assert judge.bind_root(policy, "/etc") == "/"
    assert judge.bind_root(OPEN, "/etc") == ""


def test_devices_by_number_and_paths_of_ones_own_are_allowed_by_name() -> None:
    policy = (
        b"apiVersion: setpoint/v1\nkind: Policy\nallow:\n"
        b"  {devices: [/dev], unconfined: [masked_paths], namespaces: [cgroup]}\n"
    )
    for line in ('device_cgroup_rules: ["b 8:0 rw"]', "hidden_paths: []", "cgroup: host"):
        assert judged(service(line), policy).errors == ()


@pytest.mark.parametrize(
    ("recursive", "said"),
    [
        ("enabled", ""), ("disabled", ""), ("readonly", ""),
        ("writable", "writing to /srv is not allowed by /etc/p.yaml (rule binds)"),
    ],
)  # fmt: skip
def test_what_is_mounted_below_a_directory_is_a_part_of_it(recursive: str, said: str) -> None:
    policy = b"apiVersion: setpoint/v1\nkind: Policy\nallow: {binds: ['/srv:ro']}\n"
    mount = f"type: bind, source: /srv, target: /x, read_only: true, bind: {{recursive: {recursive}}}"
    line = f"volumes: [{{{mount}}}]"
    errors = judged(service(line), policy).errors
    assert [said in str(error) for error in errors] == ([True] if said else [])
    if said:
        assert errors[0].hint == "leave out recursive: writable"
