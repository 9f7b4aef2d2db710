"""`setpoint oci`: the native runtime under the command line that OCI runtimes share.

Other engines (`podman --runtime`, containerd) and validation tools call it. Parses, calls
`runtime.oci`, prints; errors go to stderr and, as those callers expect, to the file of --log.
Run as `python -m agent.cli.oci`, or by `setpoint oci`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from agent.cli.main import protect_oci
from runtime.errors import Invalid, SetpointError, Unsupported
from runtime.oci import describe, execs, lifecycle, records

DEFAULT_ROOT = "/run/setpoint-oci"


@dataclass(frozen=True, slots=True)
class Globals:
    """The options before the verb."""

    root: Path
    log: str
    log_format: str


class Oci(click.Group):
    """The group, with errors as an OCI runtime gives them: one line, exit status 1, and the log."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (SetpointError, OSError) as error:
            report(error, ctx.params.get("log") or "", ctx.params.get("log_format") or "text")
            ctx.exit(1)


def report(error: Exception, log: str, log_format: str) -> None:
    """Print an error, and append it to the log."""
    line = str(error)
    print(line, file=sys.stderr)
    if not log:
        return
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    if log_format == "json":
        entry = json.dumps({"level": "error", "msg": line, "time": stamp})
    else:
        entry = f'time="{stamp}" level=error msg={json.dumps(line)}'
    with Path(log).open("a") as file:
        file.write(entry + "\n")


@click.group(cls=Oci, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option("1.2.0", "-v", "--version", message="setpoint oci\nspec: %(version)s")
@click.option("--root", type=click.Path(path_type=Path), default=DEFAULT_ROOT, help="where state is kept")
@click.option("--log", default="", help="a file that errors are appended to")
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text")
@click.option("--log-level", default="", hidden=True)
@click.option("--debug", is_flag=True, hidden=True)
@click.option("--systemd-cgroup", is_flag=True, help="not supported: cgroups are made as plain paths")
@click.option("--cgroup-manager", type=click.Choice(["cgroupfs", "systemd", "disabled"]), default="cgroupfs")
@click.option("--rootless", default="", hidden=True)
@click.pass_context
def oci(  # noqa: PLR0913 (one parameter an option)
    ctx: click.Context, root: Path, log: str, log_format: str, log_level: str, debug: bool,
    systemd_cgroup: bool, cgroup_manager: str, rootless: str,
) -> None:  # fmt: skip
    """The native runtime under an OCI runtime's command line."""
    if systemd_cgroup or cgroup_manager == "systemd":
        raise Unsupported("use cgroups", "systemd", "not supported", "leave --systemd-cgroup out")
    ctx.obj = Globals(root, log, log_format)


def _created(command: Any) -> Any:
    """The options of create and run."""
    for option in reversed(
        (
            click.option("-b", "--bundle", type=click.Path(path_type=Path), default="."),
            click.option("--console-socket", default=""),
            click.option("--pid-file", default=""),
            click.option("--preserve-fds", type=int, default=0),
            click.option("--no-pivot", is_flag=True),
            click.option("--no-new-keyring", is_flag=True),
        )
    ):
        command = option(command)
    return command


def _options(
    bundle: Path, console_socket: str, pid_file: str, preserve_fds: int, no_pivot: bool, no_new_keyring: bool
) -> lifecycle.CreateOptions:
    for name, given in (("--no-pivot", no_pivot), ("--no-new-keyring", no_new_keyring)):
        if given:
            raise Unsupported("create container", name, "not supported: it weakens isolation", "leave it out")
    return lifecycle.CreateOptions(bundle, console_socket, pid_file, preserve_fds)


@oci.command()
@_created
@click.argument("id")
@click.pass_obj
def create(given: Globals, /, id: str, **options: Any) -> None:
    """Make a container; its program waits for start."""
    lifecycle.create(given.root, id, _options(**options))


@oci.command()
@_created
@click.option("-d", "--detach", is_flag=True)
@click.option("--keep", is_flag=True, hidden=True)
@click.argument("id")
@click.pass_obj
def run(given: Globals, /, id: str, detach: bool, keep: bool, **options: Any) -> None:
    """Create and start a container, wait for it and delete it."""
    sys.exit(lifecycle.run(given.root, id, _options(**options), detach))


@oci.command()
@click.argument("id")
@click.pass_obj
def start(given: Globals, id: str) -> None:
    """Let a created container's program run."""
    lifecycle.start(given.root, id)


@oci.command()
@click.argument("id")
@click.pass_obj
def state(given: Globals, id: str) -> None:
    """Print a container's state."""
    _print(records.state(given.root, records.read(given.root, id)))


@oci.command()
@click.option("-a", "--all", "everyone", is_flag=True, help="every process of the container")
@click.argument("id")
@click.argument("signal_name", metavar="[SIGNAL]", default="TERM")
@click.pass_obj
def kill(given: Globals, id: str, signal_name: str, everyone: bool) -> None:
    """Send a signal (a name or a number) to a container."""
    lifecycle.kill(given.root, id, signal_number(signal_name), everyone)


def signal_number(name: str) -> int:
    """`15`, `TERM`, `SIGTERM`, `RTMIN+1` -> the number. `Invalid` for others."""
    if name.isdecimal() and 0 <= int(name) <= signal.SIGRTMAX:
        return int(name)
    upper = name.upper()
    base, plus, offset = (upper if upper.startswith("SIG") else f"SIG{upper}").partition("+")
    found = getattr(signal, base, None)
    if not isinstance(found, signal.Signals) or (plus and not offset.isdecimal()):
        raise Invalid("send signal", name, "no such signal", "TERM, SIGTERM or 15, for example")
    return found + int(offset or 0)


@oci.command()
@click.option("-f", "--force", is_flag=True, help="also a running one")
@click.argument("id")
@click.pass_obj
def delete(given: Globals, id: str, force: bool) -> None:
    """Remove a stopped container."""
    lifecycle.delete(given.root, id, force)


# What follows the id belongs to the program.
_PROGRAM = {"allow_interspersed_args": False}


@oci.command("exec", context_settings=_PROGRAM)
@click.option("-p", "--process", "process_file", type=click.Path(path_type=Path), default=None)
@click.option("--console-socket", default="")
@click.option("--pid-file", default="")
@click.option("-d", "--detach", is_flag=True)
@click.option("-t", "--tty", is_flag=True)
@click.option("--cwd", default="")
@click.option("-e", "--env", multiple=True)
@click.option("-u", "--user", default="", help="uid[:gid]")
@click.option("-g", "--additional-gids", type=int, multiple=True)
@click.option("-c", "--cap", multiple=True)
@click.option("--no-new-privs", is_flag=True)
@click.option("--apparmor", default="")
@click.option("--preserve-fds", type=int, default=0)
@click.option("--cgroup", default="", hidden=True)
@click.option("--ignore-paused", is_flag=True, hidden=True)
@click.argument("id")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def exec_(
    given: Globals, /, id: str, process_file: Path | None, arguments: tuple[str, ...], **options: Any
) -> None:
    """Run a further process in a container."""
    if options["cgroup"]:
        raise Unsupported("exec", "--cgroup", "not supported", "leave it out")
    if process_file is not None:
        process: Mapping[str, Any] = json.loads(process_file.read_bytes())
    else:
        config = records.read_config(given.root, id)
        process = execs.merge_process(config, _changes(arguments, options))
        process = execs.add_capabilities(process, options["cap"]) if options["cap"] else process
    chosen = execs.ExecOptions(
        options["console_socket"], options["pid_file"], options["detach"], options["preserve_fds"]
    )
    sys.exit(execs.run(given.root, id, process, chosen))


def _changes(arguments: tuple[str, ...], options: Mapping[str, Any]) -> dict[str, Any]:
    changes: dict[str, Any] = {"args": list(arguments), "env": list(options["env"])}
    if options["tty"]:
        changes["terminal"] = True
    if options["cwd"]:
        changes["cwd"] = options["cwd"]
    if options["user"]:
        changes["user"] = _user(options["user"], options["additional_gids"])
    if options["no_new_privs"]:
        changes["noNewPrivileges"] = True
    if options["apparmor"]:
        changes["apparmorProfile"] = options["apparmor"]
    return changes


def _user(text: str, groups: tuple[int, ...]) -> dict[str, Any]:
    uid, _, gid = text.partition(":")
    if not uid.isdecimal() or (gid and not gid.isdecimal()):
        raise Invalid("exec", f"user {text}", "not uid[:gid]", "numbers, for example 1000:1000")
    return {"uid": int(uid), "gid": int(gid or 0), "additionalGids": list(groups)}


@oci.command(context_settings=_PROGRAM)
@click.option("-f", "--format", "form", type=click.Choice(["table", "json"]), default="table")
@click.argument("id")
@click.argument("ps_options", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def ps(given: Globals, id: str, form: str, ps_options: tuple[str, ...]) -> None:
    """List a container's processes by their numbers on the host."""
    found = execs.list_processes(given.root, id)
    if form == "json":
        _print(list(found))
        return
    click.echo("PID      COMMAND")
    for pid in found:
        click.echo(f"{pid:<8} {_command(pid)}")


def _command(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    except OSError:
        return "?"
    return " ".join(word.decode(errors="replace") for word in words).encode("unicode_escape").decode()


@oci.command("list")
@click.option("-f", "--format", "form", type=click.Choice(["table", "json"]), default="table")
@click.option("-q", "--quiet", is_flag=True)
@click.pass_obj
def list_(given: Globals, form: str, quiet: bool) -> None:
    """List containers."""
    found = [records.state(given.root, records.read(given.root, id)) for id in records.list_ids(given.root)]
    if quiet:
        for each in found:
            click.echo(each["id"])
    elif form == "json":
        _print(found)
    else:
        click.echo(f"{'ID':<24} {'PID':<8} {'STATUS':<8} {'CREATED':<32} BUNDLE")
        for each in found:
            line = f"{each['id']:<24} {each['pid']:<8} {each['status']:<8} {each['created']:<32}"
            click.echo(f"{line} {each['bundle']}")


_LIMITS = (
    ("--memory", "memory", "limit"),
    ("--memory-swap", "memory", "swap"),
    ("--memory-reservation", "memory", "reservation"),
    ("--cpu-quota", "cpu", "quota"),
    ("--cpu-period", "cpu", "period"),
    ("--cpu-share", "cpu", "shares"),
    ("--pids-limit", "pids", "limit"),
    ("--blkio-weight", "blockIO", "weight"),
)


def _limits(command: Any) -> Any:
    for option, _, _ in reversed(_LIMITS):
        command = click.option(option, type=int, default=None)(command)
    return command


@oci.command()
@_limits
@click.option("--cpuset-cpus", default="")
@click.option("--cpuset-mems", default="")
@click.option("-r", "--resources", "file", default="", help="a file of OCI resources, - for stdin")
@click.argument("id")
@click.pass_obj
def update(
    given: Globals, /, id: str, file: str, cpuset_cpus: str, cpuset_mems: str, **limits: int | None
) -> None:
    """Change a container's limits."""
    resources: dict[str, Any] = {}
    if file:
        resources = json.loads(sys.stdin.read() if file == "-" else Path(file).read_text())
    for option, part, key in _LIMITS:
        value = limits[option.removeprefix("--").replace("-", "_")]
        if value is not None:
            resources.setdefault(part, {})[key] = value
    for key, text in (("cpus", cpuset_cpus), ("mems", cpuset_mems)):
        if text:
            resources.setdefault("cpu", {})[key] = text
    execs.update(given.root, id, resources)


@oci.command()
@click.argument("id")
@click.pass_obj
def pause(given: Globals, id: str) -> None:
    """Stop a container's processes where they are."""
    execs.pause(given.root, id)


@oci.command()
@click.argument("id")
@click.pass_obj
def resume(given: Globals, id: str) -> None:
    """Let a paused container go on."""
    execs.resume(given.root, id)


@oci.command()
@click.option("-b", "--bundle", type=click.Path(path_type=Path), default=".")
def spec(bundle: Path) -> None:
    """Write an example config.json into a bundle."""
    path = bundle / "config.json"
    try:
        with path.open("x") as file:
            json.dump(describe.example_config(), file, indent=2)
    except FileExistsError as error:
        raise Invalid("write spec", str(path), "it is there already", "remove it first") from error


@oci.command()
def features() -> None:
    """Print what this runtime and this host can do."""
    _print(describe.features(_has_seccomp(), _has_apparmor()))


def _has_seccomp() -> bool:
    return Path("/proc/sys/kernel/seccomp/actions_avail").exists()


def _has_apparmor() -> bool:
    try:
        return Path("/sys/module/apparmor/parameters/enabled").read_text().startswith("Y")
    except OSError:
        return False


def _print(value: object) -> None:
    click.echo(json.dumps(value, indent=2))


if __name__ == "__main__":
    protect_oci(sys.argv[1:])
    os.umask(0o022)
    oci(prog_name="setpoint oci")
