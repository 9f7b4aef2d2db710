"""A process that has all of the agent imported and forks one at each line `start`, ready in a moment where a
fresh interpreter takes most of a second. Run as a program: nursery.py INSTANCE DIRECTORY LOG.

What is forked is the agent, from its entry to its end (`agent.daemon.run`), with its fail points in place.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))


def main(instance: str, directory: str, log: str) -> None:
    from agent import failpoints

    failpoints.install()
    import agent.source.choose  # noqa: F401
    import runtime.engine
    import runtime.seccomp  # noqa: F401
    from agent import daemon
    from agent.settings import Settings
    from runtime.layout import Layout

    watched = Path(directory)
    settings = Settings(
        Layout(instance), watch=watched, metrics_address="", socket_group="",
        registries=watched.with_name("registries.yaml"),
    )  # fmt: skip
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them: a pidfd tells
    for line in sys.stdin:
        if line.strip() != "start":
            break
        pid = os.fork()
        if pid == 0:
            _be_agent(log, lambda: daemon.run(settings))
        print(pid, flush=True)


def _be_agent(log: str, run: object) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    errors = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    null = os.open("/dev/null", os.O_RDWR)
    for descriptor, number in ((null, 0), (errors, 1), (errors, 2)):
        os.dup2(descriptor, number)
    os.chdir("/")
    status = 1
    try:
        assert callable(run)
        status = run()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    main(*sys.argv[1:])
