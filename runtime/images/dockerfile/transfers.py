"""COPY and ADD with their variables expanded, to a TransferAction. Pure: no path is looked up."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

from runtime.images.dockerfile import globs, ignore
from runtime.images.dockerfile.image_config import below
from runtime.images.dockerfile.instructions import HereDocument, Transfer
from runtime.images.dockerfile.problems import Mistake, shown
from runtime.images.dockerfile.steps import (
    FromContext,
    GitSource,
    InlineSource,
    Origin,
    PathSource,
    Source,
    TransferAction,
    UrlSource,
)

_MOST_PATH = 4095  # PATH_MAX with its NUL is 4096 (linux/limits.h)
_MOST_NAME = 255  # NAME_MAX
_OWNER = re.compile(r"[A-Za-z0-9_.@$-]{0,256}(?::[A-Za-z0-9_.@$-]{0,256})?")
_OCTAL = re.compile(r"0{0,8}[0-7]{1,4}")
_CLAUSE = r"[ugoa]{0,8}(?:[-+=](?:[ugo]|[rwxXst]{0,8})){1,8}"
_SYMBOLIC = re.compile(rf"{_CLAUSE}(?:,{_CLAUSE}){{0,15}}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128}")
_COMMIT = re.compile(r"[0-9a-f]{7,64}")
_REF = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./@+=-]{0,250}")
_SCP_LIKE = re.compile(r"[A-Za-z0-9_.-]{1,64}@[A-Za-z0-9_.-]{1,255}:[^\s?]+")
_GIT_SCHEMES = ("git://", "ssh://", "git+ssh://")
_WEB_SCHEMES = ("http://", "https://")
_DANGEROUS_URL = re.compile(r"[\x00-\x20\x7f]")


def transfer_action(transfer: Transfer, working_dir: str, origins: Mapping[str, Origin]) -> TransferAction:
    """working_dir: in force. origins: by what --from says."""
    sources: list[Source] = [_source(transfer, word) for word in transfer.sources]
    sources += [_inline(document) for document in transfer.documents]
    destination = _destination(working_dir, transfer.destination)
    _check(transfer, sources)
    return TransferAction(
        is_add=transfer.is_add,
        origin=origins[transfer.origin] if transfer.origin else FromContext(),
        sources=tuple(sources),
        destination=destination,
        is_directory=len(sources) > 1 or _names_directory(transfer.destination) or transfer.keeps_parents,
        owner=transfer.owner,
        mode=transfer.mode,
        is_link=transfer.is_link,
        keeps_parents=transfer.keeps_parents,
        exclude=transfer.exclude,
        checksum=transfer.checksum,
        keeps_git_dir=transfer.keeps_git_dir,
        unpack=transfer.unpack if transfer.is_add else False,
    )


def created_by(transfer: Transfer) -> str:
    """As Docker's history has it: with what it does to the files, without where they are from."""
    words = ["ADD" if transfer.is_add else "COPY"]
    words += ["--parents"] if transfer.keeps_parents else []
    words += [f"--chown={transfer.owner}"] if transfer.owner else []
    words += [f"--chmod={transfer.mode}"] if transfer.mode else []
    words += [*transfer.sources, *(f"<<{document.name}" for document in transfer.documents)]
    return " ".join([*words, transfer.destination])


def is_file_name(name: str) -> bool:
    """Whether a file can have this name inside a directory."""
    return name not in ("", ".", "..") and "/" not in name and len(name.encode()) <= _MOST_NAME


def _check(transfer: Transfer, sources: list[Source]) -> None:
    if transfer.owner and not _OWNER.fullmatch(transfer.owner):
        raise Mistake(
            f"--chown {shown(transfer.owner)} is no owner", "write USER, USER:GROUP or 1000:1000", "--chown"
        )
    mode = transfer.mode
    if mode and not _OCTAL.fullmatch(mode) and not _SYMBOLIC.fullmatch(mode):
        raise Mistake(f"--chmod {shown(mode)} is no mode", "write 755, or u=rwX,go=rX", "--chmod")
    ignore.patterns_of(transfer.exclude)
    if not transfer.checksum:
        return
    if len(sources) != 1 or not isinstance(sources[0], UrlSource | GitSource):
        raise Mistake(
            "--checksum is for one source from the network", "ADD it in a line of its own", "--checksum"
        )
    pattern = _DIGEST if isinstance(sources[0], UrlSource) else _COMMIT
    if not pattern.fullmatch(transfer.checksum):
        hint = "write sha256: and 64 hex digits" if pattern is _DIGEST else "write the commit's hex digits"
        raise Mistake(f"--checksum {shown(transfer.checksum)} is none", hint, "--checksum")


def _source(transfer: Transfer, word: str) -> Source:
    if not word:
        raise Mistake("a source is empty once its variables have their values", "give them values")
    git = _git(word)
    is_web = word.lower().startswith(_WEB_SCHEMES)
    if (git or is_web) and not transfer.is_add:
        raise Mistake(f"COPY takes nothing from the network: {shown(word)}", "ADD does", word)
    if git is not None:
        return git
    return _url(word) if is_web else _path(transfer, word)


def _path(transfer: Transfer, word: str) -> PathSource:
    pivot = ""
    if transfer.keeps_parents and "/./" in word:
        pivot, _, word = word.partition("/./")
        pivot = below("/", pivot).lstrip("/")
    path = below("/", word).lstrip("/")
    while "**/**" in path:  # says no more than one, and would cost a walk for each way to split a path
        path = path.replace("**/**", "**")
    if len(path.encode(errors="surrogateescape")) > _MOST_PATH:
        raise Mistake(f"a source of more than {_MOST_PATH} bytes", "", word)
    has_pattern = globs.has_wildcard(path)
    if has_pattern:
        globs.tokens(path)
    return PathSource(path, has_pattern, pivot)


def _inline(document: HereDocument) -> InlineSource:
    if not is_file_name(document.name):
        raise Mistake(
            f"{shown(document.name)} is no name for a file", "name the document by letters", document.name
        )
    return InlineSource(document.name, document.content)


def _url(word: str) -> UrlSource:
    if _DANGEROUS_URL.search(word):
        raise Mistake(f"{shown(word)} is no URL: it has a space or a control character", "write %20", word)
    try:
        parts = urlsplit(word)
        host = parts.hostname
        _ = parts.port
    except ValueError:
        host = None
    if not host:
        raise Mistake(f"{shown(word)} is no URL", "write https://HOST/PATH", word)
    name = posixpath.basename(unquote(parts.path))
    return UrlSource(word, name if is_file_name(name) and "\0" not in name else "")


def _git(word: str) -> GitSource | None:
    """A repository's address: `https://….git[#ref[:directory]]`, `git@host:path`, `ssh://…`, `git://…`."""
    url, _, fragment = word.partition("#")
    is_web = url.lower().startswith(_WEB_SCHEMES) and urlsplit_path(url).endswith(".git")
    if not (is_web or url.startswith(_GIT_SCHEMES) or _SCP_LIKE.fullmatch(url)):
        return None
    if _DANGEROUS_URL.search(word) or url.startswith("-"):
        raise Mistake(
            f"{shown(word)} is no address of a repository", "write https://HOST/PATH.git#BRANCH", word
        )
    ref, _, directory = fragment.partition(":")
    if ref and (not _REF.fullmatch(ref) or ".." in ref or ref.endswith((".lock", "/"))):
        raise Mistake(f"{shown(ref)} is no branch, tag or commit", "write #main or #v1.2", word)
    if ".." in directory.split("/"):
        raise Mistake(f"{shown(directory)} leaves the repository", "name a directory inside it", word)
    return GitSource(url, ref, below("/", directory).lstrip("/"))


def urlsplit_path(url: str) -> str:
    """The path of a URL; "" for what is none."""
    try:
        return urlsplit(url).path
    except ValueError:
        return ""


def _destination(working_dir: str, word: str) -> str:
    path = below(working_dir, word)
    if not word or len(path.encode(errors="surrogateescape")) > _MOST_PATH:
        raise Mistake(f"the destination {shown(word)} is empty, or longer than {_MOST_PATH} bytes", "", word)
    return path


def _names_directory(word: str) -> bool:
    return word.endswith("/") or posixpath.basename(word) in (".", "..")
