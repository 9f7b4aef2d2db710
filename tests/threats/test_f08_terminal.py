"""F8, CVE-2021-25743: words of a container or manifest that steer the terminal they are shown on."""

from __future__ import annotations

import json
import unicodedata

import pytest
import yaml

from agent.cli import output

PAYLOADS = [
    "\x1b]0;title\x07", "\x9b31m", "\u202egnp.exe", "\u2066x\u2069", "\x90q\x9c", "a\x85b", "\u200bhidden",
    "\ufeffmark", "\u2028line", "\U000e0041tag", "\x7f\x08", "\r\nforged: line", "\ud800",
]  # fmt: skip


@pytest.mark.parametrize("form", ["json", "yaml"])
@pytest.mark.parametrize("payload", PAYLOADS)
def test_f8_data_for_programs_steers_no_terminal(
    capsys: pytest.CaptureFixture[str], form: str, payload: str
) -> None:
    value = {"name": payload, "plain": "Grüße"}
    output.print_data(value, form)
    shown = capsys.readouterr().out
    for letter in shown:
        assert letter == "\n" or unicodedata.category(letter) not in ("Cc", "Cf", "Cs") or letter == "\x7f"
    read = json.loads(shown) if form == "json" else yaml.safe_load(shown)
    assert read == value


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_f8_words_of_all_languages_stay_readable(capsys: pytest.CaptureFixture[str], form: str) -> None:
    output.print_data({"name": "Grüße 漢字"}, form)
    assert "Grüße 漢字" in capsys.readouterr().out
