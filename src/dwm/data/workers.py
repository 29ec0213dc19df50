"""Processes that prepare clips: what becomes of one that the system killed. Starts none itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dwm.errors import DwmError


@contextmanager
def training_worker_errors(workers: int) -> Iterator[None]:
    """For a whole training, in which the system may kill a loader's worker at any moment: that becomes one line."""
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        first = str(error).splitlines()[0]
        raise DwmError(
            f"a process that prepares clips was killed ({first}), as happens when memory runs out; give fewer data.workers "
            f"than {workers} or smaller micro-batches, and go on with --resume; what was saved is kept"
        ) from error
