"""Where an instance keeps its things, on disk and in the kernel. Pure: names only, touches nothing.

Every name carries the instance's name, so that several instances live side by side on one host and
cleaning up needs no memory.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from runtime.errors import Invalid

INSTANCE_PATTERN = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")
# Names that other programs have for a control group, a table or a directory below /run and /var/lib.
FOREIGN_NAMES = frozenset(
    (
        "apt",
        "containerd",
        "containers",
        "cri-o",
        "crio",
        "docker",
        "dpkg",
        "filter",
        "firewalld",
        "init",
        "kubelet",
        "libpod",
        "lock",
        "log",
        "lxc-container",
        "mangle",
        "mount",
        "nat",
        "netns",
        "podman",
        "raw",
        "runc",
        "security",
        "sshd",
        "systemd",
        "udev",
        "user",
        "utmp",
    )
)


@dataclass(frozen=True, slots=True)
class Layout:
    """The names and directories of one instance."""

    instance: str = "setpoint"
    data_root: Path = Path("/var/lib")
    run_root: Path = Path("/run")

    def __post_init__(self) -> None:
        if not INSTANCE_PATTERN.fullmatch(self.instance):
            raise Invalid(
                "use instance", self.instance, "not a valid instance name",
                "lower-case letters, digits and '-', at most 31 characters",
            )  # fmt: skip
        if self.instance in FOREIGN_NAMES:
            raise Invalid("use instance", self.instance, "another program has that name", "choose another")

    # Kept over a reboot.
    @property
    def data(self) -> Path:
        """/var/lib/NAME, mode 0700."""
        return self.data_root / self.instance

    @property
    def database(self) -> Path:
        return self.data / "setpoint.db"

    @property
    def containers(self) -> Path:
        """One bundle directory a container, named by its id."""
        return self.data / "containers"

    @property
    def images(self) -> Path:
        return self.data / "images"

    @property
    def builds(self) -> Path:
        """The history and logs of builds, and the directories of their cache mounts."""
        return self.data / "builds"

    @property
    def mount_points(self) -> Path:
        """The lowest layer of every container's root."""
        return self.data / "mount-points"

    @property
    def volumes(self) -> Path:
        return self.data / "volumes"

    @property
    def networks(self) -> Path:
        """One JSON file a network, named by the network."""
        return self.data / "networks"

    # Gone at a reboot (tmpfs).
    @property
    def run(self) -> Path:
        """/run/NAME, mode 0711."""
        return self.run_root / self.instance

    @property
    def run_containers(self) -> Path:
        """One directory a started container: FIFOs, pid, exit record, hosts and resolv.conf."""
        return self.run / "containers"

    @property
    def run_builds(self) -> Path:
        """One directory a live build: its secrets, which never reach a disk."""
        return self.run / "builds"

    @property
    def netns(self) -> Path:
        """Bind-mounted network namespaces, named by sandbox."""
        return self.run / "netns"

    @property
    def agent_socket(self) -> Path:
        return self.run / "setpoint.sock"

    @property
    def supervisor_socket(self) -> Path:
        return self.run / "supervisor.sock"

    # Names in the kernel.
    @property
    def cgroup_parent(self) -> str:
        """Relative to each hierarchy's mount point; one directory a container below it."""
        return self.instance

    @property
    def git_cgroup(self) -> str:
        """Where the agent's git runs, beside the containers' parent: no instance's name has a dot."""
        return f"{self.instance}.git"

    @property
    def image_cgroup(self) -> str:
        """Where images are pulled, loaded, unpacked and written."""
        return f"{self.instance}.images"

    @property
    def build_cgroup(self) -> str:
        """Where Dockerfiles are read and files taken for them; their RUN steps are containers."""
        return f"{self.instance}.builds"

    @property
    def copy_cgroup(self) -> str:
        """Where files go into containers and out of them."""
        return f"{self.instance}.copies"

    @property
    def side_cgroups(self) -> tuple[str, ...]:
        """All that the agent has beside the containers' parent; nothing of them outlives it for long."""
        return (self.git_cgroup, self.image_cgroup, self.build_cgroup, self.copy_cgroup)

    @property
    def nft_table(self) -> str:
        """The nftables tables of this instance: one of family inet, and one of family bridge."""
        return self.instance.replace("-", "_")

    @property
    def apparmor_profile(self) -> str:
        """What confines the containers of this instance that name no other profile."""
        return f"{self.instance}-default"

    def link_name(self, kind: str, *parts: str) -> str:
        """A network link's name, at most 15 bytes (IFNAMSIZ), derived from the instance and parts.

        kind: one or two letters, "br" for a bridge, "ve" for a veth pair's host end.
        """
        digest = hashlib.sha256("/".join((self.instance, *parts)).encode()).hexdigest()
        return f"{kind}{digest[: 15 - len(kind)]}"


def drill_layout(instance: str) -> Layout:
    """Of the throw-away instance on which `setpoint drill` breaks things, beside this one."""
    name = f"{instance}-drill"
    if len(name) > 31:
        name = f"{hashlib.sha256(instance.encode()).hexdigest()[:16]}-drill"
    return Layout(name)
