"""`setpoint doctor`: each thing Setpoint needs of this host, its state, and what to do about it.

Runs without an agent and without root as far as it can; reads only. The checks are in
`doctor_checks`, this file prints them. Exit code 1 when something needed is missing.
"""

from __future__ import annotations

from argparse import Namespace

from agent.cli import output
from agent.cli.connect import connect
from agent.cli.output import Cell
from agent.cli.parser import Parser
from runtime.errors import SetpointError

COLOURS = {"ok": "green", "warn": "yellow", "missing": "red", "unknown": "grey"}


def add_doctor(parser: Parser) -> None:
    parser.outputs("json", "yaml")
    parser.add_argument(
        "--leaks", action="store_true", help="what of this instance is lost, wrong, doubled, leaked or stuck"
    )
    parser.examples(
        "setpoint doctor",
        "sudo setpoint doctor            sees more",
        "setpoint doctor -o json",
        "sudo setpoint doctor --leaks    what a crash left over, if anything",
    )


def run_doctor(arguments: Namespace) -> int:
    if arguments.leaks:
        from agent.cli.doctor_leaks import run_leaks

        return run_leaks(arguments)
    from agent.cli.doctor_checks import check_host

    findings = [finding._asdict() for finding in check_host(arguments.instance)]
    try:
        for name, state in connect(arguments).doctor().items():
            findings.append(_of_agent(name, state))
    except SetpointError as error:  # down, or not ours to ask: the host can be looked at all the same
        findings.append({"name": "agent", "state": "unknown", "found": error.reason, "advice": error.hint})
    if arguments.output:
        output.print_data(findings, arguments.output)
    else:
        rows = [
            (
                Cell(f["state"], COLOURS.get(f["state"], "")),
                f["name"],
                f["found"] + (f" → {f['advice']}" if f["advice"] else ""),
            )
            for f in findings
        ]
        print(output.table(("STATE", "WHAT", "FOUND"), rows, width=0))
    return 1 if any(f["state"] == "missing" for f in findings) else 0


def _of_agent(name: str, state: object) -> dict[str, str]:
    data = output.mapping(state)
    if not data:
        return {"name": name, "state": "ok", "found": str(state), "advice": ""}
    good = data.get("ok", data.get("state") in (None, "ok"))
    found = data.get("detail") or data.get("found") or data.get("message") or data.get("state") or ""
    text = found if isinstance(found, str) else str(found)
    if not text:
        text = ", ".join(f"{k} {v}" for k, v in data.items() if k != "ok")
    return {
        "name": name,
        "state": "ok" if good else "warn",
        "found": text,
        "advice": str(data.get("hint", "")),
    }
