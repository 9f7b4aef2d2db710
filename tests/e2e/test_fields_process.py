"""Fields that say what runs, as whom, with which environment and limits of its own."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.images import write_image
from tests.e2e.project import BASE, Project, has_capability
from tests.e2e.story import Story, eventually
from tests.unit.images import craft

SYS_RESOURCE = 24  # CAP_SYS_RESOURCE

COMPOSE = (
    BASE
    + r"""
x-environment: &environment
  ANCHORED: "yes"
x-picture: &picture
  image: picture:latest
  stop_signal: SIGKILL
x-user: &user {<<: *base, init: false}
services:
  split:
    <<: *base
    command: sh -c 'echo "$$0 a  b" c\ d "${WORD}"; exec sleep 1000' 'x y'
  list: {<<: *base, command: [sh, -c, 'echo "$$*" "$$#"; exec sleep 1000', zero, "a b", "", "$$HOME"]}
  entrypoint: {<<: *base, entrypoint: "/bin/echo -n 'one  word'", command: [two]}
  image-default: {<<: *picture}
  image-command: {<<: *picture, command: x 'y z'}
  image-entrypoint: {<<: *picture, entrypoint: [/bin/echo, new]}
  image-cleared: {<<: *picture, entrypoint: "", command: [/bin/echo, cleared]}
  image-cleared-keeps-command: {<<: *picture, entrypoint: []}
  image-no-command: {<<: *picture, command: []}
  image-works:
    <<: *picture
    entrypoint: [sleep, "1000"]
    environment: {BOTH: manifest}
  image-root: {<<: *picture, entrypoint: [sleep, "1000"], user: root, working_dir: /made/for/it}
  environment:
    <<: *base
    environment:
      <<: *environment
      LITERAL: $$HOME
      FROM_DOT_ENV: ${WORD}
      DEFAULTED: ${NOTHING:-some thing}
      ALTERNATIVE: ${WORD:+set}
      NUMBER: 0x10
      TRUE: "true"
      EMPTY: ""
      EQUALS: a=b=c
      WORD:
      NOT_THERE:
    env_file:
      - one.env
      - {path: two.env}
      - {path: missing.env, required: false}
      - {path: raw.env, format: raw}
  environment-list: {<<: *base, environment: [A=1, B=, WORD, NOT_THERE, "C=x y"]}
  directory: {<<: *base, working_dir: /made/by/nobody/../setpoint}
  number: {<<: *user, user: "1000"}
  numbers: {<<: *user, user: "1000:1001", group_add: ["1234", adm]}
  name: {<<: *user, user: operator}
  name-and-group: {<<: *user, user: "www-data:users", group_add: [wheel]}
  in-groups: {image: "picture:latest", user: member, entrypoint: [sleep, "1000"], stop_signal: SIGKILL}
  host: {<<: *base, hostname: boxy, domainname: example.test, container_name: my.own_name}
  labelled: {<<: *base, labels: {tier: front, empty: "", num: 5}, annotations: {note: text}}
  label-list: {<<: *base, labels: [tier=back, alone, "odd=a=b"]}
  terminal: {<<: *base, tty: true, command: [sh, -c, "tty; stty -a | head -1; exec sleep 1000"]}
  stdin: {<<: *base, stdin_open: true, command: [cat]}
  stdin-closed: {<<: *base, command: [sh, -c, "cat; echo end of file; exec sleep 1000"]}
  initialised:
    <<: *base
    init: true
    command: [sh, -c, "(sleep 0 & exec sleep 0) & sleep 1000"]
  plain: {<<: *base}
  eager: {<<: *base, oom_score_adj: 321}
  precious: {<<: *base, oom_score_adj: -321}
  limits:
    <<: *base
    ulimits: {nofile: {soft: 100, hard: 200}, nproc: 77, core: 4096, memlock: {soft: 8192, hard: 8192}}
  too-much: {<<: *base, ulimits: {nofile: {soft: 50000000, hard: 50000000}}}
  talker:
    <<: *base
    command:
      - sh
      - -c
      - i=0; while [ $$i -lt 4000 ]; do echo line $$i of many; i=$$((i+1)); done; exec sleep 1000
    logging: {driver: json-file, options: {max-size: 16k, max-file: "2"}}
"""
)
FILES = {
    ".env": "WORD=a 'word'  # no comment in it\n",
    "one.env": 'ONE=1\nBOTH_FILES=one\nANCHORED=from file\nREF=${WORD}\nexport QUOTED="a\\tb # c"\nBARE\n',
    "two.env": "TWO='2 $WORD'\nBOTH_FILES=two\n",
    "raw.env": "RAW='quotes stay' # all of it\n",
}
ENVELOPE = """\
apiVersion: setpoint/v1
kind: Container
metadata: {name: enveloped, project: process, labels: {tier: middle}}
spec:
  image: picture:latest
  entrypoint: /bin/sh -c
  command: ['echo "$$WORD/$$BOTH"; id -u; pwd; exec sleep 1000']
  environment: ['WORD=${WORD:-none}']
  user: "12:34"
  working_dir: /opt
  stop_signal: SIGKILL
"""
PASSWD = """\
member:x:500:100:m:/home/member:/bin/sh
root:x:0:0:r:/root:/bin/sh
www-data:x:33:33:w:/var/www:/bin/sh
"""
GROUP = """\
root:x:0:
www-data:x:33:
users:x:100:
red:x:501:root,member
blue:x:502:member
"""


@pytest.fixture(scope="module")
def project(
    shared_story: Story, busybox_archive: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Project]:
    layer = craft.tar(
        craft.directory("etc"),
        craft.entry("etc/passwd", PASSWD.encode()),
        craft.entry("etc/group", GROUP.encode()),
    )
    archive = write_image(
        tmp_path_factory.mktemp("image") / "picture.tar", busybox_archive, "picture:latest", layer,
        Entrypoint=["/bin/echo", "entry"], Cmd=["/bin/echo", "command"], User="www-data",
        Env=["PATH=/bin", "FROM_IMAGE=1", "BOTH=image"], WorkingDir="/srv/app",
    )  # fmt: skip
    shared_story.setpoint("image", "load", archive)
    found = Project(shared_story, "process")
    found.apply(COMPOSE, FILES | {"enveloped.yaml": ENVELOPE})
    yield found


def lines(project: Project, name: str, count: int = 1) -> list[str]:
    """What it has printed, once that is so many lines."""
    eventually(lambda: len(project.logs(name).splitlines()) >= count, f"{name} prints {count} lines")
    return project.logs(name).splitlines()


# --- command and entrypoint ---------------------------------------------------------------------


def test_a_command_that_is_a_string_is_split_as_a_shell_does_and_run_by_none(project: Project) -> None:
    assert lines(project, "split") == ["x y a  b c d a word"]


def test_a_command_that_is_a_list_is_taken_word_by_word(project: Project) -> None:
    assert lines(project, "list") == ["a b  $HOME 3"]


def test_an_entrypoint_goes_before_the_command(project: Project) -> None:
    assert lines(project, "entrypoint") == ["one  word two"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("image-default", "entry /bin/echo command"),
        ("image-command", "entry x y z"),
        ("image-entrypoint", "new"),  # a new entrypoint drops the image's command
        ("image-cleared", "cleared"),
        ("image-cleared-keeps-command", "command"),  # an empty one does not, as in Docker
        ("image-no-command", "entry"),
    ],
)
def test_what_an_image_says_is_overridden_as_in_docker(project: Project, name: str, expected: str) -> None:
    assert lines(project, name) == [expected]
    assert project.object(name)["phase"] == "Completed"


def test_what_an_image_says_counts_where_the_manifest_says_nothing(project: Project) -> None:
    environ = project.environ("image-works")
    assert (environ["FROM_IMAGE"], environ["BOTH"], environ["PATH"]) == ("1", "manifest", "/bin")
    assert str((project.proc("image-works") / "cwd").readlink()) == "/srv/app"
    assert project.process_status("image-works")["Uid"].split() == ["33"] * 4
    assert environ["HOME"] == "/var/www"
    assert project.process_status("image-root")["Uid"].split() == ["0"] * 4
    assert str((project.proc("image-root") / "cwd").readlink()) == "/made/for/it"


def test_the_envelope_says_the_same_in_the_same_words(project: Project) -> None:
    assert lines(project, "enveloped", 3) == ["a 'word'/image", "12", "/opt"]


# --- environment --------------------------------------------------------------------------------


def test_environment_and_its_files(project: Project) -> None:
    environ = project.environ("environment")
    host = environ.pop("HOSTNAME")
    assert host == project.container("environment")["id"][:12]
    assert environ == {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "ANCHORED": "yes",
        "LITERAL": "$HOME",
        "FROM_DOT_ENV": "a 'word'",
        "DEFAULTED": "some thing",
        "ALTERNATIVE": "set",
        "NUMBER": "0x10",
        "TRUE": "true",
        "EMPTY": "",
        "EQUALS": "a=b=c",
        "WORD": "a 'word'",
        "ONE": "1",
        "TWO": "2 $WORD",
        "BOTH_FILES": "two",
        "REF": "a 'word'",
        "QUOTED": "a\tb # c",
        "RAW": "'quotes stay' # all of it",
    }


def test_environment_as_a_list(project: Project) -> None:
    environ = project.environ("environment-list")
    found = {name: environ[name] for name in environ.keys() - {"PATH", "HOME", "HOSTNAME"}}
    assert found == {"A": "1", "B": "", "WORD": "a 'word'", "C": "x y"}


def test_an_exec_has_the_containers_environment(project: Project) -> None:
    told = project.run("environment", "env").splitlines()
    assert {"ANCHORED=yes", "TWO=2 $WORD", "HOME=/root"} <= set(told)


# --- working_dir, user, group_add ---------------------------------------------------------------


def test_a_working_directory_is_made(project: Project) -> None:
    assert str((project.proc("directory") / "cwd").readlink()) == "/made/by/setpoint"
    assert project.sh("directory", "pwd; stat -c %u:%a .") == "/made/by/setpoint\n0:755\n"


@pytest.mark.parametrize(
    ("name", "uid", "gid", "groups", "home"),
    [
        ("plain", 0, 0, {0, 10}, "/root"),  # the image's group file lists root in wheel
        ("number", 1000, 0, {0}, "/"),  # not in the image's passwd
        ("numbers", 1000, 1001, {1001, 1234, 4}, "/"),
        ("name", 37, 37, {37}, "/var"),
        ("name-and-group", 33, 100, {100, 10}, "/var/www"),
        ("in-groups", 500, 100, {100, 501, 502}, "/home/member"),
    ],
)
def test_user_and_groups(
    project: Project, name: str, uid: int, gid: int, groups: set[int], home: str
) -> None:
    status = project.process_status(name)
    assert status["Uid"].split() == [str(uid)] * 4
    assert status["Gid"].split() == [str(gid)] * 4
    assert {int(group) for group in status["Groups"].split()} == groups
    assert project.environ(name)["HOME"] == home
    assert (int(status["CapEff"], 16) == 0) == (uid != 0)


def test_an_exec_is_the_same_user_unless_told(project: Project) -> None:
    assert project.sh("numbers", "id -u; id -g; id -G") == "1000\n1001\n1001 4 1234\n"
    assert project.run("numbers", "id", "-u", options=("-u", "operator")) == "37\n"


# --- names --------------------------------------------------------------------------------------


def test_hostname_and_domainname(project: Project) -> None:
    told = project.sh("host", "hostname; cat /etc/hostname /proc/sys/kernel/domainname; hostname -i")
    address = next(iter(project.container("host")["addresses"].values()))
    assert told.split() == ["boxy", "boxy", "example.test", address]
    assert project.environ("host")["HOSTNAME"] == "boxy"
    hosts = project.root("host", "/etc/hosts").read_text()
    assert re.search(rf"^{re.escape(address)}\s.*\bboxy\b", hosts, re.MULTILINE)
    assert project.sh("plain", "hostname").strip() == project.container("plain")["id"][:12]


def test_container_name(project: Project) -> None:
    assert project.container("host")["name"] == "my.own_name"
    assert project.container("plain")["name"] == "process-plain-1"
    assert "my.own_name" in project.root("plain", "/etc/hosts").read_text()


def test_labels_are_kept_with_the_container(project: Project) -> None:
    def labels(name: str) -> dict[str, str]:
        found = project.story.layout.run_containers / project.container(name)["id"] / "config.json"
        annotations = json.loads(found.read_text())["annotations"]
        prefix = "setpoint.label/"
        return {key.removeprefix(prefix): value for key, value in annotations.items() if prefix in key}

    assert {key: value for key, value in labels("labelled").items() if "setpoint" not in key} == {
        "tier": "front", "empty": "", "num": "5",
    }  # fmt: skip
    found = labels("label-list")
    assert (found["tier"], found["alone"], found["odd"]) == ("back", "", "a=b")
    assert labels("enveloped")["tier"] == "middle"


# --- terminal, stdin, init ----------------------------------------------------------------------


def test_tty(project: Project) -> None:
    assert lines(project, "terminal", 2)[0] == "/dev/pts/0"
    assert {str((project.proc("terminal") / f"fd/{n}").readlink()) for n in range(3)} == {"/dev/pts/0"}
    assert project.environ("terminal")["TERM"] == "xterm"
    stat = (project.proc("terminal") / "stat").read_text().rpartition(")")[2].split()
    assert int(stat[4]) != 0  # a controlling terminal
    assert "TERM" not in project.environ("plain")


def test_stdin_open(project: Project) -> None:
    assert (project.proc("stdin") / "fd/0").readlink() != Path("/dev/null")
    assert project.object("stdin")["phase"] == "Running"
    assert lines(project, "stdin-closed") == ["end of file"]


def test_init_reaps_and_is_the_first_process(project: Project) -> None:
    first = project.proc("initialised")
    assert (first / "cmdline").read_bytes().startswith(b"/dev/init\0--\0sh\0")
    children = first / f"task/{first.name}/children"
    eventually(lambda: len(children.read_text().split()) == 1, "orphans are reaped")
    assert (project.proc("plain") / "cmdline").read_bytes() == b"sleep\x001000\x00"
    assert project.process_status("plain")["NSpid"].split()[-1] == "1"


# --- limits of the process ----------------------------------------------------------------------


def test_oom_score_adj(project: Project) -> None:
    assert (project.proc("eager") / "oom_score_adj").read_text() == "321\n"
    lowered = (project.proc("precious") / "oom_score_adj").read_text()
    if has_capability(SYS_RESOURCE):
        assert lowered == "-321\n"
        return
    assert int(lowered) >= 0
    assert told_of(project, "precious", "oom_score_adj -321 is not set")


def test_ulimits(project: Project) -> None:
    limits = limits_of(project, "limits")
    assert limits["Max open files"] == ["100", "200"]
    assert limits["Max processes"] == ["77", "77"]
    assert limits["Max core file size"] == ["4096", "4096"]
    assert limits["Max locked memory"] == ["8192", "8192"]
    plain = limits_of(project, "plain")
    assert plain["Max core file size"] == ["0", "0"]
    assert plain["Max open files"][0] == "1024"


def test_a_limit_that_this_host_cannot_give_is_told(project: Project) -> None:
    limits = limits_of(project, "too-much")["Max open files"]
    if limits == ["50000000", "50000000"]:
        return
    assert told_of(project, "too-much", "ulimit nofile 50000000:50000000")
    assert limits[0] == limits[1] != "1024"  # as much as there is


def told_of(project: Project, name: str, words: str) -> bool:
    """An event says what could not be done, and how it can be."""
    return any(words in event["message"] and event["type"] == "Warning" for event in project.events(name))


def limits_of(project: Project, name: str) -> dict[str, list[str]]:
    text = (project.proc(name) / "limits").read_text()
    rows = (re.split(r"\s{2,}", line.strip()) for line in text.splitlines()[1:])
    return {row[0]: row[1:3] for row in rows}


# --- logging ------------------------------------------------------------------------------------


def test_logs_are_bounded(project: Project) -> None:
    directory = project.story.layout.containers / project.container("talker")["id"] / "log"
    eventually(lambda: "line 3999 of many" in project.logs("talker", "--tail", "1"), "it has said all")
    files = [path for path in directory.iterdir() if path.is_file() and path.stat().st_size]
    assert 1 <= len(files) <= 3
    assert sum(path.stat().st_size for path in files) < 2 * 16 * 1024 + 4096
    told = project.logs("talker").splitlines()
    assert 100 < len(told) < 4000
    assert told[-1] == "line 3999 of many"
