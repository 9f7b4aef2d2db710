"""`setpoint validate DIR`: every error with file:line:column and a hint, all in one go. Needs no agent and
no root: made for a commit hook and for CI."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.cli import output
from agent.cli.files import problem, read_manifest
from agent.cli.parser import Parser
from agent.cli.status import error_line

if TYPE_CHECKING:
    from agent.manifest.objects import Manifest, Revision


def add_validate(parser: Parser) -> None:
    parser.add_argument(
        "directory", nargs="?", default=".", metavar="DIR", help="manifests, or one file (default .)"
    )
    parser.add_argument(
        "--profile", action="append", metavar="NAME", default=[], help="a compose profile that counts"
    )
    parser.add_argument("--env-file", metavar="FILE", default="", help="NAME=value lines for ${NAME}")
    parser.add_argument("--policy", metavar="FILE", default="", help="judge by this one")
    parser.add_argument("-q", "--quiet", action="store_true", help="say nothing when all is well")
    parser.outputs("json", "yaml")
    parser.examples(
        "setpoint validate manifests/", "setpoint validate shop/compose.yaml", "setpoint validate -o json"
    )


def run_validate(arguments: Namespace) -> int:
    """0 without an error, 1 with one."""
    revision, manifest = read_manifest(arguments)
    manifest = judged(arguments, revision, manifest)
    if not arguments.output:
        return report(arguments, manifest)
    errors = [problem(error) for error in manifest.errors]
    warnings = [problem(warning) for warning in manifest.warnings]
    data = {"valid": not errors, "objects": [str(key) for key in sorted(manifest.objects)]}
    output.print_data({**data, "errors": errors, "warnings": warnings}, arguments.output)
    return 1 if errors else 0


def judged(arguments: Namespace, revision: Revision, manifest: Manifest) -> Manifest:
    """What this host's policy says too: where there is one that this user may read, or one is named."""
    from agent.policy.gate import Gate
    from agent.settings import policy_path

    path = Path(arguments.policy or policy_path(arguments.instance)).absolute()
    if not arguments.policy and not os.access(path, os.R_OK):
        return manifest
    return Gate(path, is_needed=bool(arguments.policy)).admit(manifest, revision)


def report(arguments: Namespace, manifest: Manifest) -> int:
    """For people and editors: paths as seen from here."""
    given = Path(arguments.directory)
    root = given if given.is_dir() else given.parent
    errors = [located(problem(error), root) for error in manifest.errors]
    for warning in [located(problem(warning), root) for warning in manifest.warnings]:
        print(
            f"{output.paint('warning', 'yellow', stream=sys.stderr)}: {output.clean(error_line(warning))}",
            file=sys.stderr,
        )
    for error in errors:
        print(output.clean(error_line(error)), file=sys.stderr)
    if errors:
        print(f"{len(errors)} error{'s' if len(errors) > 1 else ''}", file=sys.stderr)
        return 1
    if not arguments.quiet:
        kinds = Counter(key.kind for key in manifest.objects)
        counts = ", ".join(
            f"{count} {kind}{'s' if count > 1 else ''}" for kind, count in sorted(kinds.items())
        )
        print(f"valid: {counts or 'no objects'}")
    return 0


def located(found: dict[str, Any], root: Path) -> dict[str, Any]:
    return {**found, "file": str(root / found["file"])} if found["file"] else found
