"""`setpoint status`: everything in one look. Answers from the store when no agent does, and says so.

Reads only; imports nothing that costs (see connect.py).
"""

from __future__ import annotations

from agent.cli import output
from agent.cli.connect import AgentDown, Plain, connect, instance_of, last_known, match_objects
from agent.cli.output import Cell

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without the cost of typing
if TYPE_CHECKING:
    from argparse import Namespace
    from typing import Any

    from agent.cli.parser import Parser

# phase -> colour; what is missing here is on its way and stays plain.
PHASES = {
    "Running": "green", "Ready": "green", "Present": "green", "Completed": "green", "Active": "green",
    "Failed": "red", "Stalled": "red", "Unhealthy": "red", "BackOff": "red",
    "Suspended": "yellow", "Stopped": "grey", "Kept": "grey",
}  # fmt: skip

UNMANAGED = "unmanaged: made through the Docker API, in no manifest"
ADOPT = " (setpoint adopt NAME writes one)"  # of a container; networks and volumes stay the API's


def add_status(parser: Parser) -> None:
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="only these: a project, project/name or a key"
    )
    parser.add_argument("-q", "--not-ready", action="store_true", help="only what is not ready")
    parser.outputs()
    parser.examples(
        "setpoint status                  all of it",
        "setpoint status shop             one project",
        "setpoint status -q               what is not ready, and why",
        "setpoint status -o json          the same as data",
    )


def plain_status(words: list[str], instance: str) -> Plain | None:
    """As the parser would have it; None for words that it is to read."""
    if any(word.startswith("-") for word in words):
        return None
    return Plain(instance=instance_of(instance), names=words, not_ready=False, output="")


def run_status(arguments: Namespace | Plain) -> int:
    """Always 0 when there is something to say: `wait` is the verb that answers by its exit code."""
    status = look(arguments)
    if arguments.names:
        chosen = set(match_objects(arguments.names, status["objects"]))
        status["objects"] = [o for o in status["objects"] if o["key"] in chosen]
        status["ready"] = all(o["ready"] for o in status["objects"])
    first = head(status)
    if arguments.not_ready:
        status["objects"] = [o for o in status["objects"] if not o["ready"]]
    if arguments.output in ("json", "yaml"):
        output.print_data(status, arguments.output)
        return 0
    print(render(status, wide=arguments.output == "wide", first=first))
    return 0


def look(arguments: Namespace | Plain) -> dict[str, Any]:
    """The agent's word, or the store's when no agent answers. AgentDown when neither has one."""
    try:
        return connect(arguments).status()
    except AgentDown:
        status = last_known(arguments.instance)
        if status is None:
            raise
        return status


def render(status: dict[str, Any], *, wide: bool = False, first: str = "") -> str:
    """first: the line that counts, where only some of the objects are shown."""
    parts = [first or head(status)]
    problems = source_problems(status)
    if problems:
        parts.append("\n".join(problems))
    managed = [item for item in status["objects"] if not item.get("unmanaged")]
    if managed:
        parts += _objects(managed, wide=wide)
    if unmanaged := [item for item in status["objects"] if item.get("unmanaged")]:
        parts.append(_unmanaged(unmanaged, wide=wide))
    return "\n\n".join(parts)


def _unmanaged(objects: list[dict[str, Any]], *, wide: bool) -> str:
    """What the Docker API made: by the names that people gave it."""
    shown = [{**item, "shown": f"{item['key'].split('/')[1]} {item['name']}"} for item in objects]
    has_container = any(item["key"].split("/")[1] == "container" for item in objects)
    title = UNMANAGED + ADOPT if has_container else UNMANAGED
    return f"{output.paint(title, 'yellow')}\n{objects_table(shown, wide=wide)}"


def _objects(objects: list[dict[str, Any]], *, wide: bool) -> list[str]:
    """The table; on a terminal that is too narrow for its messages, these below, whole."""
    notes = [f"{item['key']}: {said}" for item in objects if (said := remark(item))]
    room = output.terminal_width()
    if room and notes:
        table = objects_table(objects, wide=wide, with_messages=False)
        used = max(len(output.uncoloured(line)) for line in table.splitlines())
        if used + 2 + max(len(remark(item)) for item in objects) > room:
            return [table, "\n".join(map(output.clean, notes))]
    return [objects_table(objects, wide=wide)]


def head(status: dict[str, Any]) -> str:
    ready = output.paint("ready", "green") if status["ready"] else output.paint("not ready", "yellow")
    managed = [o for o in status["objects"] if not o.get("unmanaged")]
    good = sum(1 for o in managed if o["ready"])
    line = f"{ready}  {good} of {len(managed)} objects"
    if others := len(status["objects"]) - len(managed):
        line += f", {others} unmanaged"
    if errors := len(status.get("errors") or ()):
        line += f", {errors} error{'s' if errors > 1 else ''} in the manifests"
    if status.get("revision"):
        line += f"  revision {output.clean(output.short(status['revision']))}"
    subject = output.clean(output.mapping(status.get("source")).get("subject") or "")
    if subject:
        line += f" ({subject if len(subject) <= 60 else subject[:59].rstrip() + '…'})"
    if status["agent"] != "running":
        where = str(output.mapping(status.get("source")).get("where") or "")
        start = f"setpoint agent --detach --watch {output.clean(where) if where.startswith('/') else 'DIR'}"
        note = f"agent down: this is what it last knew; containers run on (start it: {start})"
        line += "\n" + output.paint(note, "red")
    elif remembered := status.get("remembered"):
        what = f"{remembered} of these are what was last known, and are looked at now"
        note = f"the agent has just started: {what}"
        line += "\n" + output.paint(note, "yellow")
    return line


def source_problems(status: dict[str, Any]) -> list[str]:
    """Manifest errors and an unreachable source: they freeze, so they must be seen."""
    source = output.mapping(status.get("source"))
    lines = [error_line(e) for e in status.get("errors") or ()]
    for alarm in status.get("alarms") or ():
        hint = f" (hint: {alarm['hint']})" if alarm.get("hint") else ""
        lines.insert(0, f"{alarm['message']}{hint}")
    if source.get("error"):
        lines.insert(0, f"source cannot be read: {source['error']}")
    return [output.paint(output.clean(line), "red") for line in lines]


def error_line(error: Any) -> str:
    """`file:line:column: message (hint: …)` of an error as data or as text."""
    data = output.mapping(error)
    if not data:
        return str(error)
    place = ":".join(str(data[part]) for part in ("file", "line", "column") if data.get(part))
    text = f"{place}: {data.get('message', '')}" if place else str(data.get("message", ""))
    return f"{text} (hint: {data['hint']})" if data.get("hint") else text


def objects_table(objects: list[dict[str, Any]], *, wide: bool = False, with_messages: bool = True) -> str:
    headings = ["OBJECT", "READY", "PHASE", "SINCE", "RESTARTS", "COMMIT"]
    if wide:
        headings += ["FILE", "ADDRESSES", "PIDS"]
    rows = []
    for item in objects:
        row: list[object] = [
            item.get("shown") or item["key"],
            Cell(counts(item), "" if item["ready"] else "yellow"),
            Cell(item["phase"], PHASES.get(item["phase"], "")),
            output.ago(item.get("since")),
            item.get("restarts") or ("0" if is_container(item) else "-"),
            output.short(item.get("revision")) or "-",
        ]
        if wide:
            row += [place(item), addresses(item), pids(item)]
        rows.append([*row, remark(item) if with_messages else ""])
    return output.table([*headings, "MESSAGE" if any(row[-1] for row in rows) else ""], rows)


def remark(item: dict[str, Any]) -> str:
    """What is to be said of an object; nothing of one that is as it should be."""
    message = str(item.get("message") or "")
    if news := [c["message"] for c in item.get("conditions") or () if is_news(c)]:
        message = "; ".join(filter(None, (message, *news)))
        return str(message)
    is_plain = item["phase"] == "Completed" or message.endswith(" are well")
    return "" if item["ready"] and is_plain else message


def is_news(condition: dict[str, Any]) -> bool:
    return bool(condition["type"] == "UpdateAvailable" and condition["status"] == "True")


def is_container(item: dict[str, Any]) -> bool:
    return str(item["key"]).split("/")[1] == "container"


def counts(item: dict[str, Any]) -> str:
    """running/desired of a container, "done" of one that ended as it should; else yes or no."""
    if not is_container(item):
        return "yes" if item["ready"] else "no"
    if item["ready"] and item["phase"] == "Completed":
        return "done"
    running = item.get("running")
    if running is None:
        running = sum(1 for c in item.get("containers", []) if c.get("pid"))
    return f"{running}/{item.get('desired', len(item.get('containers', [])))}"


def place(item: dict[str, Any]) -> str:
    return f"{item['file']}:{item.get('line', 1)}" if item.get("file") else "-"


def addresses(item: dict[str, Any]) -> str:
    found = [str(a) for c in item.get("containers", []) for a in output.mapping(c.get("addresses")).values()]
    return ",".join(found) or "-"


def pids(item: dict[str, Any]) -> str:
    return ",".join(str(c["pid"]) for c in item.get("containers", []) if c.get("pid")) or "-"
