"""What is committed runs; what is changed is replaced; what is removed goes; broken, nothing changes."""

from __future__ import annotations

import json
from pathlib import Path

from tests.e2e.story import Story, eventually, is_alive

WEB = """\
services:
  web:
    image: busybox:latest
    command: [sleep, "{seconds}"]
    stop_signal: SIGKILL
    volumes: [data:/data]
  other:
    image: busybox:latest
    command: [sleep, "7777"]
    stop_signal: SIGKILL
volumes:
  data:
"""
KEYS = ["shop/container/other", "shop/container/web", "shop/network/default", "shop/volume/data"]


def test_a_commit_becomes_running_containers(story: Story) -> None:
    revision = story.apply({"shop/compose.yaml": WEB.format(seconds=1001)}, "Open the shop")
    status = story.status()
    assert (status["ready"], status["agent"], status["revision"]) == (True, "running", revision)
    assert [o["key"] for o in status["objects"]] == KEYS
    assert all(o["ready"] and o["restarts"] == 0 for o in status["objects"])
    command = Path(f"/proc/{story.pid('shop/container/web')}/cmdline").read_bytes()
    assert command == b"sleep\x001001\x00"
    assert Path(f"/proc/{story.pid('shop/container/web')}/root/data").is_dir()


def test_what_is_only_saved_does_not_run(story: Story) -> None:
    story.apply({"shop/compose.yaml": WEB.format(seconds=1001)})
    pid = story.pid("shop/container/web")
    (story.tree / "shop/compose.yaml").write_text("services: {web: {image: ")
    story.setpoint("sync")
    assert story.status()["ready"]
    assert story.pid("shop/container/web") == pid


def test_a_change_replaces_what_it_names_and_nothing_else(story: Story) -> None:
    story.apply({"shop/compose.yaml": WEB.format(seconds=1001)})
    web, other = story.pid("shop/container/web"), story.pid("shop/container/other")
    text = WEB.format(seconds=1002)
    (story.tree / "shop/compose.yaml").write_text(text)
    plan = json.loads(story.setpoint("plan", story.tree, "-o", "json", code=2))["actions"]
    assert {action["key"] for action in plan} == {"shop/container/web"}
    assert all(
        action["file"] == "shop/compose.yaml" and action["line"] > 0 and action["cause"] for action in plan
    )
    revision = story.apply({"shop/compose.yaml": text}, "Sleep longer")
    assert not is_alive(web)
    assert story.pid("shop/container/web") != web
    assert story.pid("shop/container/other") == other
    why = story.setpoint("why", "shop/web")
    assert "Sleep longer" in why
    assert revision[:7] in why
    assert "shop/compose.yaml:2" in why or "shop/compose.yaml:3" in why


def test_what_is_removed_goes_and_its_volume_stays(story: Story) -> None:
    story.apply({"shop/compose.yaml": WEB.format(seconds=1001), "lab/compose.yaml": WEB.format(seconds=1003)})
    web = story.pid("lab/container/web")
    (Path(f"/proc/{web}/root/data") / "precious").write_text("42")
    story.commit({"lab/compose.yaml": None}, "Close the lab")
    story.setpoint("sync", "--wait")
    gone = lambda: not [o for o in story.status()["objects"] if o["key"].startswith("lab/container")]  # noqa: E731
    eventually(gone, "the lab's containers are gone")
    assert not is_alive(web)
    assert is_alive(story.pid("shop/container/web"))
    volumes = json.loads(story.setpoint("volume", "ls", "-o", "json"))
    assert "lab_data" in {volume["name"] for volume in volumes}
    story.apply({"lab/compose.yaml": WEB.format(seconds=1003)}, "Open the lab again")
    assert (Path(f"/proc/{story.pid('lab/container/web')}/root/data") / "precious").read_text() == "42"


def test_a_broken_commit_freezes_and_says_where(story: Story) -> None:
    story.apply({"shop/compose.yaml": WEB.format(seconds=1001), "lab/compose.yaml": WEB.format(seconds=1003)})
    pids = {key: story.pid(key) for key in KEYS[:2]}
    lab = story.pid("lab/container/web")
    story.commit(
        {
            "shop/compose.yaml": "services:\n  web:\n    image: busybox:latest\n    imag: x\n",
            "lab/compose.yaml": WEB.format(seconds=1004),
        },
        "Break the shop, change the lab",
    )
    story.setpoint("sync", code=1)
    assert "shop/compose.yaml:4:5" in story.said
    assert "shop/compose.yaml:4:5" in story.setpoint("status")
    eventually(lambda: not is_alive(lab), "the lab's change is applied all the same")
    assert {key: story.pid(key) for key in KEYS[:2]} == pids
    story.setpoint("wait", "--for", "ready", "--timeout", "0s", code=1)
    story.apply({"shop/compose.yaml": WEB.format(seconds=1001)}, "Mend the shop")
    assert {key: story.pid(key) for key in KEYS[:2]} == pids


def test_a_mass_removal_waits_for_a_yes(story: Story) -> None:
    services = "".join(
        f"  s{n}: {{image: 'busybox:latest', command: [sleep, '5000'], stop_signal: SIGKILL}}\n"
        for n in range(6)
    )
    story.apply({"shop/compose.yaml": f"services:\n{services}", "lab/compose.yaml": WEB.format(seconds=1001)})
    pids = [story.pid(f"shop/container/s{n}") for n in range(6)]
    story.commit({"shop/compose.yaml": None}, "Remove nearly all")
    story.setpoint("sync")
    assert "setpoint prune --yes" in story.setpoint("prune")
    assert all(map(is_alive, pids))
    story.setpoint("prune", "--yes")
    eventually(lambda: not any(map(is_alive, pids)), "the yes is followed")
    story.setpoint("wait", "--for", "ready", "--timeout", "30s")


def test_plan_has_three_exit_codes_and_does_nothing(story: Story) -> None:
    story.apply({"shop/compose.yaml": WEB.format(seconds=1001)})
    pid = story.pid("shop/container/web")
    assert story.setpoint("plan", story.tree, code=0) == "nothing to do\n"
    (story.tree / "shop/compose.yaml").write_text(WEB.format(seconds=1002))
    assert "shop/container/web" in story.setpoint("plan", story.tree, code=2)
    (story.tree / "shop/compose.yaml").write_text("services: [")
    story.setpoint("plan", story.tree, code=1)
    assert "shop/compose.yaml:" in story.said
    assert "not valid YAML" in story.said
    assert story.pid("shop/container/web") == pid
    assert story.setpoint("plan", code=0) == "nothing to do\n"
