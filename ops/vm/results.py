"""Print what a virtual machine found as a row of the README's table. Called by ops/vm-test, when all passed,
with the suite, the results that the machine left and how long it all took in seconds.
"""

from __future__ import annotations

import datetime
import json
import re
import sys
from pathlib import Path

HEAD = """\
| suite | kernel | systemd, Python | checks | kernel tests | took | date |
|---|---|---|---|---|---|---|"""


def main() -> None:
    suite, file, seconds = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    found = json.loads(file.read_text())
    tests = re.sub(r"( warnings?)?,? in .*", "", found["tests"]) or "-"
    versions = f"{found['systemd']}, {found['python']}"
    checks = f"{found['passed']} of {found['passed'] + found['failed']}"
    took, date = f"{max(1, round(seconds / 60))} min", datetime.date.today().isoformat()
    print(HEAD)
    print("|", " | ".join((suite, found["kernel"], versions, checks, tests, took, date)), "|")


if __name__ == "__main__":
    main()
