"""`setpoint image lock`: writes down what the tags of manifests mean now, for a person to review and commit.

Needs no agent: manifests are read as they are saved in a directory, registries are asked as who runs this.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from agent.cli import output
from agent.cli.files import read_environment, read_revision
from agent.cli.parser import Commands
from agent.cli.status import error_line
from runtime.errors import Invalid, SetpointError

if TYPE_CHECKING:
    from agent.manifest.objects import Revision

AT_ONCE = 4
Resolve = Callable[[str], str]


def add_commands(commands: Commands) -> None:
    lock = commands.add("lock", "write down what the tags of manifests mean now")
    lock.add_argument(
        "directory", nargs="?", default=".", metavar="DIR", help="what is followed: manifests (default .)"
    )
    lock.add_argument("--check", action="store_true", help="write nothing; exit code 1 when it is stale")
    lock.add_argument("--keep", action="store_true", help="leave the digests that are there as they are")
    lock.add_argument("--offline", action="store_true", help="with --check: ask no registry, compare names")
    lock.add_argument("--env-file", metavar="FILE", default="", help="NAME=value lines for ${NAME}")
    lock.add_argument("--registries", metavar="FILE", help="mirrors (/etc/INSTANCE/registries.yaml)")
    lock.examples(
        "setpoint image lock manifests/            write manifests/images.lock.yaml",
        "setpoint image lock --keep manifests/     what is new alone",
        "setpoint image lock --check manifests/    in CI: is it what would be written?",
    )


def lock(arguments: Namespace) -> int:
    from agent.manifest import image_lock
    from runtime.images.content import replace_file

    if arguments.offline and not arguments.check:
        raise Invalid("lock images", "", "--offline asks nobody what tags mean", "it goes with --check")
    path = Path(arguments.directory) / image_lock.FILE
    if not path.parent.is_dir():
        raise Invalid("lock images", str(path.parent), "not a directory", "give what is followed")
    revision = read_revision(arguments.directory)
    named = named_images(revision, read_environment(arguments.env_file))
    before = image_lock.read_lock(revision.files.get(image_lock.FILE, image_lock.write_lock({})))
    if before.errors and (arguments.keep or arguments.offline):
        raise Invalid("lock images", str(path), before.errors[0].message, "write it anew without --keep")
    known = {name: digest for name, digest in before.digests.items() if name in named}
    if arguments.offline:
        now: Mapping[str, str] = {name: known.get(name, "") for name in named}
    else:
        kept = known if arguments.keep else {}
        now = {**kept, **resolve_all(named - kept.keys(), _resolver(arguments))}
    changes = [*before_and_now(before.digests, now)]
    if arguments.check:
        return report_check(path, changes, is_broken=bool(before.errors), count=len(now))
    for line in changes:
        print(output.clean(line))
    data = image_lock.write_lock(now)
    if revision.files.get(image_lock.FILE) != data:
        replace_file(path, data)
    print(f"{len(now)} image{'' if len(now) == 1 else 's'} locked in {output.clean(path)}")
    return 0


def named_images(revision: Revision, environment: Mapping[str, str]) -> set[str]:
    """The tags that all manifests name, of inactive profiles too. `Invalid` when one cannot be read: what it
    names is not known then. What is never pulled, or is built here, has no registry to ask."""
    from dataclasses import replace

    from agent.manifest import image_lock
    from agent.manifest.reader import read

    files = {path: data for path, data in revision.files.items() if path != image_lock.FILE}
    manifest = read(replace(revision, files=files), environment=environment, profiles=frozenset({"*"}))
    for error in manifest.errors:
        print(output.clean(error_line(str(error))), file=sys.stderr)
    if manifest.errors:
        raise Invalid("lock images", "", "not all manifests can be read", "`setpoint validate` says why")
    named = set()
    for wanted in manifest.objects.values():
        image = getattr(wanted.spec, "image", "")
        is_local = getattr(wanted.spec, "pull_policy", "") == "never" or bool(
            getattr(wanted.spec, "build", None)
        )
        reference = None if is_local else image_lock.lockable(image)
        if reference is not None:
            named.add(reference.familiar)
    return named


def _resolver(arguments: Namespace) -> Resolve:
    # Late: TLS and HTTP take a tenth of a second to import.
    from agent.registries.origins import Origins
    from runtime.images.reference import parse_reference
    from runtime.images.remote import ask

    path = Path(arguments.registries or Path("/etc", arguments.instance, "registries.yaml"))
    origins = Origins(path)

    def resolve(name: str) -> str:
        asked = parse_reference(name)
        return str(ask("digest", asked.canonical, origins.of(asked), {})[0].digest)

    return resolve


def resolve_all(names: set[str], resolve: Resolve) -> dict[str, str]:
    """The digest of each; every failure is said, and then there is no answer."""
    from concurrent.futures import ThreadPoolExecutor

    found: dict[str, str] = {}
    failed = 0
    with ThreadPoolExecutor(AT_ONCE, "resolve") as pool:
        for name, future in [(name, pool.submit(resolve, name)) for name in sorted(names)]:
            try:
                found[name] = future.result()
            except SetpointError as error:
                failed += 1
                print(output.clean(f"{name}: {error.reason}"), file=sys.stderr)
    if failed:
        hint = "log in, or say `pull_policy: never` of what is loaded by hand; nothing was written"
        raise Invalid("lock images", "", f"{failed} of {len(names)} tags could not be resolved", hint)
    return found


def before_and_now(before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    """A line for each difference. A digest "" is not known."""
    for name in sorted({*before, *now}):
        old, new = before.get(name, ""), now.get(name)
        if new is None:
            yield f"- {name}: no manifest names it"
        elif not old:
            yield f"+ {name}: {short(new) if new else 'is not locked'}"
        elif old != new:
            yield f"~ {name}: {short(old)} -> {short(new)}"


def report_check(path: Path, changes: list[str], *, is_broken: bool, count: int) -> int:
    for line in changes:
        print(output.clean(line))
    if changes or is_broken:
        print(f"{output.clean(path)} is stale\nhint: setpoint image lock writes it", file=sys.stderr)
        return 1
    print(f"up to date: {count} image{'' if count == 1 else 's'}")
    return 0


def short(digest: str) -> str:
    return digest[:19]
