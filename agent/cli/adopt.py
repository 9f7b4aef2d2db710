"""`setpoint adopt`: what was made through the Docker API becomes a manifest's. The agent describes it and
proves that nothing would change; here the file is written, committed where that is asked for, and waited for.
"""

from __future__ import annotations

import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

from agent.cli import output
from agent.cli.connect import Client, connect, match_objects
from agent.cli.parser import Parser
from runtime.errors import Conflict, Invalid, NotFound, SetpointError, Temporary

TAKEN_SECONDS = 60.0
LOOK_SECONDS = 0.1


def add_adopt(parser: Parser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME", help="a container of the Docker API, by its name")
    parser.add_argument("--all", action="store_true", help="all that the Docker API made")
    parser.add_argument(
        "--to",
        default="",
        metavar="FILE",
        help="write it there, in what is watched (of several: a directory)",
    )
    parser.add_argument(
        "--as", dest="path", default="", metavar="PATH", help="where it will lie in the source"
    )
    parser.add_argument("--project", default="", metavar="NAME", help="the project that it is to be of")
    parser.add_argument(
        "--commit", action="store_true", help="commit the file, and wait until it has taken over"
    )
    parser.examples(
        "setpoint adopt web                                   print its manifest; nothing changes",
        "setpoint adopt web --to shop/web.compose.yaml        write it: the next commit takes it over",
        "setpoint adopt web --to shop/web.compose.yaml --commit   and commit, and wait for it",
        "setpoint adopt --all --to . --commit                 everything that is unmanaged",
        "setpoint adopt web --as shop/web.compose.yaml        print it, for a source that is elsewhere",
        "The container runs on. Exit code 1 where something cannot be said, or would change.",
    )


def run_adopt(arguments: Namespace) -> int:
    return adopt(arguments, connect(arguments))


def adopt(arguments: Namespace, client: Client) -> int:
    """0 when all of them were described (and, where asked for, handed over)."""
    status = client.status()
    keys = _chosen(arguments, status)
    if len(keys) > 1 and (arguments.path or (arguments.to and not Path(arguments.to).is_dir())):
        raise Invalid(
            "adopt", arguments.to or arguments.path, "several containers", "name a directory with --to"
        )
    if arguments.commit and not arguments.to:
        raise Invalid("adopt", keys[0] if keys else "", "--commit without a file", "say --to FILE")
    if not keys:
        print("no container is unmanaged", file=sys.stderr)
    root = _root(status) if arguments.to else None
    shown = {str(item["key"]): output.shown_key(item) for item in status["objects"]}
    written, failed = [], False
    declared: list[str] = []  # by files that the agent does not know yet
    for key in keys:
        try:
            answer = _ask(arguments, client, key, root, declared)
        except SetpointError as error:
            hint = f" (hint: {error.hint})" if error.hint else ""
            answer = {"problems": [f"{error.reason}{hint}"], "notes": [], "key": key}
        if not _tell(answer, shown.get(key, key)):
            failed = True
        elif root is not None:
            written.append((answer, _write(root, answer)))
            declared += answer.get("declares", ())
        else:
            sys.stdout.write(str(answer["text"]))
    if root is not None and written:
        _take_effect(arguments, client, status, root, written)
    return int(failed)


def _chosen(arguments: Namespace, status: dict[str, Any]) -> list[str]:
    unmanaged = [item for item in status["objects"] if item.get("unmanaged")]
    containers = [str(item["key"]) for item in unmanaged if str(item["key"]).split("/")[1] == "container"]
    if arguments.all:
        return containers
    if not arguments.names:
        raise Invalid("adopt", "", "no container is named", "setpoint adopt NAME, or --all")
    try:
        return match_objects(arguments.names, unmanaged)
    except NotFound:  # a manifest's, perhaps: that is said by the agent
        return match_objects(arguments.names, status["objects"])


def _root(status: dict[str, Any]) -> Path:
    """The directory that is watched. Invalid where that is not on this host."""
    where = str(output.mapping(status.get("source")).get("where") or "")
    if not where.startswith("/"):
        hint = "print it, put it there yourself, and say with --as where"
        raise Invalid("adopt", where or "no source", "no directory on this host is watched", hint)
    return Path(where)


def _ask(
    arguments: Namespace, client: Client, key: str, root: Path | None, declared: list[str]
) -> dict[str, Any]:
    path = str(arguments.path)
    if root is not None:
        target = Path(arguments.to).absolute()
        path = ""
        if not target.is_dir():
            path = _below(root, target)
        elif target.resolve() != root.resolve():
            path = f"{_below(root, target)}/{key.split('/')[2]}.compose.yaml"
    is_kept = root is not None or bool(arguments.path)
    return client.adopt(key, path, arguments.project, hand_over=is_kept, declared=declared)


def _below(root: Path, target: Path) -> str:
    try:
        return str((target.parent.resolve() / target.name).relative_to(root.resolve()))
    except ValueError:
        raise Invalid(
            "adopt", str(target), f"{target} is not in {root}, which is watched", "a file below it"
        ) from None


def _tell(answer: dict[str, Any], name: str) -> bool:
    """Say what is noted and what speaks against it, on stderr; whether nothing does."""
    for note in answer.get("notes", ()):
        print(output.clean(f"note: {note}"), file=sys.stderr)
    problems = list(answer.get("problems", ()))
    for problem in problems:
        print(output.clean(f"{name} is not adopted: {problem}"), file=sys.stderr)
    return not problems


def _write(root: Path, answer: dict[str, Any]) -> Path:
    """A new file; one that is there is nobody's to write over."""
    path = root / str(answer["path"])
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(str(answer["text"]))
    except FileExistsError:
        raise Conflict("adopt", str(path), "the file is there already", "name another with --to") from None
    return path


def _take_effect(
    arguments: Namespace,
    client: Client,
    status: dict[str, Any],
    root: Path,
    written: list[tuple[dict[str, Any], Path]],
) -> None:
    paths = [str(path) for _, path in written]
    is_git = (root / ".git").exists() or any((up / ".git").exists() for up in root.parents)
    if is_git and not arguments.commit:
        for answer, path in written:
            print(output.clean(f"{path}: {answer['heir']} takes over with the commit of this file"))
        return
    if is_git:
        names = ", ".join(str(answer["heir"]) for answer, _ in written)
        _git(root, "add", "--", *paths)
        _git(root, "commit", "-q", "-m", f"Adopt {names}", "--", *paths)
    client.sync()
    for answer, path in written:
        _wait_taken(client, answer)
        print(output.clean(f"{path}: {answer['heir']} owns it now; it ran on"))


def _git(root: Path, *words: str) -> None:
    done = subprocess.run(["git", "-C", root, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Invalid("adopt", f"git {words[0]}", done.stderr.strip() or f"exit code {done.returncode}")


def _wait_taken(client: Client, answer: dict[str, Any]) -> None:
    end = time.monotonic() + TAKEN_SECONDS
    while any(item["key"] == answer["key"] for item in client.objects()):
        if time.monotonic() > end:
            raise Temporary(
                "adopt", str(answer["key"]), "was not taken over yet", f"setpoint why {answer['heir']}"
            )
        time.sleep(LOOK_SECONDS)
