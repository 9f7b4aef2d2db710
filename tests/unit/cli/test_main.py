"""The command line as a whole: every verb explains itself, every mistake is one sentence."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from agent.cli import connect, main
from agent.cli.parser import Parser, seconds
from runtime.layout import Layout
from tests.unit.cli.conftest import Run

ROOT = Path(__file__).resolve().parents[3]
VERBS = sorted(set(main.VERBS) - {"oci"})


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_examples(verb: str, run: Run) -> None:
    code, out, err = run(verb, "--help")
    assert (code, err) == (0, "")
    assert f"usage: setpoint {verb}" in out
    assert "examples:" in out
    assert f"setpoint {verb}" in out.split("examples:")[1]


@pytest.mark.parametrize("verb", VERBS)
def test_every_example_is_understood(verb: str) -> None:
    """As it is shown, up to what it is said to do."""
    parser = Parser(verb, "x")
    getattr(import_module(f"agent.cli.{main.VERBS[verb][0]}"), f"add_{verb.replace('-', '_')}")(parser)
    for line in str(parser.epilog).splitlines():
        command = re.split(r"\s{2,}| [|<>&]", line.strip())[0]
        if command.startswith(f"setpoint {verb} "):
            parser.parse_args(shlex.split(command)[2:])


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_takes_an_instance_before_and_after_it(verb: str) -> None:
    for parser in (Parser(verb, "x", "lab"), Parser(verb, "x")):
        getattr(import_module(f"agent.cli.{main.VERBS[verb][0]}"), f"add_{verb.replace('-', '_')}")(parser)
        assert any("--instance" in action.option_strings for action in parser._actions)
    assert Parser("x", "y", "lab").parse_args([]).instance == "lab"


def test_the_instance_before_a_sub_command_reaches_it() -> None:
    parser = Parser("image", "x")
    import_module("agent.cli.images").add_image(parser)
    assert parser.parse_args(["--instance", "lab", "ls"]).instance == "lab"
    assert parser.parse_args(["ls", "--instance", "lab"]).instance == "lab"


def test_the_help_lists_every_verb(run: Run) -> None:
    code, out, _ = run()
    assert code == 0
    listed = {line.split()[0] for line in out.splitlines() if line.startswith("  ")}
    assert listed == set(main.VERBS)
    assert run("--help")[1] == out


def test_help_of_a_verb_in_both_orders(run: Run) -> None:
    assert run("help", "status")[1] == run("status", "--help")[1]


@pytest.mark.parametrize(
    ("words", "says", "hint"),
    [
        (("statuss",), "run statuss: there is no such verb", "did you mean status?"),
        (("xyzzy",), "run xyzzy: there is no such verb", "setpoint --help"),
        (("status", "--colour"), "unrecognized arguments: --colour", "setpoint status --help"),
        (("wait", "--timeout", "soon"), "'soon' is no length of time", "setpoint wait --help"),
        (("image",), "the following arguments are required: COMMAND", "setpoint image --help"),
        (("image", "load"), "the following arguments are required: FILE", "setpoint image load --help"),
        (("--instance", "Not Valid", "status"), "not a valid instance name", "lower-case letters"),
        (
            ("validate", "/no/such/dir"),
            "read manifests /no/such/dir: no such file or directory",
            "give a directory",
        ),
        (("agent", "--watch", "/no/such/dir"), "watch /no/such/dir: not a directory", "give the directory"),
        (("exec", "shop/web"), "exec in shop/web: no command", "setpoint exec shop/web ls /"),
        (("logs", "x", "--since", "yore"), "'yore' is no time", "setpoint logs --help"),
    ],
)
def test_a_mistake_is_one_sentence_a_hint_and_exit_code_1(
    words: tuple[str, ...], says: str, hint: str, run: Run
) -> None:
    code, out, err = run(*words)
    assert code == 1
    assert out == ""
    first, second = err.splitlines()
    assert first.startswith("error: ")
    assert says in first
    assert second.startswith("hint: ")
    assert hint in second


def test_a_bug_is_a_sentence_too(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SETPOINT_DEBUG", raising=False)
    monkeypatch.setattr("agent.cli.version.run_version", lambda _: 1 / 0)
    code, _, err = run("version")
    assert code == 1
    assert (
        err
        == "error: ZeroDivisionError: division by zero (a bug in Setpoint; SETPOINT_DEBUG=1 shows where)\n"
    )
    monkeypatch.setenv("SETPOINT_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        main.main(["version"])


def test_an_interrupt_is_130(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("agent.cli.version.run_version", interrupt)
    assert run("version")[0] == 130


def test_a_reader_that_goes_away_is_no_error() -> None:
    done = subprocess.run(
        f"{sys.executable} -m agent.cli completion fish | head -n 1",
        shell=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.stdout == "complete -c setpoint -f\n"
    assert done.stderr == ""


def test_the_paths_known_by_heart_are_the_layouts() -> None:
    layout = Layout("lab-1")
    assert connect.socket_path("lab-1") == str(layout.agent_socket)
    assert connect.database_path("lab-1") == str(layout.database)


HEAVY = (
    "aiohttp", "argparse", "asyncio", "click", "collections", "enum", "http.client", "json", "logging",
    "pydantic", "re", "rich", "shutil", "site", "socket", "sqlalchemy", "subprocess", "typing", "warnings",
    "yaml",
)  # fmt: skip


@pytest.mark.parametrize(
    "words",
    [["status"], ["--instance", "nobody-here", "status", "shop"], ["exec", "shop/web", "true"]],
    ids=" ".join,
)
def test_a_look_imports_nothing_that_costs(words: list[str]) -> None:
    """As the launcher begins it, up to where the agent is asked."""
    code = f"""
import sys
sys.path.append({str(ROOT)!r})
from agent.client import Client
def tell(*_arguments, **_options):
    print([name for name in sys.argv[1:] if name in sys.modules], flush=True)
    raise SystemExit(0)
Client._connect = tell
from agent.cli.main import main
main({words!r})
"""
    done = subprocess.run(
        [sys.executable, "-IS", "-c", code, *HEAVY], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_a_look_without_an_agent_needs_no_packages() -> None:
    code = f"import sys; sys.path.append({str(ROOT)!r}); from agent.cli.main import main; sys.exit(main())"
    words = ["--instance", "nobody-here", "status"]
    done = subprocess.run([sys.executable, "-IS", "-c", code, *words], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert "no agent answers" in done.stderr


@pytest.mark.parametrize(
    ("verb", "words"),
    [
        ("status", []),
        ("status", ["shop", "shop/web"]),
        ("exec", ["shop/web", "ls", "-l", "/"]),
        ("exec", ["shop/web", "-i", "ls"]),
        ("exec", ["shop/web", "sh", "-c", "echo --instance x"]),
        ("exec", ["shop/web"]),
    ],
)
def test_plain_words_are_read_as_the_parser_reads_them(verb: str, words: list[str]) -> None:
    module, parser = import_module(f"agent.cli.{main.VERBS[verb][0]}"), Parser(verb, "x", "lab")
    getattr(module, f"add_{verb}")(parser)
    assert vars(getattr(module, f"plain_{verb}")(words, "lab")) == vars(parser.parse_args(words))


@pytest.mark.parametrize(
    ("verb", "words"),
    [
        ("status", ["-q"]),
        ("status", ["shop", "-o", "json"]),
        ("exec", ["-i", "x", "ls"]),
        ("exec", ["x", "--", "ls"]),
        ("exec", []),
    ],
)
def test_words_with_options_are_the_parsers(verb: str, words: list[str]) -> None:
    module = import_module(f"agent.cli.{main.VERBS[verb][0]}")
    assert getattr(module, f"plain_{verb}")(words, "") is None


@pytest.mark.parametrize(
    ("text", "value"), [("60", 60), ("60s", 60), ("1m30s", 90), ("2h", 7200), ("500ms", 0.5), ("1.5s", 1.5)]
)
def test_lengths_of_time(text: str, value: float) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_every_verb_and_its_options(shell: str, run: Run) -> None:
    code, out, _ = run("completion", shell)
    assert code == 0
    assert all(verb in out for verb in main.VERBS)
    assert "timestamps" in out


def test_the_bash_completion_is_bash(run: Run) -> None:
    script = run("completion", "bash")[1]
    ask = f"{script}\nCOMP_WORDS=(setpoint st) COMP_CWORD=1; _setpoint; echo ${{COMPREPLY[@]}}"
    done = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["status", "stats"]
