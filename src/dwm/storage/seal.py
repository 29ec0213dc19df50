"""Whether the files of a folder are still what was written: a checksum of each, verified once for each start of the machine.

Reading everything at every opening would cost seconds where mapping costs milliseconds. So what was verified is noted with the
machine's start and each file's place, size and time: whoever changes a file, or restarts the machine (after which a file may be
torn that was never brought to the disk), has it verified again.
"""

from __future__ import annotations

import json
import os
import secrets
import stat
import zlib
from contextlib import suppress
from pathlib import Path

SEAL, NOTE = "seal.json", "verified.json"
BLOCK = 1 << 24
LARGEST = 1 << 16
START = Path("/proc/sys/kernel/random/boot_id")


def write(folder: Path) -> None:
    """Seals the `.arrow` files of a folder that is not yet in its place."""
    checksums = {file.name: [file.stat().st_size, _checksum(file)] for file in sorted(folder.glob("*.arrow"))}
    (folder / SEAL).write_text(json.dumps(checksums), encoding="utf-8")


def sealed(folder: Path) -> list[Path]:
    """The files that were sealed. Raises OSError, ValueError or KeyError where there is no seal."""
    return [folder / Path(name).name for name in sorted(_read(folder / SEAL))]


def is_whole(folder: Path) -> bool:
    """Whether every sealed file has its size and checksum."""
    entries = _read(folder / SEAL)
    sizes = all((folder / name).stat().st_size == size for name, (size, _) in entries.items())
    return sizes and all(_checksum(folder / name) == checksum for name, (_, checksum) in entries.items())


def is_known(folder: Path, files: list[Path]) -> bool:
    """Whether these files were verified since the machine started, and nobody wrote to them since."""
    with suppress(OSError, ValueError):
        return _read(folder / NOTE) == _marks(files)
    return False


def remember(folder: Path, files: list[Path]) -> None:
    """Notes that these files are whole; where that cannot be written they are verified again."""
    beside = folder / f".{NOTE}.{secrets.token_hex(4)}"
    with suppress(OSError):
        try:
            beside.write_text(json.dumps(_marks(files)), encoding="utf-8")
            os.replace(beside, folder / NOTE)
        finally:
            beside.unlink(missing_ok=True)


def _marks(files: list[Path]) -> dict[str, list[int | str]]:
    start = START.read_text().strip()
    status = {file.name: file.stat() for file in files}
    return {name: [start, one.st_ino, one.st_size, one.st_mtime_ns] for name, one in status.items()}


def _read(path: Path) -> dict[str, list]:
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST:
        raise ValueError(f"{path.name} is not what was written")
    entries = json.loads(path.read_text("utf-8"))
    if not isinstance(entries, dict) or not all(isinstance(entry, list) for entry in entries.values()):
        raise ValueError(f"{path.name} is no object")
    return entries


def _checksum(path: Path) -> int:
    checksum = 0
    with path.open("rb") as file:
        while data := file.read(BLOCK):
            checksum = zlib.crc32(data, checksum)
    return checksum
