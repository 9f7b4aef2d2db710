"""A9, CVE-2016-9962: a process that joins a container is looked into by one that is there."""

from __future__ import annotations

from tests.kernel.runtime.conftest import Box


def test_a9_nobody_inside_can_look_into_a_joining_process(box: Box) -> None:
    """The child is non-dumpable from its first instruction: its files belong to nobody inside."""
    launched = box.start(
        "sh",
        "-c",
        "while :; do for p in /proc/[0-9]*; do ls -l $p/exe $p/fd; done; done >/tmp/seen 2>/dev/null",
    )
    # A long way to the program: it has no more rights than those inside, and is this interpreter still.
    way = "PATH=" + ":".join(["/nowhere"] * 4000)
    for _ in range(10):
        assert box.exec(launched, "true", env=[f"{way}:/bin"]).status == 0
    seen = (box.place / "upper/tmp/seen").read_text()
    assert "busybox" in seen
    assert "python" not in seen and str(box.place) not in seen
