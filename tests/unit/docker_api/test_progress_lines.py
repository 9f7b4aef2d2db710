"""What is reported of pulls, pushes and loads, as Docker's lines."""

from __future__ import annotations

from typing import Any

import pytest

from agent.api.docker.progress_lines import (
    Lines,
    LoadLines,
    PullLines,
    PushLines,
    bar,
    pushed_lines,
    size,
)
from runtime.images.progress import EXISTS, LAYER, MOUNTED, NAMED, Progress

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64
a, b = "a" * 12, "b" * 12


def told(lines: Lines, *reports: Progress) -> list[tuple[Any, Any]]:
    found = [line for report in reports for line in lines.of(report)] + list(lines.end())
    return [(line["status"], line["id"]) for line in found]


def test_a_pull() -> None:
    assert told(
        PullLines(),
        Progress(LAYER, A, 0, 100),
        Progress(EXISTS, B, 0, 50),
        Progress("fetch", A, 50, 100),
        Progress("unpack", A, 10, 100),  # side by side: not shown
        Progress("fetch", A, 100, 100),
        Progress("unpack", A, 20, 100),
        Progress("sync", "", 0, 0),
    ) == [
        ("Pulling fs layer", a),
        ("Already exists", b),
        ("Downloading", a),
        ("Downloading", a),
        ("Download complete", a),
        ("Extracting", a),
        ("Pull complete", a),
    ]


def test_a_pull_whose_reports_were_left_out() -> None:
    assert told(PullLines(), Progress(LAYER, A, 0, 9), Progress("unpack", A, 9, 9)) == [
        ("Pulling fs layer", a),
        ("Download complete", a),
        ("Extracting", a),
        ("Pull complete", a),
    ]
    assert told(PullLines(), Progress(LAYER, A, 0, 9)) == [
        ("Pulling fs layer", a), ("Download complete", a), ("Pull complete", a),
    ]  # fmt: skip


def test_a_push() -> None:
    lines = PushLines({A: "one", B: "two"})
    assert [line["status"] for line in lines.begin()] == ["Preparing", "Preparing"]
    assert told(
        lines,
        Progress("send", "sha256:" + "c" * 64, 1, 1),  # the config
        Progress("send", A, 1, 2),
        Progress("send", B, 2, 2),
        Progress(EXISTS, B, 2, 2),
        Progress("send", B, 2, 2),
    ) == [("Pushing", "one"), ("Pushing", "two"), ("Layer already exists", "two"), ("Pushed", "one")]
    assert told(PushLines({A: "one"}), Progress(MOUNTED, A, 2, 2)) == [("Mounted", "one")]


def test_the_end_of_a_push() -> None:
    assert pushed_lines("1", A, 405) == (
        {"status": f"1: digest: {A} size: 405"},
        {"progressDetail": {}, "aux": {"Tag": "1", "Digest": A, "Size": 405}},
    )


def test_a_load() -> None:
    lines = LoadLines({"moved:1": B, "same:1": A}, quiet=False)
    reports = (
        Progress("copy", "blobs/sha256/" + "a" * 64, 1, 2),
        Progress("unpack", A, 1, 2),
        Progress(NAMED, "moved:1", 0, 0),
        Progress(NAMED, "same:1", 0, 0),
    )
    assert told(lines, *reports) == [("Loading layer", a), ("Loading layer", a)]
    assert [line["stream"] for line in lines.loaded(A, ("before:1", "moved:1", "same:1"))] == [
        f"The image moved:1 already exists, renaming the old one with ID {B} to empty string\n",
        "Loaded image: moved:1\n",
        "Loaded image: same:1\n",
    ]
    assert list(lines.loaded(B, ())) == [{"stream": f"Loaded image ID: {B}\n"}]
    assert told(LoadLines({}, quiet=True), *reports) == []


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0B"), (999, "999B"), (1000, "1kB"), (1536, "1.536kB"), (2025146, "2.025MB"), (10**18, "1000PB")],
)
def test_sizes(count: int, text: str) -> None:
    assert size(count) == text


def test_bars() -> None:
    assert bar(0, 0) == ""
    assert bar(1500, 0) == "   1.5kB"
    assert bar(0, 100) == "[>" + " " * 50 + "]       0B/100B"
    assert bar(50, 100) == "[" + "=" * 25 + ">" + " " * 25 + "]      50B/100B"
    assert bar(100, 100) == "[" + "=" * 50 + ">]     100B/100B"
    assert bar(200, 100) == "[" + "=" * 50 + ">]     200B"
