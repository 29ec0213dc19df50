"""A tar archive as a zip whose members can be read in place: what compresses well is deflated, the rest stored as it is."""

from __future__ import annotations

import shutil
import tarfile
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path

from dwm.errors import DwmError
from dwm.progress import track
from dwm.storage import atomic_write

OLDEST = (1980, 1, 1, 0, 0, 0)
"""Zips know no time before."""


def tar_to_zip(source: Path, target: Path, deflated: Sequence[str]) -> int:
    """Copies every regular file and returns how many; names that lead outside are refused."""
    count = 0
    try:
        with (
            tarfile.open(source) as archive,
            atomic_write(target) as temporary,
            zipfile.ZipFile(temporary, "w", allowZip64=True) as packed,
        ):
            for member in track(archive, source.name, unit="files"):
                if member.isfile():
                    _copy(archive, member, packed, deflated, source)
                    count += 1
    except FileNotFoundError:
        raise DwmError(f"{source}: no such file") from None
    except (tarfile.TarError, EOFError, OSError) as error:
        raise DwmError(f"{source}: not a whole tar archive ({error}); fetch it again") from None
    return count


def _copy(
    archive: tarfile.TarFile, member: tarfile.TarInfo, packed: zipfile.ZipFile, deflated: Sequence[str], source: Path
) -> None:
    name = member.name.removeprefix("./")
    if name.startswith("/") or ".." in Path(name).parts:
        raise DwmError(f"{source}: member {member.name!r} leads outside the archive")
    info = zipfile.ZipInfo(name, max(OLDEST, time.localtime(member.mtime)[:6]))
    info.compress_type = zipfile.ZIP_DEFLATED if name.endswith(tuple(deflated)) else zipfile.ZIP_STORED
    content = archive.extractfile(member)
    assert content is not None
    with packed.open(info, "w", force_zip64=member.size >= 2**31) as file:
        shutil.copyfileobj(content, file, 1 << 20)
