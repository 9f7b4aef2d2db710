"""`setpoint why`: the chain commit -> file:line -> observation -> actions -> result of one object."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from agent.cli import output
from agent.cli.connect import AgentDown, connect, database_path, socket_path
from agent.cli.events import what
from agent.cli.parser import Parser


def add_why(parser: Parser) -> None:
    parser.add_argument("name", metavar="NAME", help="project/name or a key")
    parser.add_argument("-a", "--all", action="store_true", help="also what was before the last change")
    parser.outputs("json", "yaml")
    parser.examples("setpoint why shop/web", "setpoint why -a shop/web     with earlier versions")


def run_why(arguments: Namespace) -> int:
    try:
        data = connect(arguments).why(arguments.name)
    except AgentDown:
        data = stored(arguments)
    if arguments.output:
        output.print_data(data, arguments.output)
    else:
        print("\n".join(story(data, is_whole=arguments.all)))
    return 0


def stored(arguments: Namespace) -> dict[str, Any]:
    """From what the agent last wrote; AgentDown when there is nothing."""
    from agent.api.views import resolve, why_view
    from store.reader import read_events, read_status

    path = database_path(arguments.instance)
    found = read_status(path)
    if found is None:
        raise AgentDown(socket_path(arguments.instance), "no agent answers")
    key = resolve(arguments.name, found.objects | found.statuses, found.objects)
    steps = read_events(path, key, 20)
    return {**why_view(key, found.objects.get(key), found.statuses.get(key), steps, found.revisions)}


def story(data: dict[str, Any], *, is_whole: bool = True) -> list[str]:
    """One line a link of the chain, indented by cause; of the newest version alone, or of all."""
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
    steps = list(data.get("steps", []))
    for step in steps if is_whole else _of_last_change(steps):
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


def _of_last_change(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """From the newest step on that made the object anew."""
    made = [n for n, step in enumerate(steps) if str(step["reason"]).endswith("Created")]
    same = [n for n in made if steps[n].get("revision") == steps[made[-1]].get("revision")]
    return steps[same[0] :] if same else steps


def _step(step: dict[str, Any]) -> str:
    said = what(step, with_cause=False)
    joined = "" if not said else f" {said}" if said.startswith("#") else f": {said}"
    return f"{output.clock(step['at'])} {step['reason']}{joined}"


def _line(word: str, text: str) -> str:
    return f"  {word:<10} {output.clean(text)}"
