"""`setpoint agent`: in the foreground, in the background (`--detach`), and its end (`agent stop`).

Only here do options become Settings. The agent itself is agent.daemon. Stopping it stops no container.
"""

from __future__ import annotations

import argparse
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from agent.cli import output
from agent.cli.connect import AgentDown, connect, socket_path
from agent.cli.files import read_environment
from agent.cli.parser import Parser, seconds, size
from agent.cli.running_agent import DETACHED, asked_otherwise, options_of
from runtime.errors import Conflict, Invalid, NotFound, Temporary
from runtime.worker_caps import Caps

if TYPE_CHECKING:
    from agent.settings import Settings

WORKERS = Caps()
START_SECONDS = 600.0  # emulated, or beside much else; one that fails says so at once
STOP_SECONDS = 30.0
LAST_BREATH_SECONDS = 10.0  # of one that was killed and does not answer any more


def add_agent(parser: Parser) -> None:
    parser.add_argument("action", nargs="?", choices=("stop",), metavar="stop", help="end the running agent")
    parser.add_argument("-d", "--detach", action="store_true", help="return when it answers")
    parser.add_argument(
        "--watch", metavar="DIR", help="manifests here; in a git work tree what is committed at HEAD"
    )
    parser.add_argument("--git", metavar="URL", default="", help="manifests in a remote repository")
    parser.add_argument("--ref", metavar="NAME", default="main", help="its branch or tag (default main)")
    parser.add_argument("--path", metavar="DIR", default="", help="the directory in it")
    parser.add_argument("--poll", type=seconds, metavar="TIME", default=30.0, help="how often to ask (30s)")
    parser.add_argument(
        "--git-credentials", metavar="FILE", help="https://USER:TOKEN@HOST lines, as git-credential-store"
    )
    parser.add_argument(
        "--policy", metavar="FILE", help="what manifests may ask for (/etc/INSTANCE/policy.yaml)"
    )
    parser.add_argument(
        "--registries", metavar="FILE", help="mirrors and certificates (/etc/INSTANCE/registries.yaml)"
    )
    parser.add_argument(
        "--image-marks", type=marks, metavar="HIGH:LOW", default=(85.0, 80.0),
        help="over HIGH %% of the disk unused images go, to LOW (85:80)",
    )  # fmt: skip
    parser.add_argument(
        "--image-age", type=seconds, metavar="TIME", default=30 * 86400.0,
        help="unused images go after this; 0 is never (30d)",
    )  # fmt: skip
    parser.add_argument(
        "--image-grace", type=seconds, metavar="TIME", default=3600.0, help="and never before this (1h)"
    )
    parser.add_argument(
        "--image-look", type=seconds, metavar="TIME", default=300.0, help="how often that is looked at (5m)"
    )
    parser.add_argument(
        "--verify-every", type=seconds, metavar="TIME", default=7 * 86400.0,
        help="each image is compared with its digests so often; 0 is never (7d)",
    )  # fmt: skip
    parser.add_argument(
        "--update-look", type=seconds, metavar="TIME", default=3600.0,
        help="how often newer images are looked for, where manifests say update: (1h)",
    )  # fmt: skip
    _add_worker_caps(parser)
    parser.add_argument(
        "--env-file", metavar="FILE", default="", help="NAME=value lines for ${NAME} in manifests"
    )
    parser.add_argument(
        "--profile", action="append", metavar="NAME", default=[], help="a compose profile that counts"
    )
    parser.add_argument(
        "--metrics",
        metavar="ADDRESS",
        default=None,
        help='host:port of /metrics (127.0.0.1:9469); "" for none',
    )
    parser.add_argument(
        "--listen", action="append", metavar="ADDRESS", default=[],
        help="also on tcp://HOST:PORT, for clients with a certificate (setpoint tls)",
    )  # fmt: skip
    parser.add_argument("--tls", metavar="DIR", default="", help="the certificates (/etc/INSTANCE/tls)")
    parser.add_argument(
        "--unsafe-plain-tcp",
        action="store_true",
        help="without certificates: whoever reaches it is root here",
    )
    parser.add_argument("--log-level", metavar="LEVEL", choices=("debug", "info", "warning", "error"),
                        default="info", help="debug, info (default), warning or error")  # fmt: skip
    parser.add_argument("--log-format", metavar="FORM", choices=("auto", "text", "json"), default="auto",
                        help="text or json (default: text on a terminal)")  # fmt: skip
    parser.examples(
        "setpoint agent --watch ./manifests                in the foreground",
        "setpoint agent --detach --watch /srv/manifests    in the background",
        "setpoint agent --detach --git https://example.org/ops.git --ref main --path deploy/",
        "setpoint agent --detach --git https://example.org/ops.git --git-credentials /etc/setpoint/git",
        "setpoint agent --watch ./manifests --listen tcp://0.0.0.0:2376",
        "setpoint agent stop                               containers run on",
    )


def _add_worker_caps(parser: Parser) -> None:
    parser.add_argument(
        "--worker-memory", type=size, metavar="SIZE", default=WORKERS.memory_bytes,
        help="for all pulls and loads together; for builds as much, and for copies (2g)",
    )  # fmt: skip
    parser.add_argument(
        "--worker-time", type=seconds, metavar="TIME", default=WORKERS.cpu_seconds,
        help="of a processor, for one of them, or one layer (2h)",
    )  # fmt: skip
    parser.add_argument(
        "--unpack-time", type=seconds, metavar="TIME", default=WORKERS.unpack_seconds,
        help="for one layer that is here, by the clock (6h)",
    )  # fmt: skip


def run_agent(arguments: Namespace) -> int:
    if arguments.action == "stop":
        return stop(arguments)
    settings = settings_of(arguments)
    if os.geteuid() != 0:
        raise Invalid(
            "start agent", "", "needs root: it makes namespaces, mounts and bridges", "sudo setpoint agent …"
        )
    if arguments.detach:
        return detach(arguments, settings)
    from runtime.supervisor import interpreter

    if interpreter.FAILPOINTS in os.environ:
        from agent import failpoints

        failpoints.install()
    from agent import daemon

    return int(daemon.run(settings) or 0)


def settings_of(arguments: Namespace) -> Settings:
    """Raises Invalid for what cannot be right: nothing was started then."""
    from agent.settings import METRICS_ADDRESS, Settings, tls_path
    from runtime.images.collection import Rules
    from runtime.layout import Layout

    caps = Caps(
        memory_bytes=arguments.worker_memory,
        cpu_seconds=arguments.worker_time,
        unpack_seconds=arguments.unpack_time,
    )
    tls = Path(arguments.tls).absolute() if arguments.tls else tls_path(arguments.instance)
    if arguments.listen:
        from agent.api.listen import check_listen, read_address

        addresses = tuple(map(read_address, arguments.listen))
        check_listen(addresses, tls, is_plain_allowed=arguments.unsafe_plain_tcp)
    watch = Path(arguments.watch).absolute() if arguments.watch else None
    if watch is not None and not watch.is_dir():
        raise Invalid("watch", str(watch), "not a directory", "give the directory that holds the manifests")
    return Settings(
        layout=Layout(arguments.instance),
        watch=watch,
        git_url=arguments.git,
        git_ref=arguments.ref,
        git_path=arguments.path,
        git_poll_seconds=arguments.poll,
        git_credentials=_credentials(arguments.git_credentials),
        policy=_policy(arguments.policy),
        registries=Path(arguments.registries).absolute() if arguments.registries else None,
        environment=read_environment(arguments.env_file),
        profiles=tuple(arguments.profile),
        listen=tuple(arguments.listen),
        tls=tls,
        is_plain_tcp_allowed=arguments.unsafe_plain_tcp,
        metrics_address=METRICS_ADDRESS if arguments.metrics is None else arguments.metrics,
        log_level=arguments.log_level,
        log_format=arguments.log_format,
        image_look_seconds=arguments.image_look,
        update_look_seconds=arguments.update_look,
        verify_seconds=arguments.verify_every,
        worker_caps=caps,
        image_rules=Rules(
            high=arguments.image_marks[0] / 100,
            low=arguments.image_marks[1] / 100,
            max_age_seconds=arguments.image_age,
            grace_seconds=arguments.image_grace,
        ),
    )


def marks(text: str) -> tuple[float, float]:
    """`85:80`: per cent of the disk, high and low."""
    high, _, low = text.partition(":")
    try:
        return float(high), float(low)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not HIGH:LOW in per cent; write 85:80") from None


def _credentials(name: str | None) -> Path | None:
    if not name:
        return None
    path = Path(name).absolute()
    try:
        is_private = not path.stat().st_mode & 0o077
    except OSError as error:
        raise Invalid("read credentials", str(path), error.strerror or str(error)) from None
    if not is_private:
        raise Invalid("read credentials", str(path), "others may read it", f"chmod 600 {path}")
    return path


def _policy(name: str | None) -> Path | None:
    """One that is named must be right: nothing would be applied with it otherwise."""
    if not name:
        return None
    from agent.policy.gate import Gate
    from agent.policy.read import BadPolicy

    path = Path(name).absolute()
    try:
        Gate(path, is_needed=True).policy()
    except BadPolicy as error:
        raise Invalid(
            "read policy", "", error.problems[0], "`setpoint policy check` says all of it"
        ) from None
    return path


# --- in the background ----------------------------------------------------------------------------


def detach(arguments: Namespace, settings: Settings) -> int:
    """Start an agent that outlives us, and return when it answers. One that runs already is left as it
    is, if it follows the same source, but for one whose program has been upgraded: that is started anew."""
    words = words_of(arguments)
    running = agent_pid(arguments.instance)
    if running:
        try:
            had = _already(arguments, settings, running)
        except AgentDown:
            if not _has_ended(running, LAST_BREATH_SECONDS):
                raise
        else:
            if had is None:
                return 0
            words = had
            stop_agent(arguments.instance)
    return _start(arguments.instance, words, settings)


def _start(instance: str, words: list[str], settings: Settings) -> int:
    from agent.log import file_of

    log = file_of(settings.layout)
    log.parent.mkdir(
        mode=0o711 if log.is_relative_to(settings.layout.run) else 0o700, parents=True, exist_ok=True
    )
    # The agent keeps the file within bounds while its standard error is open on it (agent.log).
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "ab") as file:
        begins = file.tell()
        child = subprocess.Popen(
            [sys.executable, *DETACHED, "--instance", instance, "agent", *words],
            stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True, cwd="/",
        )  # fmt: skip
    _await_answer(child, instance, log, begins)
    print(f"agent runs (pid {child.pid}), log in {log}")
    return 0


def _has_ended(pid: int, seconds: float) -> bool:
    """Waits so long. One that was killed takes connections until the kernel has cleared up after it."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], seconds)[0])
    finally:
        os.close(handle)


def _already(arguments: Namespace, settings: Settings, pid: int) -> list[str] | None:
    """The options to start it anew with, if its program has been upgraded since it began: it cannot load any
    more what it has not loaded yet. None: it stays."""
    source = output.mapping(connect(arguments).status().get("source"))
    where = str(source.get("where", ""))
    wanted = str(settings.watch or settings.git_url)
    if wanted not in ("", "None") and where and where.partition("#")[0].rstrip("/") != wanted.rstrip("/"):
        raise Conflict("start agent", arguments.instance, f"one runs already (pid {pid}) and follows {where}",
                       "setpoint agent stop, or another --instance")  # fmt: skip
    version, had = connect(arguments).version(), options_of(pid)
    print(f"agent runs already (pid {pid})")
    _say_what_stays(arguments, had, str(version.get("metrics") or ""))
    if not version.get("is_outdated", True):
        return None
    if had is None:
        how = "systemctl restart setpoint-agent, or as it was started"
        print(f"its program has been upgraded since: {how}", file=sys.stderr)
        return None
    print("its program has been upgraded since: it starts anew, and containers run on")
    return had


def _say_what_stays(arguments: Namespace, had: list[str] | None, served: str) -> None:
    """Options that are asked for, and that the agent which runs does not have."""
    how = "setpoint agent stop, then start it again, to change that"
    wanted = arguments.metrics
    if wanted is not None and wanted != served and not (wanted.endswith(":0") and served):
        print(f"its metrics stay on {served or 'no address'}; {how}", file=sys.stderr)
    usual = Parser("agent", "")
    add_agent(usual)
    names = (
        asked_otherwise(words_of(arguments), words_of(usual.parse_args([])), had) if had is not None else []
    )
    if names := [name for name in names if name != "--metrics"]:
        print(f"it stays without these: {' '.join(names)}; {how}", file=sys.stderr)


def words_of(arguments: Namespace) -> list[str]:
    """The options again, as words for the child; paths made absolute, since it starts in /."""
    words = ["--log-level", arguments.log_level, "--log-format", arguments.log_format]
    if arguments.watch:
        words += ["--watch", str(Path(arguments.watch).absolute())]
    if arguments.git:
        words += ["--git", arguments.git, "--ref", arguments.ref, "--path", arguments.path]
        words += ["--poll", f"{arguments.poll}s"]
    if arguments.git_credentials:
        words += ["--git-credentials", str(Path(arguments.git_credentials).absolute())]
    if arguments.policy:
        words += ["--policy", str(Path(arguments.policy).absolute())]
    if arguments.registries:
        words += ["--registries", str(Path(arguments.registries).absolute())]
    words += ["--image-marks", ":".join(f"{mark:g}" for mark in arguments.image_marks)]
    words += ["--image-look", f"{arguments.image_look}s", "--update-look", f"{arguments.update_look}s"]
    words += ["--verify-every", f"{arguments.verify_every}s"]
    words += ["--worker-memory", str(arguments.worker_memory), "--worker-time", f"{arguments.worker_time}s"]
    words += ["--unpack-time", f"{arguments.unpack_time}s"]
    words += ["--image-age", f"{arguments.image_age}s", "--image-grace", f"{arguments.image_grace}s"]
    if arguments.env_file:
        words += ["--env-file", str(Path(arguments.env_file).absolute())]
    if arguments.metrics is not None:
        words += ["--metrics", arguments.metrics]
    for address in arguments.listen:
        words += ["--listen", address]
    if arguments.tls:
        words += ["--tls", str(Path(arguments.tls).absolute())]
    if arguments.unsafe_plain_tcp:
        words.append("--unsafe-plain-tcp")
    for profile in arguments.profile:
        words += ["--profile", profile]
    return words


def _await_answer(child: subprocess.Popen[bytes], instance: str, log: Path, begins: int) -> None:
    """Until it answers on its socket. Temporary, with what it logged, when it ends first or hangs."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if child.poll() is not None:
            raise Temporary("start agent", instance, f"it ended at once: {_said(log, begins)}", f"see {log}")
        if agent_pid(instance) == child.pid:
            return
        time.sleep(0.01)
    child.terminate()
    raise Temporary(
        "start agent", instance, f"no answer within {START_SECONDS:g} s: {_said(log, begins)}", f"see {log}"
    )


def _said(log: Path, begins: int) -> str:
    with log.open("rb") as file:
        file.seek(begins)
        lines = [line for line in file.read(65536).decode(errors="replace").splitlines() if line.strip()]
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return (errors or lines or ["nothing was logged"])[-1]


def agent_pid(instance: str) -> int:
    """Who listens on the agent's socket (SO_PEERCRED, unix(7)); 0 when nobody does."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with connection:
        try:
            connection.connect(socket_path(instance))
        except PermissionError:
            raise Invalid("ask agent", socket_path(instance), "permission denied", "use sudo") from None
        except OSError:
            return 0
        pid, _, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return int(pid)


# --- its end --------------------------------------------------------------------------------------


def stop(arguments: Namespace) -> int:
    if not stop_agent(arguments.instance):
        raise NotFound(
            "stop agent", arguments.instance, "no agent runs", "setpoint agent --detach starts one"
        )
    print("agent stopped; containers run on")
    return 0


def stop_agent(instance: str) -> bool:
    """SIGTERM, and wait for its end. False when none ran. Temporary when it does not end."""
    pid = agent_pid(instance)
    if not pid:
        return False
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        signal.pidfd_send_signal(handle, signal.SIGTERM)
        ended, _, _ = select.select([handle], [], [], STOP_SECONDS)
    except PermissionError:
        raise Invalid("stop agent", str(pid), "permission denied", "use sudo") from None
    finally:
        os.close(handle)
    if not ended:
        raise Temporary(
            "stop agent",
            str(pid),
            f"it did not end within {STOP_SECONDS:g} s",
            f"kill -9 {pid} harms no container",
        )
    return True
