"""`setpoint image build --check`: what is wrong with a Dockerfile and its ignore file, without an agent.

Tells all that can be known before base images are: the form of every line, the names of stages, mounts and
flags. Builds, asks and writes nothing.
"""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from pathlib import Path

from agent.cli import output
from runtime.errors import Invalid, NotFound
from runtime.images.dockerfile import limits
from runtime.images.dockerfile.ignore import file_names, read_ignore
from runtime.images.dockerfile.plan import BuildRequest, missing_bases
from runtime.images.dockerfile.platforms import normal_platform
from runtime.images.dockerfile.problems import DockerfileInvalid, Mistake, Problem
from runtime.images.dockerfile.stages import Dockerfile, read_dockerfile


def check(arguments: Namespace, build_arguments: dict[str, str]) -> int:
    """One line a mistake or remark, as compilers print them. Exit code 1 with a mistake, else 0."""
    name, data = _read(arguments)
    try:
        dockerfile = read_dockerfile(data, name)
        problems = _problems_of_stages(dockerfile, _request(arguments, build_arguments))
        remarks = dockerfile.remarks
    except DockerfileInvalid as error:
        problems, remarks = error.problems, ()
    told = [(remark.line, f"{name}:{remark.line}: remark: {remark.text}") for remark in remarks]
    told += [(problem.line, problem.tell(name)) for problem in problems]
    lines = [line for _, line in sorted(told, key=lambda pair: pair[0])]
    bad = len(problems)
    for path in _ignore_files(arguments, name):
        try:
            read_ignore(_bytes_of(path), str(path))
        except DockerfileInvalid as error:
            lines += [problem.tell(str(path)) for problem in error.problems]
            bad += len(error.problems)
    for line in lines:
        print(output.clean(line))
    print(output.clean(f"{name}: {bad or 'no'} mistake{'' if bad == 1 else 's'}"))
    return 1 if bad else 0


def _request(arguments: Namespace, build_arguments: dict[str, str]) -> BuildRequest:
    machine = normal_platform(os.uname().machine)
    try:
        platform = normal_platform(arguments.platform) if arguments.platform else machine
    except Mistake as mistake:
        raise Invalid("check", f"--platform {arguments.platform}", mistake.text, mistake.hint) from None
    return BuildRequest(platform, machine, arguments.target, build_arguments, network=arguments.network)


def _problems_of_stages(dockerfile: Dockerfile, request: BuildRequest) -> tuple[Problem, ...]:
    """Each stage as if it were the target, for a stage that this target leaves out may be the next one's."""
    found: set[Problem] = set()
    targets = [str(stage.index) for stage in dockerfile.stages] if not request.target else [request.target]
    for target in targets:
        asked = BuildRequest(
            request.platform, request.build_platform, target, request.arguments, network=request.network
        )
        try:
            missing_bases(dockerfile, asked, {})
        except DockerfileInvalid as error:
            found.update(error.problems)
    return tuple(sorted(found))


def _read(arguments: Namespace) -> tuple[str, bytes]:
    if arguments.file == "-":
        return "stdin", sys.stdin.buffer.read(limits.FILE_BYTES + 1)
    if arguments.context == "-":
        raise Invalid("check", "-", "a tar is not looked into", "name the Dockerfile: --check -f FILE .")
    path = Path(arguments.file or Path(arguments.context, "Dockerfile"))
    if not path.is_file() and arguments.file:
        path = Path(arguments.context, arguments.file)
    return str(path), _bytes_of(path)


def _ignore_files(arguments: Namespace, name: str) -> list[Path]:
    """The one that a build would read, in a list; none in an empty one."""
    if arguments.context == "-":
        return []
    beside, of_context = file_names(name)
    paths = [Path(beside), Path(arguments.context, of_context)]
    return [path for path in paths if path.is_file()][:1]


def _bytes_of(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(limits.FILE_BYTES + 1)
    except FileNotFoundError:
        raise NotFound("check", str(path), "no such file", "name it: -f FILE") from None
    except OSError as error:
        raise Invalid("check", str(path), str(error.strerror), "") from None
