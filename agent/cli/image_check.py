"""`setpoint image check`: what is damaged of the images here, one line each, and what was done about it."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from agent.cli import output
from agent.cli.image_progress import Progress
from agent.client import Client


def check(client: Client, names: Sequence[str], *, repair: bool) -> int:
    """0 when all is whole, or whole again; what is weak is told, and is the image's own."""
    watched, progress = sys.stderr.isatty(), Progress()
    left = found = checked = warnings = 0
    try:
        for line in client.check_images(names, repair=repair):
            if finding := output.mapping(line.get("finding")):
                progress.clear(watched)
                print(output.clean(sentence(finding)))
                if finding.get("is_warning"):
                    warnings += 1
                    continue
                found += 1
                left += finding.get("repair") != "done"
            elif "checked" in line:
                checked = int(line["checked"])
            elif watched:
                progress.show(line)
    finally:
        progress.clear(watched)
    told = f"{checked} images checked, {found} findings" + (f", {found - left} repaired" if repair else "")
    print(told + (f", {warnings} warnings" if warnings else ""))
    if left and not repair:
        print("hint: setpoint image check --repair unpacks or pulls them again", file=sys.stderr)
    return 1 if left else 0


def sentence(finding: Mapping[str, Any]) -> str:
    image = ", ".join(finding.get("names") or ()) or str(finding["image"])[:19]
    if finding.get("is_warning"):
        return f"warning: {image}: " + " ".join(filter(None, (finding["path"], finding["reason"])))
    subject = str(finding["subject"]).removeprefix("sha256:")[:12]
    what = f"layer {subject}: {finding['path']}" if finding["path"] else f"blob {subject}"
    done = {"": "", "done": " (repaired)"}.get(finding["repair"], f" (not repaired: {finding['repair']})")
    return f"{image}: {what} {finding['reason']}{done}"
