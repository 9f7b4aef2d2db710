"""What the pages say is so: commands exist, manifests validate, links lead somewhere, numbers are unique."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from agent.cli.main import GROUPS, VERBS, main
from agent.manifest.objects import Revision
from agent.manifest.reader import read
from agent.registries.read import read_registries

ROOT = Path(__file__).parents[3]
PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "ops/decisions/README.md")
README = (ROOT / "README.md").read_text()
COMMAND = re.compile(r"(?:\.venv/bin/)?\bsetpoint ((?:[a-z]+)(?: [^`\n#|]*)?)")


WITH_COMMANDS = ("image", "network", "policy", "system", "tls", "volume")


def help_of(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main([*words, "--help"]) == 0
    return capsys.readouterr().out


def test_the_overview_names_each_verb_once() -> None:
    assert sorted(verb for _, verbs in GROUPS for verb in verbs) == sorted(VERBS)


def commands() -> list[str]:
    """`setpoint VERB …` of the README, in code spans and in console blocks."""
    spans = re.findall(r"`([^`\n]+)`", README)
    blocks = re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    lines = [line.lstrip("#$ ") for block in blocks for line in block.splitlines()]
    return [found[1] for text in (*spans, *lines) if (found := COMMAND.match(text))]


def test_the_commands_of_the_readme_exist(capsys: pytest.CaptureFixture[str]) -> None:
    found = commands()
    assert len(found) > 8
    for command in found:
        verb, *words = re.split(r"\s+", command.strip())
        assert verb in VERBS, command
        below = [words[0]] if verb in WITH_COMMANDS and words else []
        for option in (word for word in words if word.startswith("--")):
            assert option in help_of(capsys, verb, *below), command


def test_the_manifests_of_the_readme_are_valid() -> None:
    registries, blocks = [], []
    for block in re.findall(r"```yaml\n(.*?)```", README, re.DOTALL):
        (registries if "kind: Registries" in block else blocks).append(block)
    assert read_registries(registries[0].encode(), "README.md").by_domain
    assert (len(registries), len(blocks)) == (1, 4)
    for number, block in enumerate(blocks):
        named = re.match(r"# (\S+\.yaml)\n", block)
        name = named[1] if named else f"shop/{number}.yaml"
        files = {name: block.encode(), "shop/.env": b"PASSWORD=x\n"}
        manifest = read(Revision(id="readme", source="readme", files=files))
        assert [str(error) for error in manifest.errors] == []
        wanted = "ci/socket/runner" if "kind: Socket" in block else "shop/container/web"
        assert wanted in {str(key) for key in manifest.objects}


def test_the_quickstart_is_valid_without_a_warning() -> None:
    path = ROOT / "manifests/quickstart/hello/compose.yaml"
    manifest = read(Revision(id="q", source="q", files={"hello/compose.yaml": path.read_bytes()}))
    assert (manifest.errors, manifest.warnings) == ((), ())


@pytest.mark.parametrize("page", PAGES)
def test_links_and_scripts_lead_somewhere(page: str) -> None:
    path = ROOT / page
    text = path.read_text()
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (path.parent / link).exists(), link
    for script in re.findall(r"`(ops/[a-z-]+)[` ]", text):
        assert (ROOT / script).exists(), script


def test_decisions_are_numbered_once_and_listed() -> None:
    folder = ROOT / "ops/decisions"
    index = (folder / "README.md").read_text()
    pages = sorted(folder.glob("0*.md"))
    for number, page in enumerate(pages, 1):
        title = re.match(r"# (\d+)\. (.+)\n", page.read_text())
        assert title, page.name
        assert (int(title[1]), page.name[:4]) == (number, f"{number:04}")
        assert f"| {number} | [{title[2]}]({page.name}) |" in index


def test_each_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    page = (ROOT / "ops/decisions/0002-dependencies.md").read_text()
    table = page.partition("Left out")[0].lower()
    names = [re.split(r"[<>=~! ;\[]", each)[0].lower() for each in project["dependencies"]]
    assert [name for name in names if name not in table] == []
    pins = (ROOT / "constraints.txt").read_text().lower()
    assert all(f"\n{name}==" in f"\n{pins}" for name in names)
