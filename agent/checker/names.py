"""The names that an instance's directories may hold: what has another one was left by a step that did not
come to its end. Pure. What a container, a volume, the image store or git holds is theirs to judge.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from runtime.model import ContainerConfig

DATA = re.compile(
    r"setpoint\.db(-wal|-shm|-journal|\.damaged-.*)?|agent\.lock|agent\.log(\.1)?"
    r"|audit|ballast|builds|checkpoint\.key|containers|images|manifests|mount-points|networks|seccomp|source|volumes"
)
RUN = re.compile(
    r"apparmor|builds|containers|hosts|netns|sandboxes|setpoint\.sock|sockets|store"
    r"|supervisor\.(err|sock|sock\.lock)"
)
BUNDLE = re.compile(r"checkpoints|container\.json|exit\.json|log|restore\.json|upper|work")
RUN_OF_ONE = re.compile(
    r"(config|state|exit)\.json|hosts|hostname|resolv\.conf|stdin|std(out|err)(\.spool)?|console\.spool"
    r"|paused-for-commit|restoring\.json|restored|criu\.(log|pid)"
)
VOLUME = re.compile(r"_data|volume\.json")


def needed(config: ContainerConfig) -> Mapping[str, str]:
    """File of a running container's run directory -> what goes wrong without it."""
    adopts, shows = "the next supervisor cannot adopt it", "it is mounted in it"
    found = {"config.json": "nothing can be executed in it", "resolv.conf": shows}
    if config.uts_mode != "host":
        found["hostname"] = shows
    if config.sandbox.mode == "host":
        found["hosts"] = shows
    if not config.tty:
        found |= {"stdout": adopts, "stderr": adopts}
    return found
