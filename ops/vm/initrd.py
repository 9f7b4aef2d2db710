"""Write an initramfs that loads the few modules a root on a virtio disk needs, and starts its init.

Called by ops/vm/make-root with a root file system, a kernel version and the file to write. Takes the
static busybox and the modules from that root. Standard library only.
"""

from __future__ import annotations

import lzma
import sys
from collections.abc import Iterator
from pathlib import Path

WANTED = ("virtio_pci", "virtio_blk", "ext4")
INIT = """\
#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
while read -r module; do /bin/busybox insmod "$module"; done </modules
until /bin/busybox mount -t ext4 /dev/vda /root; do /bin/busybox sleep 0.1; done
exec /bin/busybox switch_root /root /sbin/init
"""
DIRECTORY, FILE = 0o040755, 0o100755


def main() -> None:
    root, version, target = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    modules = list(find_modules(root / "lib/modules" / version))
    files = {
        "init": INIT.encode(),
        "bin/busybox": (root / "bin/busybox").read_bytes(),
        "modules": "".join(f"/{path.name.removesuffix('.xz')}\n" for path in modules).encode(),
    }
    files |= {path.name.removesuffix(".xz"): unpack(path) for path in modules}
    entries = [(name, DIRECTORY, b"") for name in ("bin", "dev", "root")]
    entries += [(name, FILE, data) for name, data in files.items()]
    target.write_bytes(b"".join(map(entry, [*entries, ("TRAILER!!!", 0, b"")])))


def find_modules(folder: Path) -> Iterator[Path]:
    """The wanted modules and what they need, in an order in which they can be loaded."""
    needs: dict[str, list[str]] = {}
    for line in (folder / "modules.dep").read_text().splitlines():
        path, _, rest = line.partition(":")
        needs[path] = rest.split()
    seen: set[str] = set()
    for name in WANTED:
        # One that is not there is part of the kernel itself.
        for path in (path for path in needs if module_name(path) == name):
            for each in [*reversed(needs[path]), path]:
                if each not in seen:
                    seen.add(each)
                    yield folder / each


def module_name(path: str) -> str:
    return Path(path).name.split(".")[0].replace("-", "_")


def unpack(path: Path) -> bytes:
    data = path.read_bytes()
    return lzma.decompress(data) if path.suffix == ".xz" else data


def entry(item: tuple[str, int, bytes]) -> bytes:
    """One file in the "newc" form of cpio: a header of hexadecimal fields, both parts padded to 4."""
    name, mode, data = item
    fields = (0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
    return pad(head) + pad(data)


def pad(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)


if __name__ == "__main__":
    main()
