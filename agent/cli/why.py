"""`setpoint why`: the chain commit -> file:line -> observation -> actions -> result of one object."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from agent.cli import output
from agent.cli.connect import connect
from agent.cli.parser import Parser


def add_why(parser: Parser) -> None:
    parser.add_argument("name", metavar="NAME", help="project/name or a key")
    parser.outputs("json", "yaml")
    parser.examples("setpoint why shop/web")


def run_why(arguments: Namespace) -> int:
    data = connect(arguments).why(arguments.name)
    if arguments.output:
        output.print_data(data, arguments.output)
    else:
        print("\n".join(story(data)))
    return 0


def story(data: dict[str, Any]) -> list[str]:
    """One line a link of the chain, indented by cause."""
    lines = [output.paint(output.clean(data["key"]), "bold")]
    commit = output.mapping(data.get("commit"))
    if commit:
        by = f" by {commit['author']}" if commit.get("author") else ""
        subject = f' "{commit["subject"]}"' if commit.get("subject") else ""
        lines.append(
            _line("commit", f"{output.short(commit['id'])}{subject}{by}, {output.clock(commit['seen_at'])}")
        )
    elif data.get("revision"):
        lines.append(_line("revision", output.short(data["revision"])))
    if data.get("file"):
        lines.append(_line("manifest", f"{data['file']}:{data['line']}"))
    last_seen = ""
    for step in data.get("steps", []):
        seen = str((step.get("cause") or [""])[-1])
        if seen and seen != last_seen:
            lines.append(_line("seen", seen))
            last_seen = seen
        lines.append(_line("  did" if step["type"] == "Normal" else "  failed", _step(step)))
    result = output.mapping(data.get("result"))
    if result:
        note = f": {result['message']}" if result.get("message") else ""
        state = "ready" if result.get("ready") else "not ready"
        lines.append(
            _line("result", f"{result['phase']}, {state} for {output.ago(result.get('since'))}{note}")
        )
    return lines


def _step(step: dict[str, Any]) -> str:
    return f"{output.clock(step['at'])} {step['reason']}: {step['message']}"


def _line(word: str, text: str) -> str:
    return f"  {word:<10} {output.clean(text)}"
