"""`setpoint explain` and `setpoint schema`: what a field of a manifest means, and JSON Schemas for editors.
Neither needs an agent. The words are those of agent.manifest.descriptions."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

from agent.cli import output
from agent.cli.parser import Parser

if TYPE_CHECKING:
    from agent.manifest.explain import Explanation


def add_explain(parser: Parser) -> None:
    parser.add_argument("field", nargs="?", default="", metavar="FIELD", help="container.ports, volume, …")
    parser.examples(
        "setpoint explain                               the kinds",
        "setpoint explain container                     a kind's fields",
        "setpoint explain container.healthcheck.http    one of them",
    )


def run_explain(arguments: Namespace) -> int:
    from agent.manifest.explain import explain

    print("\n".join(show(explain(arguments.field))))
    return 0


def show(found: Explanation) -> list[str]:
    """The field, what it means, an example, and what is below it."""
    lines = [output.paint(found.path or "manifest", "bold"), "", found.text]
    if found.example:
        lines += ["", *(f"    {line}" for line in found.example.splitlines())]
    if found.fields:
        rows = [(f"  {name}", text) for name, text in found.fields]
        lines += ["", output.table((), rows)]
    return lines


def add_schema(parser: Parser) -> None:
    parser.add_argument("form", nargs="?", default="compose", choices=("compose", "envelope"), metavar="FORM",
                        help="compose (default) or envelope")  # fmt: skip
    parser.examples(
        "setpoint schema >compose.schema.json",
        "setpoint schema envelope >setpoint.schema.json",
        "first line of a manifest: # yaml-language-server: $schema=compose.schema.json",
    )


def run_schema(arguments: Namespace) -> int:
    from agent.manifest.schema import compose_schema, envelope_schema

    output.print_data(compose_schema() if arguments.form == "compose" else envelope_schema(), "json")
    return 0
