"""`setpoint image update`: what is newer than the images that manifests name, and, when asked, that change as
a commit on a branch of its own, for a person to review.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

from agent.cli import output
from agent.cli.connect import connect, match_keys
from agent.cli.parser import Commands
from runtime.errors import Invalid, Unsupported

BRANCH = "setpoint/image-updates"


def add_commands(commands: Commands) -> None:
    update = commands.add("update", "show newer images, and write them to git when asked")
    update.add_argument(
        "names", nargs="*", metavar="NAME", help="only these: a project, project/name or a key"
    )
    update.add_argument("--look", action="store_true", help="ask the registries now, not what was found last")
    update.add_argument("--write", action="store_true", help="commit what may be taken now on a branch")
    update.add_argument("--branch", metavar="NAME", default=BRANCH, help=f"made if need be ({BRANCH})")
    update.add_argument("--directory", metavar="DIR", default="", help="a work tree, not the one followed")
    update.add_argument("--now", action="store_true", help="whatever the windows say; an age is kept to")
    update.outputs("json", "yaml")
    update.examples(
        "setpoint image update                      what is newer, and what it waits for",
        "setpoint image update --look --write       a commit on setpoint/image-updates",
        "setpoint image update shop/web --write --branch web-next",
    )


def update(arguments: Namespace) -> int:
    client = connect(arguments)
    found = client.look_for_updates() if arguments.look else client.updates()
    if arguments.names:
        chosen = set(match_keys(arguments.names, [each["key"] for each in found]))
        found = [each for each in found if each["key"] in chosen]
    if arguments.output:
        output.print_data(found, arguments.output)
        return 0
    if not arguments.write:
        print(table(found))
        return 0
    return write(arguments, found, arguments.directory or followed(client.status()))


def table(found: list[dict[str, Any]]) -> str:
    if not found:
        return "no object asks for updates (update: {policy: minor} in its manifest)"
    rows = [
        (
            each["key"],
            each["image"],
            each["policy"],
            _available(each),
            output.ago(each["seen_at"]),
            _note(each),
        )
        for each in found
    ]
    return output.table(("OBJECT", "IMAGE", "POLICY", "AVAILABLE", "KNOWN FOR", ""), rows)


def _available(each: dict[str, Any]) -> str:
    if not each["available"]:
        return "?" if each["error"] else "-"
    is_same_tag = each["image"].endswith(f":{each['tag']}")
    return str(each["digest"])[:19] if is_same_tag else str(each["tag"])


def _note(each: dict[str, Any]) -> str:
    return str(each["error"] or each["waits"])


def followed(status: dict[str, Any]) -> str:
    source = output.mapping(status.get("source"))
    where = str(source.get("where") or "")
    if source.get("kind") == "git":
        raise Unsupported(
            "write updates", where, "the agent follows a remote repository, which it never writes",
            "in a clone of it: setpoint image update --write --directory CLONE",
        )  # fmt: skip
    return where


def write(arguments: Namespace, found: list[dict[str, Any]], directory: str) -> int:
    """0 when all that may be taken is in the commit."""
    due = [each for each in found if each["available"] and _is_due(each, now=arguments.now)]
    for each in found:
        if each["available"] and each not in due:
            print(output.clean(f"{each['key']}: {each['why']}, and it {each['waits']}"))
    if not due:
        print("nothing to write")
        return 0
    done, problems, commit = _commit(Path(directory), due, arguments.branch)
    for problem in problems:
        print(output.clean(problem), file=sys.stderr)
    for line in done:
        print(output.clean(line))
    if commit:
        branch, place = output.clean(arguments.branch), output.clean(directory)
        print(f"commit {commit[:12]} on branch {branch}; review it: git -C {place} show {branch}")
    return 1 if problems else 0


def _is_due(each: dict[str, Any], *, now: bool) -> bool:
    waits = str(each["waits"])
    return not waits or (now and waits.startswith("waits for "))


def _commit(
    directory: Path, due: list[dict[str, Any]], branch: str
) -> tuple[list[str], tuple[str, ...], str]:
    """Of what is committed now: half-edited files stay as they are."""
    from agent.source.git import find_repository
    from agent.source.git_commit import commit_on_branch
    from agent.source.git_program import ObjectReader
    from agent.source.git_tree import CommitReader
    from agent.source.source import Unreadable
    from agent.updates.rewrite import Wish, rewrite
    from store.records import Key

    wishes = [
        Wish(Key.parse(each["key"]), each["file"], each["line"], each["image"], each["tag"], each["digest"])
        for each in due
    ]
    try:
        repository = find_repository(directory.absolute()) if directory.is_dir() else None
        if repository is None:
            raise Unsupported(
                "write updates", str(directory), "not in a git work tree", "change the manifests by hand"
            )
        objects = ObjectReader(repository.git_directory)
        try:
            reader = CommitReader(objects)
            head = reader.commit("HEAD")
            if head is None:
                raise Invalid("write updates", str(directory), "nothing is committed yet")
            rewritten = rewrite(reader.files(head, repository.prefix), wishes)
        finally:
            objects.close()
        lines = [str(wish) for wish in rewritten.done]
        if not rewritten.files:
            return lines, rewritten.problems, ""
        before = f"{repository.prefix}/" if repository.prefix else ""
        files = {before + path: data for path, data in rewritten.files.items()}
        message = "Update images\n\n" + "".join(f"- {line}\n" for line in lines)
        return lines, rewritten.problems, commit_on_branch(repository, head.id, files, branch, message)
    except Unreadable as error:
        hint = "run it as the owner of the repository"
        raise Invalid("write updates", str(directory), str(error), hint) from error
