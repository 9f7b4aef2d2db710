"""The forms that a written manifest has for each value: the short one where that says it, else the long one.

Each is the text of a service's field; all of it is read back as the very same. What Hypothesis finds is in
`test_writer`: these are the forms that must be met every time."""

from __future__ import annotations

from textwrap import indent
from typing import Any

import pytest

from agent.manifest.spec import (
    AnySpec,
    Attachment,
    ContainerSpec,
    Dependency,
    Device,
    Healthcheck,
    ImageSpec,
    Logging,
    Mount,
    NetworkSpec,
    Port,
    Restart,
    SocketSpec,
    UlimitSpec,
    UpdateSpec,
    VolumeSpec,
)
from agent.manifest.writer.check import differences
from agent.manifest.writer.documents import unwritten, write_compose, write_envelopes
from store.records import Key
from tests.unit.manifest.test_writer import PATH, WEB, around, same

FORMS: list[tuple[dict[str, Any], str]] = [
    (
        {"ports": (Port(target=80), Port(target=81))},
        'ports:\n  - "80"\n  - "81"\n',
    ),
    (
        {"ports": (Port(target=80), Port(target=81), Port(target=82))},
        'ports:\n  - "80-82"\n',
    ),
    (
        {
            "ports": (
                Port(target=80, published=80),
                Port(target=81, published=82),
                Port(target=82, published=84),
            )
        },
        'ports:\n  - "80:80"\n  - "82:81"\n  - "84:82"\n',
    ),
    (
        {"ports": (Port(target=80, published=8000, published_last=8009),)},
        'ports:\n  - "8000-8009:80"\n',
    ),
    (
        {
            "ports": (
                Port(target=53, host_ip="2001:db8::1", protocol="udp"),
                Port(target=54, published=54, host_ip="127.0.0.1"),
            )
        },
        'ports:\n  - "[2001:db8::1]::53/udp"\n  - "127.0.0.1:54:54"\n',
    ),
    (
        {"ports": (Port(target=80, name="web"),)},
        "ports:\n  - name: web\n    target: 80\n",
    ),
    (
        {"ports": (Port(target=53, name="dns", published=53, protocol="udp", host_ip="fd::1"),)},
        'ports:\n  - name: dns\n    target: 53\n    published: "53"\n    protocol: udp\n    host_ip: fd::1\n',
    ),
    (
        {"ports": (Port(target=53, name="dns", published=53, published_last=59),)},
        'ports:\n  - name: dns\n    target: 53\n    published: "53-59"\n',
    ),
    (
        {"mounts": (Mount(type="volume", target="/data"),)},
        "volumes:\n  - /data\n",
    ),
    (
        {"mounts": (Mount(type="volume", target="/data", read_only=True),)},
        "volumes:\n  - type: volume\n    target: /data\n    read_only: true\n",
    ),
    (
        {"mounts": (Mount(type="volume", source="data", target="/data", read_only=True, no_copy=True),)},
        "volumes:\n  - data:/data:ro,nocopy\n",
    ),
    (
        {"mounts": (Mount(type="volume", source="data", target="/data", no_copy=True, subpath="a/b"),)},
        "volumes:\n"
        "  - type: volume\n"
        "    source: data\n"
        "    target: /data\n"
        "    volume:\n"
        "      nocopy: true\n"
        "      subpath: a/b\n",
    ),
    (
        {"mounts": (Mount(type="bind", source="/srv", target="/srv", propagation="rslave"),)},
        "volumes:\n  - /srv:/srv:rslave\n",
    ),
    (
        {"mounts": (Mount(type="bind", source="/srv", target="/srv", recursive="disabled"),)},
        "volumes:\n"
        "  - type: bind\n"
        "    source: /srv\n"
        "    target: /srv\n"
        "    bind:\n"
        "      recursive: disabled\n",
    ),
    (
        {"mounts": (Mount(type="bind", source="/srv", target="/srv", create_host_path=False),)},
        "volumes:\n"
        "  - type: bind\n"
        "    source: /srv\n"
        "    target: /srv\n"
        "    bind:\n"
        "      create_host_path: false\n",
    ),
    (
        {"mounts": (Mount(type="bind", source="/a:b", target="/srv", propagation="shared", read_only=True),)},
        "volumes:\n"
        "  - type: bind\n"
        "    source: /a:b\n"
        "    target: /srv\n"
        "    read_only: true\n"
        "    bind:\n"
        "      propagation: shared\n",
    ),
    (
        {
            "mounts": (
                Mount(type="tmpfs", target="/run", read_only=True, mode=0o700, options=("noexec", "nosuid")),
            )
        },
        "tmpfs:\n  - /run:mode=0700,ro,noexec,nosuid\n",
    ),
    (
        {"mounts": (Mount(type="tmpfs", target="/a:b", size_bytes=65536, mode=0o1777),)},
        'volumes:\n  - type: tmpfs\n    target: /a:b\n    tmpfs:\n      size: 64k\n      mode: "1777"\n',
    ),
    (
        {"mounts": (Mount(type="tmpfs", target="/a:b"),)},
        "volumes:\n  - type: tmpfs\n    target: /a:b\n",
    ),
    (
        {"mounts": (Mount(type="tmpfs", target="/run"), Mount(type="bind", source="/srv", target="/srv"))},
        "volumes:\n  - type: tmpfs\n    target: /run\n  - /srv:/srv\n",
    ),
    (
        {
            "mounts": (
                Mount(type="tmpfs", target="/run", size_bytes=1, mode=0),
                Mount(type="bind", source="/srv", target="/srv"),
            )
        },
        "volumes:\n"
        "  - type: tmpfs\n"
        "    target: /run\n"
        "    tmpfs:\n"
        "      size: 1\n"
        '      mode: "0000"\n'
        "  - /srv:/srv\n",
    ),
    (
        {
            "devices": (
                Device(source="/dev/a", target="/dev/a"),
                Device(source="/dev/a", target="/dev/b"),
                Device(source="/dev/a", target="/dev/b", permissions="r"),
                Device(source="/dev/a:b", target="/dev/c"),
            )
        },
        "devices:\n"
        "  - /dev/a\n"
        "  - /dev/a:/dev/b\n"
        "  - /dev/a:/dev/b:r\n"
        "  - source: /dev/a:b\n"
        "    target: /dev/c\n"
        "    permissions: rwm\n",
    ),
    (
        {"networks": {"front": Attachment(), "back": Attachment()}},
        "networks:\n  - front\n  - back\n",
    ),
    (
        {"networks": {"front": Attachment(aliases=("a", "b"), priority=3), "back": Attachment()}},
        "networks:\n  front:\n    aliases:\n      - a\n      - b\n    priority: 3\n  back:\n",
    ),
    (
        {"extra_hosts": (("a", "10.0.0.1"), ("b", "::1"))},
        "extra_hosts:\n  - a:10.0.0.1\n  - b=::1\n",
    ),
    (
        {"extra_hosts": (("a", "10.0.0.1"), ("a", "::1"))},
        "extra_hosts:\n  a:\n    - 10.0.0.1\n    - ::1\n",
    ),
    (
        {
            "no_new_privileges": True,
            "seccomp": "unconfined",
            "apparmor": "docker-default",
            "masked_paths": False,
        },
        "security_opt:\n"
        "  - no-new-privileges:true\n"
        "  - seccomp=unconfined\n"
        "  - apparmor=docker-default\n"
        "  - systempaths=unconfined\n",
    ),
    (
        {"ulimits": {"nofile": UlimitSpec(soft=1, hard=1), "core": UlimitSpec(soft=0, hard=9)}},
        "ulimits:\n  nofile: 1\n  core:\n    soft: 0\n    hard: 9\n",
    ),
    (
        {"healthcheck": Healthcheck(test=("CMD", "true", ""), interval=0.25, retries=5)},
        'healthcheck:\n  test: ["CMD", "true", ""]\n  interval: 250ms\n  retries: 5\n',
    ),
    (
        {"healthcheck": Healthcheck(disable=True)},
        "healthcheck:\n  disable: true\n",
    ),
    (
        {"healthcheck": Healthcheck(tcp=":80", start_period=1.0)},
        "healthcheck:\n  tcp: :80\n  start_period: 1s\n",
    ),
    (
        {"depends_on": {"db": Dependency()}},
        "depends_on:\n  - db\n",
    ),
    (
        {"depends_on": {"db": Dependency(condition="service_healthy", required=False)}},
        "depends_on:\n  db:\n    condition: service_healthy\n    required: false\n",
    ),
    (
        {"logging": Logging(driver="local")},
        "logging:\n  driver: local\n",
    ),
    (
        {"logging": Logging(max_size_bytes=65536, max_file=9)},
        "logging:\n  options:\n    max-size: 64k\n    max-file: 9\n",
    ),
    (
        {"update": UpdateSpec(policy="minor")},
        "update: minor\n",
    ),
    (
        {
            "update": UpdateSpec(
                policy="patch", minimum_age=3600.0, window=("02:00-04:00 Mon-Fri",), prereleases=True
            )
        },
        "update:\n"
        "  policy: patch\n"
        "  window:\n"
        "    - 02:00-04:00 Mon-Fri\n"
        "  minimum_age: 1h\n"
        "  prereleases: true\n",
    ),
    (
        {"cpus": 2.0, "cpuset": "0", "stop_grace_period": 0.0, "shm_size": 65536},
        'stop_grace_period: 0s\ncpus: 2\ncpuset: "0"\nshm_size: 64k\n',
    ),
    (
        {
            "profiles": ("a", "b"),
            "entrypoint": (),
            "expose": ("80",),
            "labels": {"a": "1"},
            "cap_drop": ("ALL",),
        },
        'profiles:\n  - a\n  - b\nentrypoint: []\nexpose:\n  - "80"\ncap_drop: [ALL]\nlabels:\n  a: "1"\n',
    ),
    (
        {"restart": Restart(policy="always")},
        "restart: always\n",
    ),
    (
        {"restart": Restart(policy="on-failure", max_attempts=5)},
        "restart: on-failure:5\n",
    ),
    (
        {"restart": Restart(policy="on-failure", max_attempts=10_000)},
        "restart:\n  policy: on-failure\n  max_attempts: 10000\n",
    ),
    (
        {"restart": Restart(policy="always", max_attempts=7)},
        "restart:\n  policy: always\n  max_attempts: 7\n  window: 10m\n",
    ),
    (
        {"restart": Restart(policy="on-failure", max_attempts=7, window_seconds=60.0)},
        "restart:\n  policy: on-failure\n  max_attempts: 7\n  window: 1m\n",
    ),
    (
        {"logging": Logging(labels="a,b", tag="{{.Name}}")},
        'logging:\n  options:\n    labels: "a,b"\n    tag: "{{.Name}}"\n',
    ),
    (
        {"logging": Logging(driver="local", max_file=9)},
        "logging:\n  driver: local\n  options:\n    max-file: 9\n",
    ),
    (
        {"update": UpdateSpec(policy="patch", prereleases=True)},
        "update:\n  policy: patch\n  prereleases: true\n",
    ),
    (
        {"mounts": (Mount(type="bind", source="/a:b", target="/srv"),)},
        "volumes:\n  - type: bind\n    source: /a:b\n    target: /srv\n",
    ),
    (
        {"stop_grace_period": 0.0015},
        "stop_grace_period: 0.0015s\n",
    ),
    (
        {"mounts": (Mount(type="tmpfs", target="/run"), Mount(type="tmpfs", target="/tmp", size_bytes=9))},
        "tmpfs:\n  - /run\n  - /tmp:size=9\n",
    ),
]


@pytest.mark.parametrize(("fields", "text"), FORMS)
def test_form(fields: dict[str, Any], text: str) -> None:
    spec = ContainerSpec(image="a", **fields)
    assert write_compose({WEB: spec}, PATH) == f"services:\n  web:\n    image: a\n{indent(text, '    ')}"
    same(around(spec), write_compose(around(spec), PATH))


def test_fields_of_networks_volumes_and_images() -> None:
    objects: dict[Key, AnySpec] = {
        Key("shop", "network", "a"): NetworkSpec(gateway="10.5.0.9", subnet="10.5.0.0/24", name="real"),
        Key("shop", "volume", "b"): VolumeSpec(keep=False, labels={"a": "1"}),
        Key("shop", "volume", "plain"): VolumeSpec(),
        Key("shop", "image", "c"): ImageSpec(image="nginx", update=UpdateSpec(policy="digest")),
    }
    text = write_envelopes(objects, "shop/all.yaml")
    assert "update: digest" in text and "keep: false" in text
    assert "metadata:\n  name: plain\n" in text and "spec" not in text.partition("name: plain\n")[2]
    same(objects, text, "shop/all.yaml")


def test_a_socket_has_no_words_here_and_that_is_said() -> None:
    """No API makes one, so none is ever asked for: what is written is never taken for one."""
    socket = SocketSpec(path="/srv/ci.sock", allow=("read",))
    assert unwritten(socket) == ("allow", "path")
    assert differences({Key("shop", "socket", "ci"): socket}, PATH, "services: {}\n") == (
        "socket ci: there is no word for allow",
        "socket ci: there is no word for path",
    )


def test_what_equals_and_hashes_otherwise_is_found() -> None:
    """-0.0 == 0.0, and not as JSON: to take it over would be a new container."""
    objects: dict[Key, AnySpec] = {WEB: ContainerSpec(image="a", stop_grace_period=-0.0)}
    text = write_compose(objects, PATH)
    assert differences(objects, PATH, text) == ("container web: its hash would be read otherwise",)
