"""One verb's parser. Of the standard library, since it costs a quarter of what click takes to import
and `setpoint status` is run in loops (ops/decisions/0003-command-line.md).

A wrong command line is exit code 1 with one sentence, as every other error: 2 means "changes" here.
"""

from __future__ import annotations

import argparse
import os

from agent.cli.connect import instance_of
from runtime.errors import Invalid

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without the cost of typing
if TYPE_CHECKING:
    from typing import Any, NoReturn

OUTPUTS = ("json", "yaml", "wide")


class Form(argparse.RawDescriptionHelpFormatter):
    """Options as `-o, --output FORM`, the value named once, as newer Pythons write them too."""

    def __init__(self, prog: str) -> None:
        # The width given, since argparse asks shutil for it, at each option that is added.
        super().__init__(prog, max_help_position=28, width=_width())

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings or action.nargs == 0:
            return super()._format_action_invocation(action)
        value = self._format_args(action, self._get_default_metavar_for_optional(action))
        return f"{', '.join(action.option_strings)} {value}"


def _width() -> int:
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns) > 20:
        return int(columns) - 2
    try:
        return min(os.get_terminal_size(1).columns, 120) - 2
    except OSError:
        return 98


class Words(argparse.ArgumentParser):
    """argparse with our words for errors, and examples at the end of --help."""

    def __init__(self, **options: Any) -> None:
        options |= {"formatter_class": Form, "allow_abbrev": False, "add_help": False}
        super().__init__(**options)
        self._positionals.title, self._optionals.title = "arguments", "options"
        self.add_argument("-h", "--help", action="help", help=argparse.SUPPRESS)

    def error(self, message: str) -> NoReturn:
        raise Invalid(self.prog, "", message, f"{self.prog} --help")

    def examples(self, *lines: str) -> None:
        self.epilog = "\n".join(["examples:", *(f"  {line}" for line in lines)])

    def outputs(self, *names: str) -> None:
        """`-o json|yaml|wide`; only those named, or all."""
        self.add_argument(
            "-o", "--output", choices=names or OUTPUTS, default="", metavar="FORM",
            help=f"{', '.join(names or OUTPUTS[:-1])}{'' if names else ', or wide: a table with more'}",
        )  # fmt: skip


class Parser(Words):
    """The parser of a verb, with --instance."""

    def __init__(self, verb: str, summary: str, instance: str = "") -> None:
        super().__init__(prog=f"setpoint {verb}", description=sentence(summary))
        self.add_argument(
            "--instance",
            metavar="NAME",
            default=instance_of(instance),
            help="which engine on this host ($SETPOINT_INSTANCE; setpoint)",
        )

    def commands(self, title: str = "command", *, required: bool = True) -> Commands:
        return Commands(self, title, required)


class Commands:
    """Sub-commands of a verb (`image load`), each with its own examples."""

    def __init__(self, parser: Parser, title: str, required: bool) -> None:
        self._group = parser.add_subparsers(
            dest="command", metavar=title.upper(), required=required, parser_class=Words
        )

    def add(self, name: str, summary: str) -> Words:
        words = self._group.add_parser(name, help=summary, description=sentence(summary))
        # No default: what was given before the sub-command must not be overwritten by it.
        words.add_argument("--instance", metavar="NAME", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        return words


def sentence(summary: str) -> str:
    return summary[:1].upper() + summary[1:] + "."


def seconds(text: str) -> float:
    """`60s`, `1m30s`, `2h`, `500ms` or a plain number of seconds."""
    import re

    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise argparse.ArgumentTypeError(f"{text!r} is no length of time; write 60s, 1m30s or 2h")
    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
    return sum(float(number) * units[unit] for number, unit in parts)


def size(text: str) -> int:
    """`512m`, `2g`, `1.5G` or a plain number of bytes."""
    import re

    match = re.fullmatch(r"(\d{1,15}(?:\.\d{1,6})?)([kmgt]?)b?", text.lower())
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write 512m or 2g")
    return int(float(match[1]) * 1024 ** " kmgt".index(match[2] or " "))
