"""A registry of the distribution's package on loopback, and images in it. For tests that pull and push.

with started(folder) as registry:               plain HTTP, nobody is asked who they are
with started(folder, tls=True, login=("me", "secret")) as registry:
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import socket
import ssl
import subprocess
import tarfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

PROGRAM = shutil.which("docker-registry")
PATIENCE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Registry:
    """host: with its port. ca: of its certificate, None for plain HTTP. pid: of its process."""

    host: str
    folder: Path
    pid: int
    ca: Path | None = None
    login: tuple[str, str] | None = None

    def settings(self) -> str:
        """A registries.yaml that trusts it."""
        said = f"ca: {self.ca}" if self.ca else "insecure: true"
        head = "apiVersion: setpoint/v1\nkind: Registries\nregistries:\n"
        return f'{head}  "{self.host}": {{{said}}}\n'

    def put(self, archive: str, name: str) -> None:
        """Push with skopeo. archive: "oci-archive:PATH", "oci:PATH", … name: "repository:tag"."""
        login = ["--dest-creds", ":".join(self.login)] if self.login else []
        subprocess.run(
            ["skopeo", "copy", "-q", "--all", "--dest-tls-verify=false", *login, archive, f"docker://{self.host}/{name}"],
            check=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip


@contextlib.contextmanager
def started(
    folder: Path,
    *,
    tls: bool = False,
    login: tuple[str, str] | None = None,
    auth: dict[str, object] | None = None,
) -> Iterator[Registry]:
    """A registry that answers, ended with the block. auth: of its configuration, in place of a login."""
    assert PROGRAM, "apt-get install docker-registry"
    folder.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    ca = make_certificate(folder) if tls else None
    config = folder / "config.yml"
    config.write_text(json.dumps({**_config(folder, port, ca, login), **({"auth": auth} if auth else {})}))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [PROGRAM, "serve", config], stdout=log, stderr=log, stdin=subprocess.DEVNULL
        )
    try:
        _wait(port, ca, process)
        yield Registry(f"127.0.0.1:{port}", folder, process.pid, ca, login)
    finally:
        process.terminate()
        process.wait()


def _config(folder: Path, port: int, ca: Path | None, login: tuple[str, str] | None) -> dict[str, object]:
    http: dict[str, object] = {"addr": f"127.0.0.1:{port}"}
    if ca is not None:
        http["tls"] = {"certificate": str(ca), "key": str(ca.with_name("key.pem"))}
    config: dict[str, object] = {
        "version": "0.1",
        "log": {"level": "warn"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}, "delete": {"enabled": True}},
        "http": http,
    }
    if login is not None:
        passwords = folder / "htpasswd"
        passwords.write_text(f"{login[0]}:{_bcrypt(login[1])}\n")
        config["auth"] = {"htpasswd": {"realm": "test", "path": str(passwords)}}
    return config


def _bcrypt(password: str) -> str:
    """The registry knows no other kind; the C library's crypt(3) does it."""
    salt = "$2b$05$abcdefghijklmnopqrstuu"
    done = subprocess.run(
        ["perl", "-e", "print crypt($ARGV[0], $ARGV[1])", password, salt],
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.startswith("$2b$")
    return done.stdout


def make_certificate(folder: Path) -> Path:
    """Signed by itself, for 127.0.0.1; its key beside it."""
    path = folder / "ca.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", folder / "key.pem", "-out", path],
        check=True, capture_output=True,
    )  # fmt: skip
    return path


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _wait(port: int, ca: Path | None, process: subprocess.Popen[bytes]) -> None:
    context = ssl.create_default_context(cafile=str(ca)) if ca else None
    url = f"{'https' if ca else 'http'}://127.0.0.1:{port}/"
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            urllib.request.urlopen(url, timeout=5, context=context).close()
            return
        except OSError:
            assert process.poll() is None, "the registry ended"
            assert time.monotonic() < deadline, "the registry does not answer"
            time.sleep(0.02)


def make_image(folder: Path, layers: Sequence[dict[str, bytes]], *, architecture: str = "amd64") -> Path:
    """An OCI layout of layers, each path -> content, lowest first."""
    from runtime.images.content import digest_of

    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def put(data: bytes, kind: str) -> dict[str, object]:
        digest = digest_of(data)
        (blobs / digest[7:]).write_bytes(data)
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": digest, "size": len(data)}

    plain = [_tar(files) for files in layers]
    config = {
        "architecture": architecture, "os": "linux", "config": {"Cmd": ["/bin/sh"]},
        "rootfs": {"type": "layers", "diff_ids": [digest_of(data) for data in plain]},
    }  # fmt: skip
    manifest = {
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": put(json.dumps(config).encode(), "config.v1+json"),
        "layers": [put(data, "layer.v1.tar") for data in plain],
    }  # fmt: skip
    entry = put(json.dumps(manifest).encode(), "manifest.v1+json")
    entry["platform"] = {"os": "linux", "architecture": architecture}
    index = {"schemaVersion": 2, "manifests": [entry]}
    (folder / "index.json").write_text(json.dumps(index))
    (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    return folder


def _tar(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()
