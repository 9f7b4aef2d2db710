"""A Dockerfile of a hundred expansions through the docker that is here: it says what was recorded of it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.images.dockerfile.config_document import to_document
from tests.data.dockerfile.cases import EXPANSIONS
from tests.data.dockerfile.record import answer
from tests.engines import HAS_DOCKER, Engine, dockerd
from tests.unit.images.dockerfile.build import plan_of

pytestmark = [pytest.mark.root, pytest.mark.skipif(not HAS_DOCKER, reason="needs dockerd and docker")]
STAGES = """FROM scratch AS a
ARG one=1
ENV two=2$one
ONBUILD ENV three=3
ONBUILD LABEL l=$two
WORKDIR /w
COPY a /x/
FROM a AS b
ENV four=$one$two$three
WORKDIR v
USER ${two:+u}
COPY <<E .
$four
E
FROM scratch
ARG one
COPY --from=b --chown=1:2 /x/a /y/
COPY --from=0 /x /z
ENV five=${one:-none} six=$two
CMD ["c"]
FROM b
ENTRYPOINT ["e"]
"""


@pytest.fixture(scope="module")
def docker() -> Iterator[Engine]:
    with tempfile.TemporaryDirectory(prefix="t", dir="/tmp") as folder, dockerd(Path(folder)) as engine:
        yield engine


@pytest.mark.parametrize("text", ["\n".join(EXPANSIONS) + "\n", STAGES], ids=["expansions", "stages"])
def test_docker_here_says_the_same(docker: Engine, tmp_path: Path, text: str) -> None:
    theirs = answer(docker, tmp_path / "context", text)
    assert "error" not in theirs, theirs
    config = to_document(plan_of(text).stages[-1].config)
    assert {key: value for key, value in config.items() if value not in ([], {}, "")} == theirs["config"]
