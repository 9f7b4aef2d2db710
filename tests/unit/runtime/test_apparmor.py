"""The profile as text, and when it is loaded, beside a securityfs of plain files."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.cli import doctor_checks
from runtime import apparmor, confinement
from runtime.bundle import HostLimits, HostPaths, oci_config
from runtime.confinement import Confinement
from runtime.errors import Invalid, Temporary
from runtime.layout import Layout
from runtime.model import ContainerConfig, ImageInfo, SandboxConfig, Security
from runtime.mounts import Overlay
from runtime.supervisor import process
from runtime.supervisor.prepare import prepare_process

NAME = "shop-default"


class Kernel:
    """A securityfs, and a parser that loads into it. parser: what the parser does, as a shell script."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.profiles = place / "securityfs/policy/profiles"
        self.profiles.mkdir(parents=True)
        (place / "enabled").write_text("Y\n")
        self.program = place / "apparmor_parser"
        self.count = 0
        self.set_parser(
            f"n=$(ls {place}/log | wc -l); mkdir -p {place}/log; cat >{place}/log/$n\n"
            f"rm -rf {self.profiles}/{NAME}.*; mkdir {self.profiles}/{NAME}.$n\n"
            f"echo enforce >{self.profiles}/{NAME}.$n/mode; echo of-$n >{self.profiles}/{NAME}.$n/sha256\n"
        )
        (place / "log").mkdir()

    def set_parser(self, script: str) -> None:
        self.program.write_text(f"#!/bin/sh\n{script}")
        self.program.chmod(0o755)

    def loads(self) -> list[str]:
        return [path.read_text() for path in sorted((self.place / "log").iterdir())]

    def remove(self) -> None:
        subprocess.run(f"rm -rf {self.profiles}/{NAME}.*", shell=True, check=True)


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    made = Kernel(tmp_path)
    monkeypatch.setattr(apparmor, "ENABLED", tmp_path / "enabled")
    monkeypatch.setattr(apparmor, "SECURITYFS", tmp_path / "securityfs")
    monkeypatch.setattr(apparmor, "PARSERS", (tmp_path / "none", made.program))
    return made


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout("shop", tmp_path, tmp_path)
    made.run.mkdir()
    return made


def test_the_text_grants_signals_of_the_host_and_of_the_supervisors_profile() -> None:
    text = apparmor.profile_text(NAME, "a b")
    assert text.startswith(
        "abi <abi/3.0>,\n\nprofile shop-default flags=(attach_disconnected,mediate_deleted) {"
    )
    assert [line.strip() for line in text.splitlines() if "signal" in line or "ptrace" in line] == [
        'signal (receive) peer="unconfined",',
        'signal (receive) peer="a b",',
        "signal (send,receive) peer=shop-default,",
        "ptrace (trace,tracedby,read,readby) peer=shop-default,",
    ]
    assert not apparmor.profile_text(NAME, abi=False).startswith("abi")


@pytest.mark.parametrize(
    "rule",
    [
        "deny network alg,", "deny mount,", "deny /proc/* w,", "deny /proc/sysrq-trigger rwklx,",
        "deny /proc/kcore rwklx,", "deny /sys/firmware/** rwklx,", "deny /sys/kernel/security/** rwklx,",
        "deny /sys/devices/virtual/powercap/** rwklx,",
    ],
)  # fmt: skip
def test_the_text_denies(rule: str) -> None:
    assert f"\n  {rule}\n" in apparmor.profile_text(NAME)


@pytest.mark.skipif(apparmor.parser() is None, reason="apparmor_parser is not installed")
@pytest.mark.parametrize("daemon", ["", "a b"])
def test_the_parser_understands_it(daemon: str) -> None:
    text = apparmor.profile_text(NAME, daemon, apparmor.ABI.exists())
    command = [str(apparmor.parser()), "--skip-kernel-load", "--skip-cache", "--debug"]
    done = subprocess.run(command, input=text.encode(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("security", "found"),
    [
        (Security(), NAME),
        (Security(privileged=True), None),
        (Security(privileged=True, apparmor="other"), "other"),
        (Security(apparmor="unconfined"), None),
        (Security(apparmor="other"), "other"),
    ],
)
def test_a_container_that_names_no_profile_gets_the_hosts(security: Security, found: str | None) -> None:
    config = ContainerConfig(
        "0" * 64, "web", "i", SandboxConfig("host"), command=("true",), security=security
    )
    paths = HostPaths(Overlay(("/l",), "/u", "/w"), "/shop/web")
    image = ImageInfo("i", (), 0, 0.0, "amd64", "linux")
    made = oci_config(config, image, paths, host=HostLimits(apparmor=NAME))
    assert made["process"].get("apparmorProfile") == found
    elsewhere = oci_config(config, image, paths)  # a host without AppArmor
    assert elsewhere["process"].get("apparmorProfile") == (None if found == NAME else found)


@pytest.mark.parametrize(
    ("asked", "answer", "reason"),
    [
        (NAME, f"{NAME} (enforce)\n", ""),
        (NAME, f"{NAME} (complain)\n", ""),
        ("a name (x)", "a name (x) (enforce)\n", ""),
        (":ns:web", ":ns://web (enforce)\n", ""),
        (NAME, "", "the kernel has 'none' instead"),
        (NAME, "unconfined\n", "the kernel has 'unconfined' instead"),
        (NAME, "other-default (enforce)\n", "the kernel has 'other-default' instead"),
        (":ns:web", "unconfined\n", "the kernel has 'unconfined' instead"),
    ],
)
def test_a14_the_label_is_read_back(
    monkeypatch: pytest.MonkeyPatch, asked: str, answer: str, reason: str
) -> None:
    written: list[bytes] = []
    monkeypatch.setattr(process.os, "write", lambda _descriptor, data: written.append(data))
    monkeypatch.setattr(process.os, "pread", lambda *_: answer.encode())
    plan = prepare_process({"args": ["true"]}, {}, None)._replace(apparmor=asked)
    if not reason:
        process.confine(plan, 7)
    else:
        with pytest.raises(Invalid) as raised:
            process.confine(plan, 7)
        assert raised.value.reason == reason
    assert written == [f"exec {asked}".encode()]


def test_it_is_loaded_once_for_a_boot_and_again_when_it_changes(
    kernel: Kernel, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    stamp = layout.run / "apparmor"
    first = confinement.ensure(NAME, stamp)
    assert stamp.stat().st_mode & 0o777 == 0o600  # whoever passes through its directory
    assert (first.mode, first.digest) == ("enforce", "of-0")
    assert confinement.ensure(NAME, stamp) == first
    assert len(kernel.loads()) == 1
    monkeypatch.setattr(apparmor, "_RULES", "  network,\n")  # the next version of this program
    assert confinement.ensure(NAME, stamp).digest == "of-1"
    Path(confinement.ensure(NAME, stamp).place, "sha256").write_text("another\n")
    assert confinement.ensure(NAME, stamp).digest == "of-2"
    Path(confinement.ensure(NAME, stamp).place, "mode").write_text("complain\n")
    assert confinement.ensure(NAME, stamp).mode == "enforce"
    stamp.unlink()  # a reboot takes both away, and what is in the kernel without it is of an unknown text
    confinement.ensure(NAME, stamp)
    assert len(kernel.loads()) == 5


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo 'line 3: syntax error'; exit 1", "line 3: syntax error"),
        ("exit 4", "apparmor_parser ended with 4"),
        ("exit 0", "the kernel has it not after all"),
        ("mkdir -p $D; echo complain >$D/mode", "the kernel has it in mode complain after all"),
    ],
)
def test_a14_what_cannot_be_loaded_is_an_error(
    kernel: Kernel, layout: Layout, script: str, reason: str
) -> None:
    kernel.set_parser(script.replace("$D", str(kernel.profiles / f"{NAME}.7")))
    with pytest.raises(Temporary) as raised:
        confinement.ensure(NAME, layout.run / "apparmor")
    assert raised.value.reason == reason
    assert "apparmor=unconfined" in raised.value.hint
    assert not (layout.run / "apparmor").exists()


async def test_a14_a_start_waits_for_it_and_fails_without_it(kernel: Kernel, layout: Layout) -> None:
    found = Confinement(layout)
    assert found.profile == NAME
    found.open()
    await found.ready(Security())
    assert len(kernel.loads()) == 1
    await found.ready(Security())
    await asyncio.gather(*(found.ready(Security()) for _ in range(5)))
    assert len(kernel.loads()) == 1
    kernel.remove()
    await asyncio.gather(*(found.ready(Security()) for _ in range(5)))  # all wait for one
    assert len(kernel.loads()) == 2
    kernel.remove()
    kernel.set_parser("exit 1")
    for security in (Security(), Security(apparmor=NAME), Security(privileged=True, apparmor=NAME)):
        with pytest.raises(Temporary):
            await found.ready(security)
    for security in (Security(privileged=True), Security(apparmor="unconfined"), Security(apparmor="other")):
        await found.ready(security)
    await found.close()


async def test_its_drift_is_seen_and_repaired(kernel: Kernel, layout: Layout) -> None:
    found = Confinement(layout)
    assert found.find_drift() == ()  # nothing has needed it yet
    found.open()
    await found.ready(Security())
    assert found.find_drift() == ()

    async def drifts(change: Callable[[], object]) -> str:
        change()
        (drift,) = found.find_drift()
        assert (drift.kind, drift.subject) == ("apparmor", "")
        await found.repair()
        assert found.find_drift() == ()
        return drift.detail

    (place,) = kernel.profiles.iterdir()
    assert await drifts(lambda: (place / "mode").write_text("complain\n")) == (
        "AppArmor profile shop-default is in mode complain"
    )
    assert await drifts(kernel.remove) == "AppArmor profile shop-default is not loaded any more"
    (place,) = kernel.profiles.iterdir()
    assert await drifts(lambda: (place / "sha256").write_text("else\n")) == (
        "AppArmor profile shop-default is another one now"
    )


async def test_where_there_is_no_apparmor_nothing_is_done(
    kernel: Kernel, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    (kernel.place / "enabled").write_text("N\n")
    found = Confinement(layout)
    found.open()
    await found.ready(Security())
    assert (found.profile, found.is_on, kernel.loads(), found.find_drift()) == ("", False, [], ())
    (kernel.place / "enabled").unlink()
    assert not Confinement(layout).is_on


async def test_without_the_program_what_is_loaded_is_used_and_else_nothing(
    kernel: Kernel, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    confinement.ensure(NAME, layout.run / "apparmor")
    monkeypatch.setattr(apparmor, "PARSERS", ())
    (layout.run / "apparmor").unlink()
    found = Confinement(layout)
    assert (found.profile, found.can_load) == (NAME, False)
    await found.ready(Security())
    kernel.remove()
    with pytest.raises(Temporary, match="not installed any more"):  # it has begun confined, and ends so
        await found.ready(Security())
    assert (Confinement(layout).profile, Confinement(layout).is_on) == ("", True)


def test_unloading_writes_the_name_where_the_kernel_takes_it(kernel: Kernel, layout: Layout) -> None:
    apparmor.unload(NAME)
    assert not (kernel.place / "securityfs/.remove").exists()
    confinement.ensure(NAME, layout.run / "apparmor")
    apparmor.unload(NAME)
    assert (kernel.place / "securityfs/.remove").read_text() == NAME


def test_the_doctor_tells(kernel: Kernel, layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    def told() -> tuple[str, str]:
        (finding,) = doctor_checks.confinement("shop")
        return finding.state, finding.found

    assert told() == ("ok", "on; the agent loads the profile shop-default")
    loaded = confinement.ensure(NAME, layout.run / "apparmor")
    assert told() == ("ok", "profile shop-default, mode enforce")
    Path(loaded.place, "mode").write_text("complain\n")
    assert told() == ("warn", "profile shop-default, mode complain")
    kernel.remove()
    monkeypatch.setattr(apparmor, "PARSERS", ())
    assert told()[0] == "warn"
    assert "not installed" in told()[1]
    (kernel.place / "enabled").write_text("N\n")
    assert told()[0] == "ok"
