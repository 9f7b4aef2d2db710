"""A18, CVE-2019-14271, CVE-2022-1227: programs and libraries of the image that the host would run."""

from __future__ import annotations

import encodings
import os
from pathlib import Path

from tests.kernel.runtime.conftest import Box

PROGRAMS = (
    "tar", "gzip", "gunzip", "xz", "zstd", "unpigz", "pigz", "python3", "python", "git", "ip", "nft",
    "iptables", "mount", "umount", "newuidmap", "getent", "ldconfig", "busctl", "nsenter",
)  # fmt: skip
LIBRARIES = ("libnss_files.so.2", "libnss_dns.so.2", "libnss_compat.so.2", "libc.so.6", "libgcc_s.so.1")
POISON = "open('/marker', 'w').write('python')\n"


def test_a18_nothing_of_the_image_runs_but_what_was_asked_for(box: Box) -> None:
    for directory in ("usr/bin", "usr/sbin", "sbin", "usr/local/bin", "srv"):
        (box.layer / directory).mkdir(parents=True)
        for name in PROGRAMS:
            program = box.layer / directory / name
            program.write_text(f'#!/bin/sh\ntouch /marker\nexec /bin/busybox {name} "$@"\n')
            program.chmod(0o755)
    for directory in ("lib", "lib64", "usr/lib", "lib/x86_64-linux-gnu", "srv"):
        (box.layer / directory).mkdir(parents=True, exist_ok=True)
        for name in LIBRARIES:
            (box.layer / directory / name).write_bytes(b"\x7fELF poison")
    # What the interpreter would import if it looked for a module once it is inside.
    for place in (Path(encodings.__file__).parents[1], Path(__file__).parents[2], Path("/"), Path("/srv")):
        for module in (
            "encodings/idna.py",
            "locale.py",
            "pwd.py",
            "traceback.py",
            "runtime/users.py",
            "_locale.py",
        ):
            path = box.layer / str(place).lstrip("/") / module
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(POISON)
    (box.layer / "etc").mkdir(exist_ok=True)
    (box.layer / "etc/ld.so.preload").write_text("/srv/libc.so.6\n")
    (box.layer / "etc/nsswitch.conf").write_text("passwd: dns files\ngroup: dns\n")
    box.config["process"]["user"]["username"] = "web:video"
    box.config["process"]["cwd"] = "/srv"
    box.config["process"]["env"] = [
        "PATH=/srv:/usr/local/bin:/usr/bin:/bin",
        "PYTHONPATH=/srv",
        "LD_LIBRARY_PATH=/srv",
    ]
    launched = box.start("/bin/sleep", "1000")
    assert box.exec(launched, "/bin/id", "-u").output.strip() == "1000"
    assert box.exec(launched, "none-such").status == 127
    assert box.exec(launched, "/bin/true", user={"username": "nobody-there"}).status == 125
    assert not os.path.lexists(box.place / "upper/marker")
