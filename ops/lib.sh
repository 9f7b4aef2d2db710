# Shared by ops/up, ops/down, ops/test, ops/check and ops/bench: sourced, never run.
# Finds a Python, makes the virtual environment, installs system packages by name. Everything here may
# run again at any time and does nothing the second time.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
VENV=$ROOT/.venv
VM_PACKAGES=(e2fsprogs git mmdebstrap qemu-system-x86) # of ops/vm-test, installed before anything runs beside it

say() { printf '%s\n' "$*"; }
step() { printf '==> %s\n' "$*"; }
die() {
  printf 'error: %s\n' "$1" >&2
  [ $# -lt 2 ] || printf 'hint: %s\n' "$2" >&2
  exit 1
}

# help FILE: print the comment block at the top of a script.
help() { awk 'NR > 1 && !/^#/ { exit } NR > 1 { sub(/^# ?/, ""); print }' "$1"; }

need_root() {
  [ "$(id -u)" = 0 ] || die "$1 needs root: it makes namespaces, mounts and bridges" "sudo $1"
}

# need_packages NAME...: install the Debian packages that are missing.
need_packages() {
  local missing=() name
  for name in "$@"; do
    dpkg-query -W -f '${db:Status-Status}\n' "$name" 2>/dev/null | grep -qx installed || missing+=("$name")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  command -v apt-get >/dev/null || die "missing: ${missing[*]}" "install them with this system's package tool"
  [ "$(id -u)" = 0 ] || die "missing: ${missing[*]}" "sudo apt-get install ${missing[*]}"
  step "installing ${missing[*]}"
  apt_get update
  apt_get install -y --no-install-recommends "${missing[@]}"
}

# Silent unless it fails.
apt_get() {
  local log
  log=$(mktemp)
  if ! DEBIAN_FRONTEND=noninteractive apt-get -qq "$@" >"$log" 2>&1 </dev/null; then
    cat "$log" >&2
    rm -f "$log"
    die "apt-get $1 failed" "see above; a package's name may differ on this release"
  fi
  rm -f "$log"
}

# The newest Python that there are packages for: from 3.12 on a forked child copies fewer pages, since what is
# immortal is not counted (PEP 683), and an exec takes a sixth less time.
find_python() {
  local name
  for name in python3.13 python3.12 python3.11 python3 /usr/bin/python3 /usr/local/bin/python3 python3.14; do
    command -v "$name" >/dev/null || continue
    "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue
    "$name" -c 'import sys; print(sys.executable)'
    return 0
  done
  return 1
}

# Debian splits ensurepip off into pythonX.Y-venv; other builds bring it along.
need_ensurepip() {
  "$1" -c 'import ensurepip, venv' 2>/dev/null && return 0
  need_packages "python$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv"
}

# make_venv [dev]: .venv with the pinned packages and the launcher. A stamp makes a second run free.
make_venv() {
  local python
  if [ ! -x "$VENV/bin/python" ] || ! "$VENV/bin/python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    python=$(find_python) || die "no Python 3.11 or newer found" "apt-get install python3"
    need_ensurepip "$python"
    step "making .venv with $("$python" --version)"
    rm -rf "$VENV"
    "$python" -m venv "$VENV"
  fi
  install_pins constraints.txt
  [ "${1:-}" != dev ] || install_pins constraints-dev.txt
  write_launcher
}

# install_pins FILE: exactly what the file names, wheels only, hashes checked.
install_pins() {
  local stamp=$VENV/.$1.stamp
  ! cmp -s "$ROOT/$1" "$stamp" || return 0
  step "installing the packages of $1"
  "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --no-deps \
    --only-binary :all: --require-hashes -r "$ROOT/$1" ||
    die "pip could not install the packages of $1" "see above; without a network, pip's own settings can name a directory of wheels"
  cp "$ROOT/$1" "$stamp"
}

# The launcher is a script of five lines and the checkout is on the path by a .pth file: nothing to
# build, nothing to install again after an edit, and the quickest start that Python has: without `site`
# (-S), which the verbs that need it call (agent/cli/main.py).
write_launcher() {
  local launcher=$VENV/bin/setpoint site text
  text="#!$VENV/bin/python -IS
import sys

sys.path.append(sys.executable.removesuffix('/.venv/bin/python'))
from agent.cli.main import main

sys.exit(main())"
  case $VENV in
    *[[:space:]]*) text=${text/#"#!$VENV/bin/python -IS"/"#!/bin/sh
'''exec' '$VENV/bin/python' -IS \"\$0\" \"\$@\"
' '''"} ;;
  esac
  [ "$(cat "$launcher" 2>/dev/null)" = "$text" ] && [ -e "$VENV/.pth.stamp" ] && return 0
  site=$("$VENV/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  printf '%s\n' "$ROOT" >"$site/setpoint.pth"
  printf '%s\n' "$text" >"$launcher"
  chmod +x "$launcher"
  touch "$VENV/.pth.stamp"
}
