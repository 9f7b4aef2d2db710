"""`setpoint policy`: what manifests may ask for on this host. Shows and checks the file; writes the first
one. The rules themselves are agent.policy's."""

from __future__ import annotations

import os
from argparse import Namespace
from pathlib import Path

from agent.cli import output
from agent.cli.parser import Parser
from agent.policy.policy import ImageRule
from agent.settings import policy_path
from runtime.errors import Conflict, Invalid

TEMPLATE = """\
# What manifests may ask for on this host. Who may commit is not root here: what can make a container the
# host's root is refused, unless it is named below. Takes effect when it is saved. `setpoint policy check`
apiVersion: setpoint/v1
kind: Policy

allow:
  privileged: false
  namespaces: []      # the host's: network, pid, ipc, uts, cgroup; container: join one of another project
  capabilities: []    # beyond the default ones: NET_ADMIN, SYS_TIME, or ALL
  devices: []         # /dev/dri, /dev/ttyUSB*
  binds: []           # /srv/data and all below it; "/etc/localtime:ro"; "/mnt/media:shared"
  unconfined: []      # seccomp, apparmor, masked_paths
  # Without one of these lines, any:
  # ports: ["80", "443", 8000-8999/tcp, "127.0.0.1:0-65535"]
  # images: ["docker.io/library/*", "registry.example.org/*"]
  # sysctls: [net.core.somaxconn]
  # external: []      # networks and volumes of other projects

# More for one project. Its name is written by who writes the manifest: below: names the directory.
# projects:
#   media: {below: media, devices: [/dev/dri], binds: [/srv/media]}

# What every container must have: user_namespace, no_new_privileges, read_only
# require: [no_new_privileges]

# Which images may come and run, however they come. The first rule whose match (host and path, * is any) fits
# an image is its rule; what none fits may come. The age counts from when this host first saw the image.
# images:
#   ours:
#     match: [registry.example.org/*]
#     signed_by:        # one of these keys, as in cosign.pub
#       - |
#         -----BEGIN PUBLIC KEY-----
#         ...
#   built: {match: [setpoint.local/*]}    # what manifests build
#   hub: {match: [docker.io/*], pinned: true, minimum_age: 72h, architectures: [amd64]}
#   rest: {match: ["*"], deny: true}
"""


def add_policy(parser: Parser) -> None:
    parser.add_argument(
        "action", choices=("check", "init"), metavar="check|init", help="look at it, or write it"
    )
    parser.add_argument("file", nargs="?", default="", metavar="FILE", help="not /etc/INSTANCE/policy.yaml")
    parser.examples(
        "setpoint policy init               write a strict one, to be edited",
        "setpoint policy check              every error with its line",
        "setpoint validate manifests/       what it refuses",
    )


def run_policy(arguments: Namespace) -> int:
    path = Path(arguments.file or policy_path(arguments.instance)).absolute()
    return init(path) if arguments.action == "init" else check(path)


def init(path: Path) -> int:
    """Never over one that is there."""
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o644)
    except FileExistsError:
        raise Conflict("write policy", str(path), "there is one", f"edit {path}") from None
    except OSError as error:
        raise Invalid("write policy", str(path), error.strerror or str(error), "run it as root") from None
    with os.fdopen(descriptor, "w") as file:
        file.write(TEMPLATE)
    print(f"{path} written: from now on nothing that reaches the host is allowed but what it names")
    return 0


def check(path: Path) -> int:
    from agent.policy.gate import Gate
    from agent.policy.read import BadPolicy

    try:
        policy = Gate(path, is_needed=True).policy()
    except BadPolicy as error:
        raise Invalid(
            "read policy", "", "\n".join(error.problems), "nothing new is applied until then"
        ) from None
    allow = policy.allow
    print(output.clean(f"{path} is in order"))
    names = ["privileged"] if allow.privileged else []
    names += [f"namespaces {' '.join(sorted(allow.namespaces))}"] if allow.namespaces else []
    names += [f"capabilities {' '.join(sorted(allow.capabilities))}"] if allow.capabilities else []
    names += [f"{rule} {' '.join(found)}" for rule, found in (
        ("devices", allow.devices), ("binds", tuple(bind.path for bind in allow.binds)),
        ("unconfined", tuple(sorted(allow.unconfined)))) if found]  # fmt: skip
    print(output.clean(f"allowed to all: {'; '.join(names) or 'nothing that reaches the host'}"))
    for name, rule in sorted(policy.projects.items()):
        print(output.clean(f"more to project {name}{f' below {rule.below}/' if rule.below else ''}"))
    for image_rule in policy.images:
        print(output.clean(f"images {image_rule.name}: {', '.join(image_rule.match)}: {_asked(image_rule)}"))
    return 0


def _asked(rule: ImageRule) -> str:
    """What it asks of an image, in words."""
    if rule.deny:
        return "denied"
    asked = ["by digest"] if rule.pinned else []
    asked += [f"seen {rule.minimum_age_seconds / 3600:g} h ago"] if rule.minimum_age_seconds else []
    asked += [f"for {', '.join(sorted(rule.architectures))}"] if rule.architectures else []
    asked += [f"signed by one of {len(rule.signed_by)} keys"] if rule.signed_by else []
    return ", ".join(asked) or "may come"
