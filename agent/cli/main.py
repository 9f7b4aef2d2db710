"""The command line: finds the verb, imports only its module, runs it, and turns errors into one
sentence. Called by the launcher `.venv/bin/setpoint`; holds no verb itself.

Exit codes: 0 done, 1 not done (the reason is on stderr), 130 interrupted. `plan` alone also has 2.
A verb NAME in module M is two functions, `M.add_NAME(parser)` and `M.run_NAME(arguments) -> int`.
Only the standard library here and in what `status` imports: a look must cost no more than a look.
"""

from __future__ import annotations

import os
import sys

# verb -> (module in agent.cli, one line for --help), in the order people meet them.
VERBS: dict[str, tuple[str, str]] = {
    "status": ("status", "what should run, what does, and why not"),
    "plan": ("plan", "what would change, and the line that asks for it"),
    "validate": ("validate", "check manifests; needs no agent and no root"),
    "get": ("get", "list objects, or print one"),
    "describe": ("get", "all that is known of one object"),
    "why": ("why", "the chain from commit to result, for one object"),
    "events": ("events", "what was seen, decided and done"),
    "logs": ("logs", "what containers print"),
    "exec": ("execute", "run a command in a container"),
    "diff": ("archives", "what a container changed of its image's files"),
    "export": ("archives", "a container's files as a tar; without a name, manifests of what is unmanaged"),
    "commit": ("archives", "make an image of a container"),
    "stats": ("stats", "what containers use"),
    "top": ("stats", "the processes of a container"),
    "wait": ("wait", "until objects are ready"),
    "sync": ("act", "look at the source now"),
    "restart": ("act", "stop and start an object's containers"),
    "suspend": ("act", "leave objects alone until resumed"),
    "resume": ("act", "undo suspend and override"),
    "override": ("act", "stop, start or pause what a manifest owns, for a while"),
    "import": ("import_docker", "what a Docker daemon runs, as manifests, with its data where asked for"),
    "adopt": ("adopt", "the manifest of what the Docker API made, and its hand-over"),
    "prune": ("act", "answer a removal that waits for a yes"),
    "image": ("images", "pull, push, load, import, inspect, list and remove images"),
    "login": ("login", "let the agent in at a registry"),
    "logout": ("login", "forget a login"),
    "network": ("objects", "list networks"),
    "volume": ("objects", "list and remove volumes"),
    "tls": ("tls", "certificates for clients that come by TCP"),
    "dial-stdio": ("dial_stdio", "the agent's socket on standard input and output, for ssh"),
    "policy": ("policy", "what manifests may ask for on this host"),
    "system": ("system", "what takes room on the disk, and what of it may go"),
    "agent": ("agent", "run the agent, start it in the background, stop it"),
    "down": ("down", "stop and remove everything this instance runs"),
    "explain": ("explain", "what a manifest field means"),
    "schema": ("explain", "JSON Schema of manifests, for editors"),
    "doctor": ("doctor", "what this kernel offers, and what to do about the rest"),
    "drill": ("drill", "break on purpose what is kept, on an instance of its own, and time the repairs"),
    "oci": ("oci", "the native runtime under an OCI runtime's command line"),
    "completion": ("completion", "shell completion for bash, zsh and fish"),
    "version": ("version", "versions of the program and of the running agent"),
}

PLAIN = frozenset({"status", "exec"})  # verbs with a `plain_NAME`; they need no packages
OCI_ENTERS = frozenset({"create", "run", "exec"})  # verbs of `oci` after which something is in a container

GROUPS = (
    ("look", ("status", "get", "describe", "why", "events", "logs", "diff", "stats", "top")),
    (
        "change",
        (
            "plan",
            "validate",
            "sync",
            "wait",
            "restart",
            "suspend",
            "resume",
            "override",
            "adopt",
            "import",
            "prune",
            "exec",
        ),
    ),
    ("things", ("image", "commit", "export", "login", "logout", "network", "volume")),
    (
        "engine",
        ("agent", "system", "policy", "tls", "dial-stdio", "down", "doctor", "drill", "oci", "version"),
    ),
    ("help", ("explain", "schema", "completion")),
)


def main(argv: list[str] | None = None) -> int:
    """Run one command line; never raises, never prints a traceback (SETPOINT_DEBUG=1 shows it)."""
    words = list(sys.argv[1:] if argv is None else argv)
    _have_streams()
    try:
        code = _run(words)
        sys.stdout.flush()  # a full disk is found here, and not after the exit code is decided
        if "site" not in sys.modules:
            os._exit(code)  # a plain verb: what Python tidies up at its end, the kernel does sooner
        return code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader (`| head`) went away. Point stdout elsewhere, or the flush at exit fails again.
        _drop_stdout()
        return 1
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    except Exception as error:
        if os.environ.get("SETPOINT_DEBUG"):
            raise
        from agent.cli.output import print_error

        if isinstance(error, OSError) and error.filename is None:
            _drop_stdout()  # the output itself, most likely
        print_error(error)
        return 1


def _have_streams() -> None:
    """Closed ones (`>&-`) are None in Python (sys): nobody wants what goes there."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: PTH123, SIM115 - until the process ends


def _drop_stdout() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _run(words: list[str]) -> int:
    instance, words = _take_instance(words)
    if not words or words[0] in ("-h", "--help", "help"):
        return _help(words[1:])
    if words[0] == "--version":
        words[0] = "version"
    verb = words[0]
    if verb not in VERBS:
        from agent.cli.output import no_such_verb

        raise no_such_verb(verb, VERBS)
    return run_verb(verb, words[1:], instance)


def run_verb(verb: str, words: list[str], instance: str) -> int:
    """Parse the words after a verb and run it."""
    if verb not in PLAIN:
        find_packages()
    if verb == "oci":
        protect_oci(words)
    name = f"agent.cli.{VERBS[verb][0]}"
    __import__(name)  # importlib would do the same, and imports warnings
    module = sys.modules[name]
    if verb == "oci":
        # The OCI command line is a contract of its own, with its own parser.
        return run_oci(module, words, instance)
    run = getattr(module, f"run_{verb.replace('-', '_')}")
    return int(run(_arguments(module, verb, words, instance)))


def _arguments(module: object, verb: str, words: list[str], instance: str) -> object:
    """What a verb is asked for. The few that are run in loops read words without options by themselves:
    argparse costs more to import than all that they do."""
    name = verb.replace("-", "_")
    if verb in PLAIN and (arguments := getattr(module, f"plain_{name}")(words, instance)) is not None:
        return arguments
    find_packages()
    from agent.cli.parser import Parser

    parser = Parser(verb, VERBS[verb][1], instance)
    getattr(module, f"add_{name}")(parser)
    return parser.parse_args(words)


def find_packages() -> None:
    """What `site` does at the start of Python (site(7)), where the launcher has left it out: it takes longer
    than a look at the agent."""
    if sys.flags.no_site and "site" not in sys.modules:
        import site

        site.main()


def protect_oci(words: list[str]) -> None:
    """What is forked into a container is this program: let it be one that nobody can write to."""
    if not OCI_ENTERS.isdisjoint(words):
        from runtime.supervisor import interpreter

        interpreter.be_read_only()


def run_oci(module: object, words: list[str], instance: str) -> int:
    if instance:
        os.environ["SETPOINT_INSTANCE"] = instance
    group = getattr(module, "oci")  # noqa: B009 - a module found by name
    result = group.main(args=words, prog_name="setpoint oci", standalone_mode=True)
    return int(result or 0)


def _take_instance(words: list[str]) -> tuple[str, list[str]]:
    """`--instance NAME` and `--host ADDRESS` before the verb; after it, a verb's parser takes the first."""
    instance = ""
    while words and words[0].partition("=")[0] in ("--instance", "--host"):
        name, sign, value = words[0].partition("=")
        if not sign and len(words) == 1:
            from runtime.errors import Invalid

            kind = {"--instance": "a name", "--host": "an address"}[name]
            raise Invalid("setpoint", "", f"{name} needs {kind}", f"setpoint {name} … status")
        value, words = (value, words[1:]) if sign else (words[1], words[2:])
        if name == "--host":
            os.environ["SETPOINT_HOST"] = value
        else:
            instance = value
    return instance, words


def _help(words: list[str]) -> int:
    if words and words[0] in VERBS:
        return run_verb(words[0], ["--help"], "")
    lines = [
        "Usage: setpoint [--instance NAME] [--host tcp://HOST:PORT | ssh://USER@HOST] VERB ...",
        "",
        "A container engine that you steer with files.",
        "",
    ]
    for title, verbs in GROUPS:
        lines += [title, *(f"  {verb:<11} {VERBS[verb][1]}" for verb in verbs), ""]
    lines.append("setpoint VERB --help shows a verb's options and examples.")
    print("\n".join(lines))
    return 0
