"""What a tar is written into: small pieces together, large files past us."""

from __future__ import annotations

import io
import os
import tarfile
import tempfile
from pathlib import Path

import pytest

from runtime.copies.outlet import SENT_BYTES, Outlet
from runtime.images.tarwriter import END, member, write_entry


@pytest.mark.parametrize("size", [1, SENT_BYTES - 1, SENT_BYTES, 3 * SENT_BYTES + 5])
@pytest.mark.parametrize("there", [0.0, 0.5, 1.0, 1.5])
def test_an_entry_is_as_long_as_its_header_says(tmp_path: Path, size: int, there: float) -> None:
    """Of a file that got shorter meanwhile the rest is zeros, of one that got longer it is left out."""
    content = os.urandom(int(size * there))
    (tmp_path / "file").write_bytes(content)
    with tempfile.TemporaryFile() as data:
        outlet = Outlet(data.fileno())
        file = os.open(tmp_path / "file", os.O_RDONLY)
        for name in ("one", "two"):
            os.lseek(file, 0, os.SEEK_SET)
            write_entry(outlet.write, member(name, size), file, outlet.send)
        os.close(file)
        outlet.write(END)
        outlet.flush()
        data.seek(0)
        with tarfile.open(fileobj=io.BytesIO(data.read())) as archive:
            for name in ("one", "two"):
                found = archive.extractfile(name)
                assert found is not None
                assert found.read() == content[:size].ljust(size, b"\0")


def test_what_cannot_be_sent_is_copied() -> None:
    """A device has no pages to give in some kernels; what send() leaves is read."""
    with tempfile.TemporaryFile() as data:
        outlet = Outlet(data.fileno())
        reading, writing = os.pipe()
        os.write(writing, b"x" * SENT_BYTES)
        os.close(writing)
        write_entry(outlet.write, member("pipe", SENT_BYTES), reading, outlet.send)
        os.close(reading)
        outlet.flush()
        data.seek(512)
        assert data.read(SENT_BYTES) == b"x" * SENT_BYTES
