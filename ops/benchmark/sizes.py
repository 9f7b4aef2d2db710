"""How much of everything is measured. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sizes:
    """containers: on one network. listed: in a list of containers. objects: without a process, at Setpoint
    alone. log_bytes, copy_bytes: of one log, of one file. images: in a list of them. layer_bytes: of an image
    that is pushed and loaded. pull_files, pull_bytes: unpacked, of one that is
    pulled. idle_seconds: that nothing happens in, with all objects."""

    containers: int = 100
    listed: int = 1_000
    objects: tuple[int, ...] = (1_000, 10_000)
    log_bytes: int = 300_000_000
    copy_bytes: int = 500_000_000
    images: int = 1_000
    layer_bytes: int = 100_000_000
    pull_files: int = 25_000
    pull_bytes: int = 495_000_000
    idle_seconds: float = 40.0

    def words(self) -> dict[str, object]:
        """For the rows' titles."""
        return {
            "containers": f"{self.containers:,}",
            "listed": f"{self.listed:,}",
            "log_mb": f"{self.log_bytes / 1e6:.0f}",
            "copy_mb": f"{self.copy_bytes / 1e6:.0f}",
            "images": f"{self.images:,}",
            "pull_files": f"{self.pull_files:,}",
            "pull_mb": f"{self.pull_bytes / 1e6:.0f}",
            "layer_mb": f"{self.layer_bytes / 1e6:.0f}",
        }


WHOLE = Sizes()
QUICK = Sizes(
    containers=10,
    listed=50,
    objects=(100,),
    log_bytes=10_000_000,
    copy_bytes=20_000_000,
    images=30,
    layer_bytes=5_000_000,
    pull_files=500,
    pull_bytes=10_000_000,
    idle_seconds=5.0,
)
"""To see that all of it works: what it prints says nothing about an engine."""
