"""Writes files as one commit on a branch of its own: no work tree, index, hook or other ref is touched.

    git fast-import <stdin: the commit, with the files that change on top of another commit

Called by `image update --write`, as the user who runs it. The branch that is followed is never written.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from agent.source.git import Repository
from agent.source.git_program import run
from agent.source.remote import OBJECT_ID, check_ref
from agent.source.sandbox import Sandbox
from agent.source.source import Unreadable
from runtime.errors import Conflict, Invalid
from runtime.landlock import Reach

IMPORT_SECONDS = 120.0
AUTHOR = "Setpoint <setpoint@localhost>"


def commit_on_branch(
    repository: Repository, base: str, files: Mapping[str, bytes], branch: str, message: str,
    *, author: str = AUTHOR, now: float | None = None, sandbox: Sandbox | None = None,
) -> str:  # fmt: skip
    """files: path in the repository -> content. base: the id of the commit that it goes on from. The new
    commit's id. `Invalid` for a branch that is none or is checked out; `Conflict` when it has commits that
    base has not; Unreadable when git says no."""
    check_ref(branch)
    if "\n" in author or not author.isprintable() or "<" not in author:
        raise Invalid("commit", author[:100], "not an author", "Name <mail@example.org>")
    if not OBJECT_ID.fullmatch(base) or not base.strip("0"):
        raise Invalid("commit", base[:100], "not the id of a commit")
    git = _Git(repository, sandbox or Sandbox())
    ref = f"refs/heads/{branch}"
    if ref in git.checked_out():
        raise Invalid("commit", branch, "it is checked out, and what is followed", "--branch ANOTHER")
    tip = git.tip(ref)
    if tip and not git.is_before(tip, base):
        hint = f"merge it, or `git branch -D {branch}`, or --branch ANOTHER"
        raise Conflict("commit", branch, "the branch is there, with commits of its own", hint)
    git.run(
        "fast-import", "--quiet", "--date-format=raw", stdin=_stream(ref, base, files, message, author, now)
    )
    return git.tip(ref)


def _stream(
    ref: str, base: str, files: Mapping[str, bytes], message: str, author: str, now: float | None
) -> bytes:
    """git-fast-import(1). Every text has its length before it, paths are quoted: nothing in them counts."""
    text, at = message.encode(), int(time.time() if now is None else now)
    parts = [
        f"commit {ref}\nauthor {author} {at} +0000\ncommitter {author} {at} +0000\n".encode(),
        b"data %d\n%b\n" % (len(text), text),
        f"from {base}\n".encode(),
    ]
    for path, data in sorted(files.items()):
        parts.append(b"M 100644 inline %b\ndata %d\n%b\n" % (_quoted(path), len(data), data))
    return b"".join(parts) + b"\n"


def _quoted(path: str) -> bytes:
    octets = path.encode("utf-8", "surrogateescape")
    return (
        b'"'
        + b"".join(b"\\%03o" % o if o < 33 or o in (34, 92) or o > 126 else bytes([o]) for o in octets)
        + b'"'
    )


class _Git:
    """Commands on one repository. They write below its own directories alone."""

    def __init__(self, repository: Repository, sandbox: Sandbox) -> None:
        self._repository, self._sandbox = repository, sandbox
        places = {str(repository.git_directory), str(repository.common_directory)}
        self._reach = Reach(("/",), (*sorted(places), "/dev/null"))

    def run(self, *words: str, stdin: bytes = b"") -> str:
        return run(
            words, directory=self._repository.git_directory, timeout_seconds=IMPORT_SECONDS, stdin=stdin,
            options=(f"--git-dir={self._repository.git_directory}",), sandbox=self._sandbox,
            reach=self._reach,
        )  # fmt: skip

    def tip(self, ref: str) -> str:
        """ "" for a branch that is not there."""
        found = self.run("for-each-ref", "--format=%(objectname)", ref).split()
        return found[0] if found else ""

    def checked_out(self) -> set[str]:
        """Branches that a work tree has."""
        lines = self.run("worktree", "list", "--porcelain").splitlines()
        return {line.removeprefix("branch ") for line in lines if line.startswith("branch ")}

    def is_before(self, commit: str, base: str) -> bool:
        try:
            self.run("merge-base", "--is-ancestor", commit, base)
        except Unreadable:
            return False
        return True
