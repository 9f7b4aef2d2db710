"""`ops/soak`: parses its words, makes an instance of its own, soaks it, and prints a table."""

from __future__ import annotations

import argparse
import secrets
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from runtime.layout import Layout
from tests import leaks
from tests.e2e.story import ROOT, free_port
from tests.soak.instance import Instance
from tests.soak.soak import Outcome, Plan, Soak

QUICK = Plan(kills=60, checkpoint_kills=30)


def main(words: list[str]) -> int:
    plan = parse(words)
    for number in (signal.SIGINT, signal.SIGTERM):  # also when a shell in the background ignores the first
        signal.signal(number, signal.default_int_handler)
    layout = Layout(f"t{secrets.token_hex(4)}")
    print(f"seed {plan.seed}, instance {layout.instance}", flush=True)
    begun = time.monotonic()
    leaks.clean_abandoned()
    claimed = leaks.claim(layout)
    try:
        with tempfile.TemporaryDirectory(prefix="soak-") as place:
            outcome = soak(layout, Path(place), plan)
    finally:
        leaks.clean(layout)
        leaks.release(layout, claimed)
    print(report(outcome, plan, time.monotonic() - begun))
    return 1 if outcome.off else 0


def soak(layout: Layout, place: Path, plan: Plan) -> Outcome:
    """One run. Nothing of the instance is left behind by its own `down`, which is part of what is tried."""
    archive = place / "busybox.tar"
    subprocess.run([sys.executable, ROOT / "ops/busybox-image", archive], check=True, capture_output=True)
    instance = Instance(layout, place)
    try:
        instance.start_agent()
        instance.wait_for_agent()
        instance.story.setpoint("image", "load", archive)
        outcome = Soak(instance, plan, [free_port() for _ in range(8)], say).run()
    finally:
        instance.end()
    instance.story.setpoint("down", "--yes", "--data")
    outcome.off += [f"after down: {line}" for line in leaks.find_leaks(layout)]
    return outcome


def say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {line}", flush=True)


def parse(words: list[str]) -> Plan:
    parser = argparse.ArgumentParser(prog="ops/soak")
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--checkpoint", type=int, default=0)
    parser.add_argument("--hours", type=float, default=0.0)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 31))
    found = parser.parse_args(words)
    if found.quick:
        return Plan(QUICK.kills, QUICK.checkpoint_kills, 0.0, found.seed)
    return Plan(found.kills, found.checkpoint or 100, found.hours * 3600, found.seed)


def report(outcome: Outcome, plan: Plan, seconds: float) -> str:
    lines = [
        "",
        f"{outcome.agent_kills} kills of the agent, {outcome.supervisor_kills} of the supervisor, "
        f"{outcome.commits} commits, {outcome.checkpoints} checkpoints, {seconds:.0f} s, seed {plan.seed}",
    ]
    if outcome.settle_seconds:
        middle, most = statistics.median(outcome.settle_seconds), max(outcome.settle_seconds)
        lines.append(f"settled after {middle:.1f} s (median), {most:.1f} s (most)")
    lines += ["", f"{'GAUGE':20}{'BASE LINE':>12}{'NOW':>12}{'AT MOST':>16}"]
    for each in outcome.gauges:
        most_shown = str(each.most) if each.most < 1 << 30 else "bounded"
        mark = "" if each.is_well else "  OFF"
        lines.append(f"{each.name:20}{each.before:>12}{each.now:>12}{most_shown:>16}{mark}")
    lines += ["", *(f"OFF  {text}" for text in outcome.off)] if outcome.off else ["", "nothing is off"]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
