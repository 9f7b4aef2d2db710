"""A1, CVE-2019-5736: the container gets hold of the program that starts it."""

from __future__ import annotations

from tests.kernel.runtime.conftest import Box


def test_a1_the_interpreter_is_not_to_be_had(box: Box) -> None:
    """CVE-2019-5736: an entrypoint that is, or names, the program that starts it."""
    script = box.layer / "start"
    script.write_text("#!/proc/self/exe\n")
    script.chmod(0o755)
    (box.layer / "exe").symlink_to("/proc/self/exe")
    for argv in ("/start", "/exe", "/proc/self/exe"):
        found = box.run(argv)
        assert found.status == 126 and "symbolic links" in found.error, found
