"""`setpoint get` and `describe`: objects as data or in a table, and one object in full."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from agent.cli import output
from agent.cli.connect import connect, match_objects
from agent.cli.events import event_line
from agent.cli.parser import Parser
from agent.cli.status import objects_table

KINDS = ("container", "network", "volume", "image", "socket")


def add_get(parser: Parser) -> None:
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"a kind ({', '.join(KINDS)}), project or key"
    )
    parser.outputs()
    parser.examples(
        "setpoint get                         every object",
        "setpoint get volume                  of a kind",
        "setpoint get shop/web -o yaml        one, with its spec",
    )


def run_get(arguments: Namespace) -> int:
    client = connect(arguments)
    objects = sorted(client.objects(), key=lambda o: str(o["key"]))
    kinds = {name.removesuffix("s") for name in arguments.names} & set(KINDS)
    names = [name for name in arguments.names if name.removesuffix("s") not in kinds]
    if kinds:
        objects = [o for o in objects if o["key"].split("/")[1] in kinds]
    if names:
        chosen = set(match_objects(names, objects))
        objects = [o for o in objects if o["key"] in chosen]
    if arguments.output in ("json", "yaml"):
        details = [_wanted(client.describe(o["key"])) for o in objects] if names else objects
        output.print_data(details[0] if names and len(details) == 1 else details, arguments.output)
    else:
        shown = [{**item, "shown": output.shown_key(item)} for item in objects]
        print(objects_table(shown, wide=arguments.output == "wide") if objects else "no objects")
    return 0


def _wanted(detail: dict[str, Any]) -> dict[str, Any]:
    """An object with its spec, without what happened to it."""
    return {name: value for name, value in detail.items() if name != "events"}


def add_describe(parser: Parser) -> None:
    parser.add_argument("name", metavar="NAME", help="project/name or a key")
    parser.outputs("json", "yaml")
    parser.examples("setpoint describe shop/web", "setpoint describe shop/volume/data -o json")


def run_describe(arguments: Namespace) -> int:
    data = connect(arguments).describe(arguments.name)
    if arguments.output:
        output.print_data(data, arguments.output)
    else:
        print("\n".join(describe(data)))
    return 0


def describe(data: dict[str, Any]) -> list[str]:
    """Blocks of text: what it is, its conditions, its containers, its spec, its last events."""
    place = f"{data['file']}:{data.get('line', 1)}" if data.get("file") else "-"
    facts = [
        ("key", data["key"]),
        ("phase", data["phase"] + (f" since {output.clock(data['since'])}" if data.get("since") else "")),
        ("ready", "yes" if data["ready"] else f"no: {data.get('message') or 'no reason known yet'}"),
        ("from", f"{place} at {output.short(data.get('revision')) or '-'} (owner {data.get('owner', '-')})"),
        ("generation", f"{data.get('generation', '-')}, converged to {data.get('observed_generation', '-')}"),
        ("restarts", str(data.get("restarts", 0))),
    ]
    lines = [f"{name:<11} {output.clean(value)}" for name, value in facts]
    for title, block in (
        ("conditions", [_condition(c) for c in data.get("conditions", [])]),
        ("containers", [_container(c) for c in data.get("containers", [])]),
        ("spec", _spec(data.get("spec") or {})),
        ("events", [event_line(e, with_key=False) for e in data.get("events", [])]),
    ):
        if block:
            lines += ["", title, *(f"  {line}" for line in block)]
    return lines


def _condition(condition: dict[str, Any]) -> str:
    age = output.ago(condition["since"])
    text = f"{condition['type']}={condition['status']} {condition['reason']} for {age}"
    return output.clean(f"{text}: {condition['message']}" if condition.get("message") else text)


def _container(container: dict[str, Any]) -> str:
    families = (output.mapping(container.get(name)) for name in ("addresses", "addresses6"))
    where = ", ".join(f"{n} {a}" for found in families for n, a in found.items())
    parts = [str(container.get("id", ""))[:12], str(container.get("phase", ""))]
    parts += [f"pid {container['pid']}"] if container.get("pid") else []
    parts += [str(container["health"])] if container.get("health") else []
    if container.get("exit_code") is not None:
        parts.append(f"exit code {container['exit_code']}")
    parts += ["killed for want of memory"] if container.get("oom_killed") else []
    parts += [where] if where else []
    parts += [_port(port) for port in container.get("ports", ())]
    return output.clean("  ".join(parts))


def _port(port: dict[str, Any]) -> str:
    """`127.0.0.1:8080->80`, and the protocol where it is not tcp."""
    protocol = "" if port["protocol"] == "tcp" else f"/{port['protocol']}"
    host = f"[{port['host_ip']}]" if ":" in port["host_ip"] else port["host_ip"] or "0.0.0.0"
    return f"{host}:{port['host_port']}->{port['container_port']}{protocol}"


def _spec(spec: dict[str, Any]) -> list[str]:
    """What a Docker client asked for is kept with all its empty fields; they say nothing to people."""
    import yaml

    if asked := output.mapping(spec.get("asked")):
        spec = {**spec, "asked": _said(asked)}
    text = yaml.safe_dump(spec, sort_keys=False, allow_unicode=True) if spec else ""
    return [output.clean(line) for line in text.splitlines()]


def _said(value: Any) -> Any:
    """Without what is empty, zero or false, however deep."""
    if not isinstance(value, dict):
        return value
    found = {name: _said(each) for name, each in value.items()}
    return {name: each for name, each in found.items() if each not in (None, "", 0, [], {}, [0, 0])}
