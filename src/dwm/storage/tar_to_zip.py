"""A tar, packed or plain, as a zip that can be read by position: streamed, so that neither is ever held or unpacked."""

from __future__ import annotations

import contextlib
import os
import tarfile
import time
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from dwm.errors import DwmError
from dwm.progress import track
from dwm.storage.archive import Archive
from dwm.storage.atomic import atomic_write
from dwm.storage.source import LocalSource

DEFLATED = (".bin", ".json", ".pcd", ".txt")
"""Endings of what shrinks; pictures do not."""
BLOCK = 1 << 20
LEVEL = 1
"""zlib's: LiDAR and tables shrink nearly as well as at 6, at several times the speed."""
FIRST_DATE, LAST_DATE = (1980, 1, 1, 0, 0, 0), (2107, 12, 31, 23, 59, 58)


@dataclass(frozen=True)
class Zipped:
    """What was written: regular files, their bytes, the zip's bytes."""

    path: Path
    files: int
    content: int
    size: int


def zip_tar(source: Path, target: Path, deflated: Sequence[str] = DEFLATED, verify: bool = False) -> Zipped:
    """Streams every regular file of a tar (plain, gzip, bzip2, xz) into a zip, which appears when it is whole.

    Files that end in one of `deflated` are deflated, others stored. `verify` reads the zip again and compares the checksum of
    each file with that of what came from the tar. Raises DwmError for a damaged or truncated tar, and leaves nothing then.
    """
    endings, sums = tuple(deflated), {}
    with atomic_write(target) as temporary:
        with _reading(source), _progress(source, "packing") as file, tarfile.open(fileobj=file, mode="r|*") as tar:
            if verify and source.resolve() == target.resolve():
                raise DwmError(f"{target}: is the source itself; choose another name")
            with zipfile.ZipFile(temporary, "w", allowZip64=True) as archive:
                for member in tar:
                    tar.members = []  # else each stays an object of a kilobyte
                    if member.isreg():
                        name = member.name.removeprefix("./")
                        sums[name] = _add(archive, tar, member, name, name.endswith(endings))
        _sync(temporary)
        if not sums:
            raise DwmError(f"{source}: holds no files")
        if verify:
            _verify(temporary, target, sums)
        content = sum(size for size, _ in sums.values())
        result = Zipped(target, len(sums), content, temporary.stat().st_size)
    return result


def _add(
    archive: zipfile.ZipFile, tar: tarfile.TarFile, member: tarfile.TarInfo, name: str, deflate: bool
) -> tuple[int, int]:
    """Copies one file; (size, checksum) of what was read."""
    info = zipfile.ZipInfo(name, _date(member.mtime))
    info.compress_type = zipfile.ZIP_DEFLATED if deflate else zipfile.ZIP_STORED
    info._compresslevel = LEVEL  # what `writestr` would take as an argument
    info.external_attr = (0o100000 | (member.mode & 0o777)) << 16
    info.file_size = member.size
    content, size, crc = tar.extractfile(member), 0, 0
    with archive.open(info, "w", force_zip64=member.size >= 1 << 31) as file:
        while data := content.read(BLOCK):
            file.write(data)
            size, crc = size + len(data), zlib.crc32(data, crc)
    if size != member.size:
        raise tarfile.ReadError(f"{name} has {size} of {member.size} bytes")
    return size, crc


def _verify(temporary: Path, target: Path, sums: dict[str, tuple[int, int]]) -> None:
    archive = Archive(LocalSource(temporary))
    if len(archive.members) != len(sums):
        raise DwmError(
            f"{target}: names {len(archive.members)} files where {len(sums)} were written; is the disk sound?"
        )
    for name, expected in track(sums.items(), "verifying", unit="files"):
        data = archive.read(name)
        if (len(data), zlib.crc32(data)) != expected:
            raise DwmError(f"{target}: {name} reads back with another checksum; is the disk sound?")


def _date(seconds: float) -> tuple[int, ...]:
    with contextlib.suppress(ValueError, OverflowError, OSError):
        return min(max(time.gmtime(seconds)[:6], FIRST_DATE), LAST_DATE)
    return FIRST_DATE


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


@contextlib.contextmanager
def _reading(source: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        if error.filename == str(source):
            raise DwmError(f"{source}: does not exist") from error
        raise
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise DwmError(f"{source}: is no whole tar archive ({error}); fetch it again") from error
    except OSError as error:
        if error.errno is None:  # gzip's own: a damaged or truncated stream
            raise DwmError(f"{source}: is no whole tar archive ({error}); fetch it again") from error
        raise


class _Counted:
    """A file that tells a progress line how much of it was read, in units of 1 MB."""

    def __init__(self, file: IO[bytes], line: Iterator[int]) -> None:
        self.file, self.line, self.done = file, line, 0

    def read(self, size: int = -1) -> bytes:
        data = self.file.read(size)
        for _ in range((self.done + len(data)) // BLOCK - self.done // BLOCK):
            next(self.line, None)
        self.done += len(data)
        return data


@contextlib.contextmanager
def _progress(source: Path, what: str) -> Iterator[_Counted]:
    with source.open("rb") as file:
        line = iter(track(range(source.stat().st_size // BLOCK + 1), f"{what} {source.name}", unit="MB"))
        try:
            yield _Counted(file, line)
        finally:
            line.close()
