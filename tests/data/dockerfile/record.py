"""Writes docker.json anew: what docker makes of each Dockerfile of cases.py. Takes minutes, and root.

.venv/bin/python -m tests.data.dockerfile.record
"""

from __future__ import annotations

import json
import secrets
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.data.dockerfile.cases import CASES, CONTEXT
from tests.engines import Engine, dockerd

HERE = Path(__file__).parent
KEYS = (
    "User", "ExposedPorts", "Env", "Entrypoint", "Cmd", "Healthcheck", "Volumes", "WorkingDir", "Labels",
    "StopSignal", "Shell", "OnBuild",
)  # fmt: skip


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="t", dir="/tmp") as name:
        folder = Path(name)
        with dockerd(folder / "d") as docker:
            version = docker("version", "--format", "{{.Server.Version}}").stdout.strip()
            answers = []
            for text in CASES:
                answers.append(answer(docker, folder / "context", text))
                print(len(answers), "of", len(CASES), flush=True, file=sys.stderr)
    found = {"docker": version, "answers": answers}
    (HERE / "docker.json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")


def answer(docker: Engine, context: Path, text: str) -> dict[str, Any]:
    """The config and the history, or the error's last line."""
    context.mkdir(exist_ok=True)
    for path, content in {**CONTEXT, "Dockerfile": text}.items():
        (context / path).parent.mkdir(exist_ok=True)
        (context / path).write_text(content)
    tag = "t" + secrets.token_hex(4)
    done = docker("build", "-t", tag, str(context), check=False)
    if done.returncode:
        return {"dockerfile": text, "error": done.stderr.strip().splitlines()[-1]}
    config = json.loads(docker("image", "inspect", tag, "--format", "{{json .Config}}").stdout)
    history = docker("history", "--no-trunc", "--format", "{{json .CreatedBy}}", tag).stdout.splitlines()
    return {
        "dockerfile": text,
        "config": {key: config[key] for key in KEYS if config.get(key) not in (None, "", {}, [])},
        "history": [json.loads(line) for line in reversed(history)],
    }


if __name__ == "__main__":
    main()
