"""`setpoint stats` and `top`: what containers use, and their processes."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from agent.cli import output
from agent.cli.connect import Client, connect
from agent.cli.parser import Parser, seconds


def add_stats(parser: Parser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these: projects, project/name or keys")
    parser.add_argument("-w", "--watch", type=seconds, nargs="?", const=2.0, default=None, metavar="TIME",
                        help="go on, every TIME (default 2s)")  # fmt: skip
    parser.outputs("json", "yaml")
    parser.examples("setpoint stats", "setpoint stats shop --watch 5s", "setpoint stats -o json")


def run_stats(arguments: Namespace) -> int:
    import time

    client = connect(arguments)
    # The share of the CPU is a difference: two looks, half a second apart, unless the data is raw.
    before = {} if arguments.output else _by_id(client)
    pause = 0.5
    while True:
        if not arguments.output:
            time.sleep(pause)
        now = _by_id(client)
        chosen = _chosen(list(now.values()), arguments.names)
        if arguments.output:
            output.print_data(chosen, arguments.output)
        else:
            text = output.table(HEADINGS, [_row(item, before.get(item["id"])) for item in chosen])
            print(f"\x1b[H\x1b[2J{text}" if arguments.watch and output.is_colourful() else text, flush=True)
        if arguments.watch is None:
            return 0
        before, pause = now, arguments.watch
        if arguments.output:
            time.sleep(pause)


HEADINGS = ("OBJECT", "CPU", "MEMORY", "LIMIT", "PIDS", "READ", "WRITTEN", "RECEIVED", "SENT", "OOM")


def _by_id(client: Client) -> dict[str, dict[str, Any]]:
    return {str(item["id"]): item for item in client.stats()}


def _chosen(items: list[dict[str, Any]], names: list[str]) -> list[dict[str, Any]]:
    from agent.cli.connect import match_keys

    if not names:
        return items
    keys = set(match_keys(names, sorted({str(item.get("key", "")) for item in items if item.get("key")})))
    return [item for item in items if item.get("key") in keys]


def _row(item: dict[str, Any], before: dict[str, Any] | None) -> tuple[object, ...]:
    share = "-"
    if before and item["at"] > before["at"]:
        used = (item["cpu_seconds"] - before["cpu_seconds"]) / (item["at"] - before["at"])
        share = f"{used * 100:.1f}%"
    return (
        item.get("name") or item.get("key") or item["id"][:12],
        share,
        output.size(item["memory_bytes"]),
        output.size(item.get("memory_limit_bytes")),
        f"{item['pids']}" + (f"/{item['pids_limit']}" if item.get("pids_limit") else ""),
        output.size(item["io_read_bytes"]),
        output.size(item["io_write_bytes"]),
        output.size(item["network_received_bytes"]),
        output.size(item["network_sent_bytes"]),
        item["oom_kills"],
    )


def add_top(parser: Parser) -> None:
    parser.add_argument("name", metavar="NAME", help="project/name or a key")
    parser.outputs("json", "yaml")
    parser.examples("setpoint top shop/web")


def run_top(arguments: Namespace) -> int:
    processes = connect(arguments).top(arguments.name)
    if arguments.output:
        output.print_data(processes, arguments.output)
        return 0
    rows = [
        (p["container"], p["pid"], p["user"], p["state"], f"{p['cpu_seconds']:.1f}s",
         output.size(p["memory_bytes"]), " ".join(map(str, p["command"])))
        for p in processes
    ]  # fmt: skip
    headings = ("CONTAINER", "PID", "USER", "STATE", "CPU", "MEMORY", "COMMAND")
    print(output.table(headings, rows) if rows else "no processes")
    return 0
