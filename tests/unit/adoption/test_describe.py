"""A container of the Docker API in a manifest's words: names, volumes, networks, what is left out. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from agent.adoption.describe import describe, project_of, service_of
from agent.adoption.surroundings import surroundings_of
from agent.manifest.hashing import hashes
from agent.manifest.spec import (
    AnySpec,
    Asked,
    Attachment,
    ContainerSpec,
    Mount,
    NetworkSpec,
    Port,
    Restart,
    VolumeSpec,
)
from agent.manifest.writer.check import differences
from agent.manifest.writer.documents import write_compose
from agent.reconcile import convert
from runtime.model import ImageInfo
from store.records import Key, ObjectRecord

FORMER = Key("@api", "container", "0123456789ab")
WEB = Key("shop", "container", "web")
IMAGE = ImageInfo(
    "sha256:aa", ("nginx:1.27",), 1, 0.0, "amd64", "linux", entrypoint=("/entry",), command=("serve",),
    volumes=("/cache",), exposed_ports=("80/tcp",),
)  # fmt: skip


def record(key: Key, spec: AnySpec, owner: str = "api") -> ObjectRecord:
    data = spec.model_dump(mode="json", exclude_unset=True)
    return ObjectRecord(
        key, owner, data, hashes(spec)[0], 1, 1, "shop/compose.yaml" if owner == "git" else "", 1, ""
    )


def made(**fields: Any) -> ContainerSpec:
    request = fields.pop("request", {"Image": "nginx:1.27"})
    fields = {
        "image": IMAGE.id, "container_name": "web", "entrypoint": ("/entry",), "command": ("serve",),
        "expose": ("80/tcp",), "restart": Restart(), "network_mode": "bridge", "ensure": "running", **fields,
    }  # fmt: skip
    if fields.get("networks"):
        fields.pop("network_mode")
    return ContainerSpec(asked=Asked(image="nginx:1.27", request=request), **fields)


def described(
    spec: ContainerSpec, others: dict[Key, ObjectRecord] | None = None, image: ImageInfo | None = IMAGE
) -> tuple[dict[Key, AnySpec], list[str]]:
    """The objects, read back as the same, and the notes."""
    around = surroundings_of(others or {}, "shop", image, replace(IMAGE, volumes=()) if image else None)
    found = describe(FORMER, spec, WEB, around)
    assert (
        differences(found.objects, "shop/w.compose.yaml", write_compose(found.objects, "shop/w.compose.yaml"))
        == ()
    )
    return found.objects, found.notes


def test_what_nobody_asked_for_is_the_images() -> None:
    objects, notes = described(made())
    assert objects == {
        WEB: ContainerSpec(image="nginx:1.27", container_name="web", restart=Restart(), network_mode="bridge")
    }
    assert notes == []


def test_what_was_asked_for_is_said_even_if_the_image_says_it_too() -> None:
    request = {"Image": "nginx:1.27", "Cmd": ["serve"], "ExposedPorts": {"80/tcp": {}}}
    found = described(made(request=request))[0][WEB]
    assert isinstance(found, ContainerSpec)
    assert found.command == ("serve",) and found.entrypoint is None and found.expose == ("80/tcp",)


def test_what_is_published_need_not_be_exposed() -> None:
    request = {"Image": "nginx:1.27", "ExposedPorts": {"80/tcp": {}}}
    found = described(made(request=request, ports=(Port(target=80, published=8080),)))[0][WEB]
    assert isinstance(found, ContainerSpec) and found.expose == ()


def test_a_name_that_means_another_image_now_is_not_used() -> None:
    objects, notes = described(made(), image=replace(IMAGE, id="sha256:bb"))
    found = objects[WEB]
    assert isinstance(found, ContainerSpec)
    assert found.image == IMAGE.id and found.command == ("serve",)
    assert "nginx:1.27 is another one by now" in notes[0]


def test_networks_stay_whose_they_are() -> None:
    others = {
        Key("@api", "network", "front"): record(Key("@api", "network", "front"), NetworkSpec(name="front")),
        Key("lab", "network", "back"): record(Key("lab", "network", "back"), NetworkSpec(), "git"),
        Key("shop", "network", "own"): record(Key("shop", "network", "own"), NetworkSpec(), "git"),
    }
    attachment = Attachment(aliases=("w",))
    networks = {"front": attachment, "lab/network/back": Attachment(), "shop/network/own": Attachment()}
    objects = described_in_shop(made(networks=networks), others)
    found = objects[WEB]
    assert isinstance(found, ContainerSpec)
    assert found.networks == {"front": attachment, "lab_back": Attachment(), "own": Attachment()}
    assert objects[Key("shop", "network", "front")] == NetworkSpec(external=True)
    assert objects[Key("shop", "network", "lab_back")] == NetworkSpec(external=True)
    assert Key("shop", "network", "own") not in objects


def described_in_shop(spec: ContainerSpec, others: dict[Key, ObjectRecord]) -> dict[Key, AnySpec]:
    """Where the project's own manifest declares what is not declared here."""
    return describe(
        FORMER, spec, WEB, surroundings_of(others, "shop", IMAGE, replace(IMAGE, volumes=()))
    ).objects


def test_named_volumes_stay_and_anonymous_ones_get_names() -> None:
    key = Key("@api", "volume", "data")
    mounts = (
        Mount(type="volume", source="data", target="/data"),
        Mount(type="volume", target="/var/cache"),
        Mount(type="bind", source="/etc/app", target="/etc/app"),
    )
    objects, notes = described(made(mounts=mounts), {key: record(key, VolumeSpec(name="data"))})
    found = objects[WEB]
    assert isinstance(found, ContainerSpec)
    assert [mount.source for mount in found.mounts] == ["data", "web-var-cache", "/etc/app"]
    real = convert.anonymous_volume_name(FORMER, 1, "/var/cache")
    assert objects[Key("shop", "volume", "web-var-cache")] == VolumeSpec(external=True, name=real)
    assert objects[Key("shop", "volume", "data")] == VolumeSpec(external=True)
    assert notes == ["the anonymous volume at /var/cache is called web-var-cache: its data stays"]


def test_a_volume_that_the_image_declares_is_kept_too() -> None:
    found = describe(FORMER, made(), WEB, surroundings_of({}, "shop", IMAGE, IMAGE)).objects
    assert Key("shop", "volume", "web-cache") in found


def test_a_name_of_the_project_is_not_taken_twice() -> None:
    taken = {Key("shop", "volume", "data"): record(Key("shop", "volume", "data"), VolumeSpec(), "git")}
    key = Key("@api", "volume", "data")
    taken[key] = record(key, VolumeSpec(name="data"))
    spec = made(mounts=(Mount(type="volume", source="data", target="/data"),))
    objects = describe(
        FORMER, spec, WEB, surroundings_of(taken, "shop", IMAGE, replace(IMAGE, volumes=()))
    ).objects
    assert objects[Key("shop", "volume", "data-2")] == VolumeSpec(external=True, name="data")


def test_other_containers_are_named_as_people_name_them() -> None:
    other = Key("@api", "container", "ba9876543210")
    others = {other: record(other, made(container_name="db")), WEB: record(WEB, made(), "git")}
    spec = made(
        network_mode="container:ba9876543210",
        pid="container:shop/container/web",
        external_links=(("ba9876543210", "store"),),
    )
    found = describe(FORMER, spec, WEB, surroundings_of(others, "shop", IMAGE, IMAGE)).objects[WEB]
    assert isinstance(found, ContainerSpec)
    assert (found.network_mode, found.pid) == ("container:db", "container:web")
    assert found.external_links == (("db", "store"),)


def test_restarts_are_a_manifests_and_that_is_said() -> None:
    objects, notes = described(made(restart=Restart(policy="always", max_attempts=10**9, window_seconds=1e9)))
    found = objects[WEB]
    assert isinstance(found, ContainerSpec) and found.restart == Restart(policy="always")
    assert "gives up after 10 failures in 10 minutes" in notes[0]
    objects, notes = described(made(restart=Restart(policy="on-failure", max_attempts=3, window_seconds=1e9)))
    found = objects[WEB]
    assert isinstance(found, ContainerSpec) and found.restart.max_attempts == 3 and notes == []


def test_a_stopped_one_is_wanted_stopped_and_one_that_removes_itself_stays() -> None:
    spec = made(ensure="stopped").model_copy(update={"asked": Asked(image="nginx:1.27", auto_remove=True)})
    objects, notes = described(spec)
    found = objects[WEB]
    assert isinstance(found, ContainerSpec) and found.ensure == "stopped"
    assert notes == ["--rm is left out: a manifest's container stays when it has ended"]


def test_project_and_service_are_composes_where_it_made_it() -> None:
    spec = made(labels={"com.docker.compose.project": "Shop 1", "com.docker.compose.service": "front"})
    assert project_of(spec) == "shop1" and project_of(made()) == "adopted"
    assert service_of(spec, "x", frozenset()) == "front"
    assert service_of(spec, "x", frozenset({"front"})) == "web"
    assert service_of(spec, "x", frozenset({"front", "web"})) == "x"


def test_what_every_container_has_is_not_said() -> None:
    for mode in ("private", "shareable"):
        objects, _ = described(made(ipc=mode))
        assert getattr(objects[WEB], "ipc") == ""  # noqa: B009
    assert getattr(described(made(ipc="host"))[0][WEB], "ipc") == "host"  # noqa: B009


def test_what_another_file_of_the_project_declares_may_be_used() -> None:
    lab, kept = Key("shop", "network", "lab"), Key("shop", "volume", "kept")
    others = {
        lab: record(lab, NetworkSpec(external=True), "git"),
        kept: record(kept, VolumeSpec(external=True), "git"),
    }
    spec = made(
        networks={str(lab): Attachment()}, mounts=(Mount(type="volume", source=str(kept), target="/kept"),)
    )
    around = surroundings_of(others, "shop", IMAGE, replace(IMAGE, volumes=()))
    found = describe(FORMER, spec, WEB, around)
    text = write_compose(found.objects, "shop/w.compose.yaml")
    assert list(found.objects) == [WEB] and "external" not in text
    alone = differences(found.objects, "shop/w.compose.yaml", text)
    assert alone == (
        'service "web": network "lab" is not declared', 'service "web": volume "kept" is not declared',
    )  # fmt: skip
    assert differences(found.objects, "shop/w.compose.yaml", text, declared=others) == ()
