"""Writing so that a file is either whole or not there: beside its place, then renamed. It knows nothing of what is written."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dwm.errors import DwmError


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yields a temporary name in the same folder (made if missing) and renames it to `path` when the block ends well.

    Whatever ends the block early leaves nothing behind and an older file untouched. Raises DwmError for what the system
    refuses: a full disk, no permission, a file where a folder should be.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise DwmError(
            f"{path}: cannot be written ({error.strerror or error}); free space, or choose another --output"
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Yields an empty folder beside `path` and renames it to `path` when the block ends well; else it is removed.

    Raises DwmError where `path` holds something already, and for what the system refuses.
    """
    path = Path(path)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise DwmError(f"{path}: is not an empty folder; choose another --output or remove it first")
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise DwmError(
            f"{path}: cannot be written ({error.strerror or error}); free space, or choose another --output"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
