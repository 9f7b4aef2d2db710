"""A Reader that remembers says the same as one that does not, whatever changed."""

from __future__ import annotations

import random

from agent.manifest.objects import Revision
from agent.manifest.reader import Reader, read

SERVICE = "services:\n  {name}:\n    image: '{image}'\n    ports: ['{port}:80']\n    env_file: [{env}]\n"
NAMES = (".env", "compose.yaml", "docker-compose.yml", "compose.override.yaml", "x.env", "y.env")


def _content(chance: random.Random, name: str) -> bytes:
    if name.endswith("env"):
        return f"TAG={chance.randint(1, 3)}\n".encode()
    if chance.random() < 0.15:
        return b"services: [\n"
    service = chance.choice("ab")
    port, env = chance.randint(8000, 8004), chance.choice(("x.env", "y.env"))
    return SERVICE.format(name=service, image="i:${TAG:-0}", port=port, env=env).encode()


def test_memory_changes_nothing() -> None:
    for seed in range(20):
        chance = random.Random(seed)
        reader = Reader()
        files: dict[str, bytes] = {}
        for step in range(40):
            for _ in range(chance.randint(0, 2)):
                path = f"p{chance.randint(0, 3)}/{chance.choice(NAMES)}"
                if chance.random() < 0.15:
                    files.pop(path, None)
                else:
                    files[path] = _content(chance, path.rpartition("/")[2])
            revision = Revision(str(step), "test", dict(files), base="/srv")
            assert reader.read(revision) == read(revision), (seed, step)
