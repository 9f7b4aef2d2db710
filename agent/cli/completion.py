"""`setpoint completion bash|zsh|fish`: a script to source. Verbs and options come from the verb table and
the parsers themselves; object names are asked for as one types."""

from __future__ import annotations

from argparse import ArgumentTypeError, Namespace
from importlib import import_module

from agent.cli.main import VERBS
from agent.cli.parser import Parser

# Verbs whose words are names of objects.
NAMING = ("status", "get", "describe", "why", "events", "logs", "exec", "stats", "top", "wait", "restart",
          "suspend", "resume", "diff", "export", "commit")  # fmt: skip


def add_completion(parser: Parser) -> None:
    parser.add_argument("shell", type=shell, metavar="SHELL", help="bash, zsh or fish")
    parser.examples(
        "source <(setpoint completion bash)",
        "setpoint completion fish >~/.config/fish/completions/setpoint.fish",
    )


def shell(text: str) -> str:
    """names: what the scripts ask while somebody types."""
    if text not in ("bash", "zsh", "fish", "names"):
        raise ArgumentTypeError(f"no completion for {text!r}; there is bash, zsh and fish")
    return text


def run_completion(arguments: Namespace) -> int:
    if arguments.shell == "names":
        print("\n".join(names(arguments)))
        return 0
    print({"bash": bash, "zsh": zsh, "fish": fish}[arguments.shell]())
    return 0


def names(arguments: Namespace) -> list[str]:
    """project/name of everything; nothing rather than an error, since a shell asks."""
    from agent.cli.status import look
    from runtime.errors import SetpointError

    try:
        keys = [str(item["key"]).split("/") for item in look(arguments)["objects"]]
    except SetpointError:
        return []
    return sorted({f"{project}/{name}" for project, _, name in keys})


def options(verb: str) -> list[str]:
    """The long options and sub-commands of a verb, as its own parser has them."""
    if verb == "oci":
        return []
    parser = Parser(verb, "")
    getattr(import_module(f"agent.cli.{VERBS[verb][0]}"), f"add_{verb.replace('-', '_')}")(parser)
    words: list[str] = []
    for action in parser._actions:
        words += [word for word in action.option_strings if word.startswith("--")]
        if not action.option_strings and action.choices:
            words += [str(choice) for choice in action.choices]
    return words


def bash() -> str:
    cases = "\n".join(f"    {verb}) words='{' '.join(options(verb))}' ;;" for verb in VERBS)
    return f"""\
_setpoint() {{
  local word=${{COMP_WORDS[COMP_CWORD]}} verb=${{COMP_WORDS[1]}} words=
  if [ "$COMP_CWORD" = 1 ]; then
    COMPREPLY=($(compgen -W '{" ".join(VERBS)}' -- "$word"))
    return
  fi
  case $verb in
{cases}
  esac
  case $verb in {"|".join(NAMING)})
    [ "${{word#-}}" != "$word" ] || words="$words $(setpoint completion names 2>/dev/null)" ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$word"))
  [ ${{#COMPREPLY[@]}} -gt 0 ] || COMPREPLY=($(compgen -f -- "$word"))
}}
complete -F _setpoint setpoint"""


def zsh() -> str:
    return "#compdef setpoint\nautoload -U +X bashcompinit && bashcompinit\n" + bash()


def fish() -> str:
    lines = ["complete -c setpoint -f"]
    for verb, (_, summary) in VERBS.items():
        about = summary.replace("'", "\\'")
        lines.append(f"complete -c setpoint -n __fish_use_subcommand -a {verb} -d '{about}'")
        for word in options(verb):
            flag = f"-l {word[2:]}" if word.startswith("--") else f"-a {word}"
            lines.append(f"complete -c setpoint -n '__fish_seen_subcommand_from {verb}' {flag}")
    lines.append(
        f"complete -c setpoint -n '__fish_seen_subcommand_from {' '.join(NAMING)}' "
        "-a '(setpoint completion names 2>/dev/null)'"
    )
    for verb in ("plan", "validate", "image", "export"):
        lines.append(f"complete -c setpoint -n '__fish_seen_subcommand_from {verb}' -F")
    return "\n".join(lines)
