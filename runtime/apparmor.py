"""AppArmor: the profile that containers of an instance run under, as text, and its way into the kernel.

    profile_text (pure) ─> apparmor_parser, the host's ─> kernel <─ find (securityfs)

Called by `confinement`, by `cleanup` to take the profile away, and by `doctor`. Knows no container: which
profile a container gets is `bundle`'s to say, and the child's to set at its exec. Blocks.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from runtime.errors import Temporary

ENABLED = Path("/sys/module/apparmor/parameters/enabled")
SECURITYFS = Path("/sys/kernel/security/apparmor")
# By its path: a PATH could lead into what somebody else may write.
PARSERS = (Path("/usr/sbin/apparmor_parser"), Path("/sbin/apparmor_parser"))
ABI = Path("/etc/apparmor.d/abi/3.0")
PARSER_SECONDS = 60.0
_RETRY_SECONDS = 10.0

# The rules of other engines' default profile, with its holes in /proc closed: a glob like [^s][^h][^m]**
# refuses only names that differ in each of the letters, so that "sysrq" passes.
_RULES = """\
  network,
  deny network alg,
  capability,
  file,
  umount,
  deny mount,

  deny /proc/* w,
  deny /proc/{[^0-9s]*,s[^y]*,sy[^s]*,sys?*}/** w,
  deny /proc/sys/{[^k],k[^e],ke[^r]}** w,
  deny /proc/sys/kernel/{[^s],s[^h],sh[^m]}** w,
  deny /proc/sysrq-trigger rwklx,
  deny /proc/kcore rwklx,

  deny /sys/{[^f]*,f[^s]*}/** wklx,
  deny /sys/fs/{[^c],c[^g],cg[^r]}** wklx,
  deny /sys/firmware/** rwklx,
  deny /sys/devices/virtual/powercap/** rwklx,
  deny /sys/kernel/security/** rwklx,
"""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A profile as the kernel has it. place: its directory, another one each time it is loaded anew.
    mode: "enforce", "complain", …; digest: of its compiled form, "" where the kernel tells none."""

    place: str
    mode: str
    digest: str

    def is_there(self) -> bool:
        """Whether this is still the one: a single stat, for the start of a container."""
        return os.path.exists(self.place)  # noqa: PTH110


def is_on() -> bool:
    """Whether this kernel confines with AppArmor, and this host (or container) can see its policy."""
    try:
        return ENABLED.read_bytes()[:1] == b"Y" and SECURITYFS.is_dir()
    except OSError:
        return False


def parser() -> Path | None:
    """The host's program that compiles and loads profiles."""
    return next((path for path in PARSERS if path.exists()), None)


def profile_text(name: str, daemon: str = "", abi: bool = True) -> str:
    """The profile for containers, in apparmor.d(5)'s language; it includes nothing of the host's.

    daemon: the profile that the supervisor runs under, "" for none: it signals containers. abi: pin the
    features to those of AppArmor 3.0; from the fifth on `network` grants no UNIX sockets.
    """
    peers = ["unconfined", *([daemon] if daemon and daemon != "unconfined" else ())]
    signals = "".join(f'  signal (receive) peer="{peer}",\n' for peer in peers)
    return (
        ("abi <abi/3.0>,\n\n" if abi else "")
        # Descriptors that came from outside have no path inside; files may be deleted and still open.
        + f"profile {name} flags=(attach_disconnected,mediate_deleted) {{\n{_RULES}\n{signals}"
        + f"  signal (send,receive) peer={name},\n"
        + f"  ptrace (trace,tracedby,read,readby) peer={name},\n}}\n"
    )


def own_profile() -> str:
    """The profile that this process runs under; "" when it is confined by none."""
    try:
        text = Path("/proc/self/attr/apparmor/current").read_text().strip()
    except OSError:
        return ""
    label = text.rpartition(" (")[0] or text
    return "" if label == "unconfined" or '"' in label else label


def text_for(name: str) -> str:
    """The profile as it is right on this host."""
    return profile_text(name, own_profile(), ABI.exists())


def load(name: str, program: Path) -> Loaded:
    """Compile the profile and put it into the kernel, in place of an older one. Temporary when that fails:
    nothing is to run without it."""
    # No cache: it would lie in a directory of the host's. Nothing of this process's environment.
    command = [str(program), "--replace", "--skip-cache", "--quiet"]
    try:
        done = subprocess.run(
            command, input=text_for(name).encode(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}, cwd="/", timeout=PARSER_SECONDS, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise failed(name, str(error)) from error
    if done.returncode:
        lines = done.stdout.decode(errors="replace").strip().splitlines()
        raise failed(name, lines[-1] if lines else f"{program.name} ended with {done.returncode}")
    found = find(name)
    if found is None or found.mode != "enforce":
        raise failed(name, f"the kernel has it {f'in mode {found.mode}' if found else 'not'} after all")
    return found


def failed(name: str, reason: str) -> Temporary:
    """The error of a start that is not to happen."""
    hint = "containers do not run without it: mend AppArmor, or say security_opt: apparmor=unconfined"
    return Temporary("load AppArmor profile", name, reason[:300], hint, _RETRY_SECONDS)


def find(name: str) -> Loaded | None:
    """The profile of that name in the kernel; None when there is none."""
    try:
        # Named NAME.NUMBER; nothing in a name of ours is written otherwise there.
        with os.scandir(SECURITYFS / "policy/profiles") as entries:
            place = next(each.path for each in entries if each.name.rpartition(".")[0] == name)
        return Loaded(place, Path(place, "mode").read_text().strip(), _digest(place))
    except (OSError, StopIteration):
        return None


def _digest(place: str) -> str:
    for kind in ("sha256", "sha1"):  # SHA-1 before Linux 6.8
        with contextlib.suppress(OSError):
            return Path(place, kind).read_text().strip()
    return ""


def unload(name: str) -> None:
    """Take a profile out of the kernel. Nothing when there is none; what runs under it runs on, without."""
    if is_on() and find(name) is not None:
        with contextlib.suppress(FileNotFoundError):
            (SECURITYFS / ".remove").write_text(name)
