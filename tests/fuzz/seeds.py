"""What a fuzzer begins with: small inputs that reach far into each parser."""

from __future__ import annotations

import json

from tests.data.dockerfile.cases import CASES
from tests.unit.images import craft

_DIGEST = "sha256:" + "ab" * 32
_OCI = "application/vnd.oci.image."

DOCKERFILES = (
    *(case.encode() for case in CASES),
    b"""# syntax=docker/dockerfile:1
# escape=\\
ARG A=1 B=${A:-2}
FROM --platform=$BUILDPLATFORM x:$B AS a
ARG TARGETARCH A
ENV v="a b" w=${v#a} x=${v//a/b} y=$v\\ z
RUN --mount=type=cache,target=/c,id=$A,sharing=locked --mount=type=secret,id=k,env=K --network=none <<EOF
#!/bin/sh
echo $v
EOF
RUN --mount=type=bind,source=/x,target=/y,rw --mount=type=tmpfs,target=/t,size=1m --mount=type=ssh <<-A <<'B'
\ta
\tA
b
B
FROM a AS b
ONBUILD COPY --from=0 a b
COPY --from=a --chown=1:2 --chmod=u=rwX,go=rX --link --parents --exclude=*.o a/./b*/[c-d]? <<E /x/
$v
E
ADD --checksum=sha256:0000000000000000000000000000000000000000000000000000000000000000 https://h/x.tgz /y
ADD --keep-git-dir=true https://h/r.git#main:sub z/
WORKDIR $v
SHELL ["/bin/bash", "-c"]
HEALTHCHECK --interval=1m30s --retries=3 CMD curl \\
    # comment
    -f x
EXPOSE 80 8000-8010/udp
STOPSIGNAL SIGRTMIN+3
VOLUME ["/a", "/b"]
CMD ["a"]
ENTRYPOINT b
FROM b
""",
)
IGNORES = (
    b"# c\n*\n!src/**/*.py\n**/*.pyc\n/build/\n[a-c]?\\*x\0src/deep/x.py",
    b"**\n!a/b\n\0a/b/c",
    b"a**b\n**c\nd/**/e/**\0d/x/e/f",
)
REFERENCES = (
    b"busybox",
    b"localhost:5000/a/b-c__d.e:tag@" + _DIGEST.encode(),
    b"[::1]:80/x",
    b"UP/x",
    b"docker.io/library/x:1",
    b"a" * 64,
    b"index.docker.io/x",
    b"docker.io/r.io/x",
    b"a@sha256:00",
)


def _descriptor(kind: str) -> dict[str, object]:
    return {"mediaType": f"{_OCI}{kind}", "digest": _DIGEST, "size": 3}


def _document(first: bytes, value: dict[str, object]) -> bytes:
    return first + json.dumps(value).encode()


_MANIFEST: dict[str, object] = {
    "schemaVersion": 2,
    "mediaType": f"{_OCI}manifest.v1+json",
    "config": _descriptor("config.v1+json"),
    "layers": [_descriptor("layer.v1.tar+gzip"), _descriptor("layer.v1.tar")],
}
_PLATFORM = {"os": "linux", "architecture": "arm", "variant": "v7"}
_INDEX: dict[str, object] = {
    "schemaVersion": 2,
    "mediaType": f"{_OCI}index.v1+json",
    "manifests": [{**_descriptor("manifest.v1+json"), "platform": _PLATFORM}],
}
_CONFIG: dict[str, object] = {
    "created": "2024-01-02T03:04:05.123456789Z",
    "architecture": "amd64",
    "os": "linux",
    "rootfs": {"type": "layers", "diff_ids": [_DIGEST]},
    "config": {
        "Env": ["A=b"],
        "Cmd": ["x"],
        "Entrypoint": None,
        "WorkingDir": "/w",
        "User": "1",
        "Volumes": {"/v": {}},
        "ExposedPorts": {"80/tcp": {}, "1-2": {}},
        "Labels": {"a": "b"},
        "StopSignal": "TERM",
        "Healthcheck": {"Test": ["CMD-SHELL", "x"], "Interval": 1, "Retries": 2},
    },
}
MANIFESTS = (_document(b"m", _MANIFEST), _document(b"i", _INDEX), _document(b"c", _CONFIG))


def tars() -> tuple[bytes, ...]:
    plain = (craft.directory("d/"), craft.entry("d/f", b"x" * 600, mode=0o4755), craft.symlink("l", "d/f"))
    records = craft.pax({"path": "p", "size": "2", "mtime": "7.5", "uid": "8"})
    extended = (craft.long_name("n" * 120), records, craft.entry("f", b"ab"), craft.hardlink("h", "f"))
    return (craft.tar(*plain), craft.tar(*extended))
