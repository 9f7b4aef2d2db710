"""B9: a read-only layer is changed for all containers of its image, on the disk or in the page cache."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.images.worker import IsolatedImages
from runtime.layout import Layout
from tests.unit.images import craft


@pytest.mark.parametrize("is_repaired", [False, True])
def test_b9_a_changed_byte_of_a_layer_is_found(instance: Layout, tmp_path: Path, is_repaired: bool) -> None:
    images = IsolatedImages(Layout(instance.instance, tmp_path / "data", tmp_path / "run"))
    layer = craft.tar(craft.directory("bin"), craft.entry("bin/su", b"a" * 100_000, mode=0o4755))
    (info,) = images.load(craft.write_tar(tmp_path / "image.tar", craft.image(layer)))
    program = images.layer_directories(info.id)[0] / "bin/su"
    with program.open("r+b") as file:
        file.seek(50_000)
        file.write(b"b")
    (found,) = images.check((), repair=is_repaired, busy=())
    assert (found.image, found.path, found.reason) == (info.id, "bin/su", "has another content")
    assert program.read_bytes() == (b"a" * 100_000 if is_repaired else b"a" * 50_000 + b"b" + b"a" * 49_999)
