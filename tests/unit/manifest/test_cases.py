"""Manifests in, what is read of them out: the files in cases/, which double as documentation.

    === what the case shows
    --- shop/compose.yaml            a file of the revision; any number of them
    --- options                      optional: JSON for environment, profiles, base, home
    --- objects | errors | warnings | frozen      what must come out; absent means none

Set UPDATE_CASES=1 to write what comes out into the files, and look at the difference before a commit.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from agent.manifest.objects import Manifest, Revision
from agent.manifest.reader import Reader

CASES = Path(__file__).parent / "cases"
OUTPUTS = ("objects", "errors", "warnings", "frozen")


@dataclass
class Case:
    title: str
    sections: dict[str, str] = field(default_factory=dict)

    @property
    def files(self) -> dict[str, bytes]:
        return {
            name: text.encode() for name, text in self.sections.items() if name not in (*OUTPUTS, "options")
        }


def load(path: Path) -> list[Case]:
    cases: list[Case] = []
    section = ""
    for line in path.read_text().splitlines(keepends=True):
        if line.startswith("=== "):
            cases.append(Case(line[4:].strip()))
        elif line.startswith("--- ") and line[4:5].strip() and not line.startswith("--- #"):
            section = line[4:].strip()
            cases[-1].sections[section] = ""
        else:
            cases[-1].sections[section] += line
    return cases


def save(path: Path, cases: list[Case]) -> None:
    parts = []
    for case in cases:
        parts.append(f"=== {case.title}\n")
        for name, text in case.sections.items():
            parts.append(f"--- {name}\n{text.rstrip()}\n")
        parts.append("\n")
    path.write_text("".join(parts).rstrip() + "\n")


def read(case: Case) -> Manifest:
    options = json.loads(case.sections.get("options", "{}"))
    reader = Reader(
        environment=options.get("environment"),
        profiles=frozenset(options.get("profiles", ())),
        home=options.get("home", "/root"),
    )
    return reader.read(Revision("r1", "test", case.files, base=options.get("base", "/srv/manifests")))


def shown(manifest: Manifest) -> dict[str, str]:
    """What came out, as the sections of a case."""
    objects = []
    for key, found in sorted(manifest.objects.items()):
        values = found.spec.model_dump(mode="json", exclude_unset=True)
        objects.append(f"{key} {json.dumps(values, ensure_ascii=False)}")
    result = {
        "objects": objects,
        "errors": [str(error) for error in manifest.errors],
        "warnings": [str(warning) for warning in manifest.warnings],
        "frozen": sorted(manifest.frozen_files),
    }
    return {name: "\n".join(lines) + "\n" for name, lines in result.items() if lines}


FILES = sorted(CASES.glob("*.txt"))
ALL = [
    pytest.param(path, index, id=f"{path.stem}: {case.title}")
    for path in FILES
    for index, case in enumerate(load(path))
]


@pytest.mark.parametrize(("path", "index"), ALL)
def test_case(path: Path, index: int) -> None:
    cases = load(path)
    case = cases[index]
    found = shown(read(case))
    if os.environ.get("UPDATE_CASES"):
        case.sections = {name: text for name, text in case.sections.items() if name not in OUTPUTS} | found
        save(path, cases)
        return
    for name in OUTPUTS:
        assert found.get(name, "").rstrip() == case.sections.get(name, "").rstrip(), name
