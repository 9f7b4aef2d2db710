"""`setpoint version`: the program's version, and the running agent's when one answers."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from agent.cli import output
from agent.cli.connect import AgentDown, connect
from agent.cli.parser import Parser
from agent.settings import VERSION
from runtime.errors import SetpointError


def add_version(parser: Parser) -> None:
    parser.outputs("json", "yaml")
    parser.examples("setpoint version", "setpoint version -o json")


def run_version(arguments: Namespace) -> int:
    data: dict[str, Any] = {"program": VERSION, "agent": None}
    reason = "down"
    try:
        data["agent"] = connect(arguments).version()
    except AgentDown:
        pass
    except SetpointError as error:
        reason = f"not reached: {error.reason}"
    if arguments.output:
        output.print_data(data, arguments.output)
        return 0
    print(f"setpoint {VERSION}")
    agent = data["agent"]
    if agent is None:
        print(f"agent {reason}")
        return 0
    print(output.clean(f"agent {agent.get('version', '?')}, up {output.ago(agent.get('started_at'))}"))
    if agent.get("is_outdated"):
        print("the agent's program has been upgraded since: setpoint agent --detach starts it anew")
    if agent.get("metrics"):
        print(output.clean(f"metrics http://{agent['metrics']}/metrics"))
    return 0
