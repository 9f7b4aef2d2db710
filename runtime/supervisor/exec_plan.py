"""All that a further process of a running container is made of. Pure, but for the filter's file.

What the container's config says of it is the same for every command, so `execs` keeps a plan and gives it
another command: most execs are health checks, and to read a config anew writes to a hundred pages that the
fork before has made the kernel copy first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from runtime import cgroups
from runtime.supervisor.own_ids import IDS
from runtime.supervisor.prepare import ProcessPlan, prepare_process, with_arguments
from runtime.typed import Any, NamedTuple


class ExecPlan(NamedTuple):
    """directories: of the container's cgroups, none when they are gone with it. own_user: it is to enter the
    container's user namespace. owner: the host's id of that one's root, whose its pipes are to be; -1."""

    process: ProcessPlan
    directories: tuple[str, ...]
    own_user: bool
    owner: int


def plan_exec(
    config: Mapping[str, Any], process: Mapping[str, Any], seccomp: bytes | None = None
) -> ExecPlan:
    """config: the container's. process: an OCI `process` object for the new one. seccomp: the compiled
    filter; None takes the file that annotation "setpoint.seccomp" names. Raises as `prepare_process` does."""
    linux = config.get("linux") or {}
    directories: Sequence[str] = ()
    if linux.get("cgroupsPath"):
        path = cgroups.check_path(linux["cgroupsPath"])
        directories = cgroups.directories(path, linux.get("resources") or {})
    return ExecPlan(
        prepare_process(process, config, seccomp),
        tuple(directories),
        any(each["type"] == "user" for each in linux.get("namespaces") or ()),
        linux["uidMappings"][0]["hostID"] if IDS in (config.get("annotations") or {}) else -1,
    )


def with_command(plan: ExecPlan, arguments: Sequence[str]) -> ExecPlan:
    """The same for another command. Invalid for none, and for one with a NUL character."""
    return plan._replace(process=with_arguments(plan.process, arguments))
