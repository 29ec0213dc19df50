"""Processes that prepare clips: what becomes of one that the system killed. Starts none itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from dwm.errors import DwmError


@contextmanager
def worker_errors(advice: str) -> Iterator[None]:
    """A loader's worker that the system killed becomes one line with this advice. It may be told at any moment of the block."""
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        first = str(error).splitlines()[0]
        raise DwmError(
            f"a process that prepares clips was killed ({first}), as happens when memory runs out; {advice}"
        ) from error


def training_worker_errors(workers: int) -> AbstractContextManager[None]:
    """For the whole of a training, in which a worker may be killed at any moment."""
    return worker_errors(
        f"give fewer data.workers than {workers} or smaller micro-batches, and go on with --resume; what was saved is kept"
    )
