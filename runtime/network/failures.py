"""What the kernel refused, as an error that a person can act on. Used at the edge of `networks`."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator

from runtime.errors import Temporary, Unsupported

_UNSUPPORTED = {errno.EOPNOTSUPP, errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT, errno.ENOSYS}


@contextlib.contextmanager
def translated(op: str, subject: str) -> Iterator[None]:
    """OSError within the block leaves it as Unsupported or Temporary."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.filename:
            reason = f"{error.filename}: {reason}"
        if error.errno in _UNSUPPORTED:
            raise Unsupported(op, subject, reason, "this kernel lacks it; see `setpoint doctor`") from error
        if error.errno in (errno.EPERM, errno.EACCES):
            raise Unsupported(
                op, subject, reason, "needs root with CAP_NET_ADMIN and CAP_SYS_ADMIN"
            ) from error
        raise Temporary(op, subject, reason) from error
