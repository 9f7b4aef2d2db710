"""Applies the mutations one by one in a scratch copy of the checkout. Called by ops/mutate."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

from tests.threats.mutations import MUTATIONS, Mutation

REPOSITORY = Path(__file__).resolve().parents[2]
SECONDS = 300


def main(rows: list[str]) -> int:
    """Exit code 0 when every mutation was noticed."""
    chosen = [mutation for mutation in MUTATIONS if not rows or mutation.row in rows]
    with tempfile.TemporaryDirectory(prefix="mutate-") as place:
        copy = Path(place) / "checkout"
        _copy_checkout(copy)
        whole: dict[str, bool] = {}
        results = [_try(copy, mutation, whole) for mutation in chosen]
    kept = sum(result == "noticed" for result in results)
    print(f"{kept} of {len(chosen)} noticed")
    return 0 if kept == len(chosen) else 1


def _copy_checkout(copy: Path) -> None:
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True).stdout
    for name in filter(None, listed.decode().split("\0")):
        source, target = REPOSITORY / name, copy / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    _make_venv(copy)


def _make_venv(copy: Path) -> None:
    """Its own interpreter and launcher: those of the checkout would run the checkout's code, whole."""
    venv = copy / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", "--symlinks", venv], check=True)
    (site,) = (venv / "lib").glob("python3*/site-packages")
    # A directory that is named in a .pth file has its own ones not read: they would lead to the checkout.
    (site / "setpoint.pth").write_text(f"{copy}\n{sysconfig.get_path('purelib')}\n")
    launcher = venv / "bin/setpoint"
    launcher.write_text(
        f"#!{venv}/bin/python -I\nimport sys\nfrom agent.cli.main import main\nsys.exit(main())\n"
    )
    launcher.chmod(0o755)


def _try(copy: Path, mutation: Mutation, passes: dict[str, bool]) -> str:
    """passes: whether a test does so without a mutation; asked once of each, when it has failed with one."""
    path = copy / mutation.file
    whole = path.read_text()
    begun = time.monotonic()
    if whole.count(mutation.old) != 1:
        result = f"fits {whole.count(mutation.old)} times"
    else:
        path.write_text(whole.replace(mutation.old, mutation.new))
        result = _run(copy, mutation.test)
        path.write_text(whole)
        if result == "noticed":
            if mutation.test not in passes:
                passes[mutation.test] = _run(copy, mutation.test) == "SURVIVED"
            result = "noticed" if passes[mutation.test] else "fails by itself"
    shown = mutation.old.strip().split("\n")[0][:50]
    seconds = time.monotonic() - begun
    print(f"{mutation.row:4} {result:16} {seconds:5.1f} s  {mutation.file}: {shown}", flush=True)
    return result


def _run(copy: Path, test: str) -> str:
    """ "noticed" when a test fails; an error before any test ran is none of that."""
    command = [copy / ".venv/bin/python", "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", test]
    environment = {"SETPOINT_HANG_SECONDS": "60", **os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        found = subprocess.run(
            command, cwd=copy, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return "noticed"  # a defence against hanging
    if found.returncode == 1:  # a test failed, or a fixture that looks at the canary
        return "noticed"
    return "SURVIVED" if found.returncode == 0 else f"error {found.returncode}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
