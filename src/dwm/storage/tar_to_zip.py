"""A tar, packed or plain, as a zip that can be read by position: streamed, so that neither is ever held or unpacked."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import os
import tarfile
import time
import warnings
import zipfile
import zlib
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

from dwm.errors import DwmError
from dwm.progress import track
from dwm.storage import zips
from dwm.storage.archive import Archive
from dwm.storage.atomic import atomic_write
from dwm.storage.files import open_binary
from dwm.storage.limits import words
from dwm.storage.members import Members, Readable
from dwm.storage.names import fault, printable
from dwm.storage.output import check_file
from dwm.storage.source import LocalSource, seems
from dwm.storage.tars import Forward, open_tar
from dwm.storage.zip_writer import AT_ONCE, BLOCK, ZipWriter
from dwm.storage.zips import foreign

DEFLATED = (".bin", ".json", ".pcd", ".txt")
"""Endings of what shrinks; pictures do not."""
END = 1024
"""Bytes of zeros at the end of a tar."""
FIRST_DATE, LAST_DATE = (1980, 1, 1, 0, 0, 0), (2107, 12, 31, 23, 59, 58)


@dataclass(frozen=True)
class Zipped:
    """What was written: regular files, their bytes, the zip's bytes; and what is missing, where something was salvaged."""

    path: Path
    files: int
    content: int
    size: int
    missing: str = ""


def zip_tar(
    source: Path,
    target: Path,
    deflated: Sequence[str] = DEFLATED,
    verify: bool = False,
    salvage: bool = False,
    threads: int | None = None,
) -> Zipped:
    """Streams every regular file of a tar (plain, gzip, bzip2, xz) into a zip, which appears when it is whole.

    Files that end in one of `deflated` are deflated, others stored. `verify` reads the zip again and compares the checksum of
    each file with that of what came from the tar. Raises DwmError for a damaged or truncated tar, and leaves nothing then;
    with `salvage` what is whole of it is kept, and of a damaged zip too. `threads` deflate (None: one a core).
    """
    endings, missing = tuple(deflated), ""
    check_file(target)
    if os.path.realpath(source) == os.path.realpath(target):
        raise DwmError(f"{target}: is the source itself; choose another name")
    with atomic_write(target) as temporary:
        with ZipWriter(temporary, threads) as writer:
            try:
                _copy(source, endings, writer, salvage)
            except _Broken as broken:
                if not salvage:
                    raise DwmError(
                        f"{source}: is no whole tar archive ({broken}); fetch it again, or keep what is whole with --salvage"
                    ) from broken
                missing = str(broken)
        _sync(temporary)
        if not writer.sums:
            raise DwmError(f"{source}: holds no files" + (f" that are whole ({missing})" if missing else ""))
        if verify:
            _verify(temporary, target, writer.sums)
        content = sum(size for size, _ in writer.sums.values())
        return Zipped(target, len(writer.sums), content, temporary.stat().st_size, missing)


class _Broken(Exception):
    """The source ends or is damaged at this point."""


def _copy(source: Path, endings: tuple[str, ...], writer: ZipWriter, salvage: bool) -> None:
    with open_binary(source) as file:
        is_zip = file.read(4) == b"PK\3\4"
    if is_zip and not salvage:
        raise DwmError(f"{source}: is a zip already; --salvage keeps what is whole of a damaged one")
    entries = _zip_entries(source) if is_zip else _tar_entries(source, salvage)
    with contextlib.closing(entries):
        for name, date, mode, size, content in entries:
            info = zipfile.ZipInfo(_inside(source, name), date)
            info.compress_type = zipfile.ZIP_DEFLATED if name.endswith(endings) else zipfile.ZIP_STORED
            info.external_attr = (0o100000 | (mode & 0o777)) << 16
            info.file_size = size
            with (
                _whole(content, size, source) if salvage and size > AT_ONCE else contextlib.nullcontext(content) as file
            ):
                _add(writer, info, file, source)


def _add(writer: ZipWriter, info: zipfile.ZipInfo, content: Readable, source: Path) -> None:
    with _breaking():
        writer.add(info, content)


Date = tuple[int, int, int, int, int, int]
Entry = tuple[str, Date, int, int, Readable]
"""Name, date, mode, bytes, content."""


def _tar_entries(source: Path, salvage: bool) -> Generator[Entry]:
    left: list[str] = []
    with (
        _breaking(),
        _progress(source, "packing") as file,
        _unpacking(source, file) as unpacked,
        contextlib.nullcontext(_Tail(unpacked)) as plain,
        open_tar(Forward(plain, BLOCK)) as tar,
    ):
        for member in tar:
            tar.members = []  # type: ignore[attr-defined]  # else each stays an object of a kilobyte
            if member.issparse():
                raise DwmError(
                    f"{source}: member {printable(member.name)} is sparse ({words(member.size)} from a few); unpack it and pack it "
                    "again without --sparse"
                )
            if member.isreg() and (content := tar.extractfile(member)) is not None:
                name = member.name.removeprefix("./")
                yield name, _date(member.mtime), member.mode, member.size, content
            elif member.islnk() and not salvage:
                raise DwmError(
                    f"{source}: member {printable(member.name)} is a hard link to {printable(member.linkname)}, so that its bytes "
                    "do not stand there again; unpack it and pack it again with --hard-dereference, or leave it out with --salvage"
                )
            elif not member.isdir():
                left.append(member.name)
        if left:
            warnings.warn(
                f"{source}: {len(left)} links, pipes or devices are not in the zip, which holds files only "
                f"({printable(left[0])}, …)",
                stacklevel=2,
            )
        while plain.read(BLOCK):  # the checksum of what was packed stands at its end
            pass
        if plain.tail.strip(b"\0") or len(plain.tail) < END:  # `tarfile` takes a cut between two files for the end
            raise EOFError("it stops without a tar's end, two blocks of zeros")


class _Tail:
    """A file that remembers the last bytes that were read of it."""

    def __init__(self, file: Readable) -> None:
        self.file, self.tail = file, b""

    def read(self, size: int) -> bytes:
        data = self.file.read(size)
        self.tail = (self.tail + data[-END:])[-END:]
        return data


class _Sooner(contextlib.AbstractContextManager["_Sooner"]):
    """A file that gives what it has, so that what lies before a break is not lost with it."""

    def __init__(self, file: gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile) -> None:
        self.file = file

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def read(self, size: int) -> bytes:
        return self.file.read1(size)


def _unpacking(source: Path, file: Readable) -> contextlib.AbstractContextManager[Readable]:
    """The plain tar of a packed one. Unlike `tarfile`'s own stream these verify the checksum."""
    kind = seems(LocalSource(source))
    if kind == "packed with gzip":
        return _Sooner(gzip.GzipFile(fileobj=file))  # type: ignore[arg-type]  # it is only read on
    if kind == "packed with bzip2":
        return _Sooner(bz2.BZ2File(file))  # type: ignore[arg-type]
    if kind == "packed with xz":
        return _Sooner(lzma.LZMAFile(file))  # type: ignore[arg-type]
    if kind != "a tar":
        raise foreign(LocalSource(source), "tar")
    return contextlib.nullcontext(file)


def _zip_entries(source: Path) -> Generator[Entry]:
    """What is whole of a damaged zip, by the headers of its members; those whose checksum differs are left out."""
    local = LocalSource(source)
    archive, damaged = Archive(local, Members.of(zips.whole_members(local))), 0
    for name in track(list(archive.members.names()), f"reading {source.name}", unit="files"):
        member = archive.members.find(name)
        assert member is not None, name
        if _sum(archive, name) != (member.size, member.crc):
            damaged += 1
            continue
        with archive.open(name) as content:
            yield name, FIRST_DATE, 0o644, member.size, content
    raise _Broken(zips.what_is_whole(local) + (f", {damaged} of them damaged and left out" if damaged else ""))


def _inside(source: Path, name: str) -> str:
    if (wrong := fault(name)) is not None:
        raise DwmError(f"{source}: member {printable(name)} {wrong}; such a tar is not trusted")
    return name


@contextlib.contextmanager
def _whole(content: Readable, size: int, source: Path) -> Iterator[Readable]:
    """A copy of a large file, made before it is written into the zip, so that a half one does not stay there."""
    with TemporaryFile() as copy, _breaking():
        count = 0
        while count < size and (data := content.read(BLOCK)):
            count += copy.write(data)
        if count < size:
            raise EOFError(f"the last file has {count} of {size} bytes")
        copy.seek(0)
        yield copy


def _verify(temporary: Path, target: Path, sums: dict[str, tuple[int, int]]) -> None:
    archive = Archive(LocalSource(temporary))
    if len(archive.members) != len(sums):
        raise DwmError(
            f"{target}: names {len(archive.members)} files where {len(sums)} were written; is the disk sound?"
        )
    for name, expected in track(sums.items(), "verifying", unit="files"):
        if _sum(archive, name) != expected:
            raise DwmError(f"{target}: {name} reads back with another checksum; is the disk sound?")


def _sum(archive: Archive, name: str) -> tuple[int, int]:
    """(bytes, checksum) of a member as it reads back; (0, -1) where it does not."""
    size = crc = 0
    try:
        with archive.open(name) as file:
            while data := file.read(BLOCK):
                size, crc = size + len(data), zlib.crc32(data, crc)
    except DwmError:
        return 0, -1
    return size, crc


def _date(seconds: float) -> Date:
    with contextlib.suppress(ValueError, OverflowError, OSError):
        year, month, day, hour, minute, second, *_ = time.gmtime(seconds)
        return min(max((year, month, day, hour, minute, second), FIRST_DATE), LAST_DATE)
    return FIRST_DATE


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


@contextlib.contextmanager
def _breaking() -> Iterator[None]:
    """Tells a source that ends or is damaged from a disk that is full."""
    try:
        yield
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, RecursionError) as error:
        raise _Broken(str(error)) from error
    except OSError as error:
        if error.errno is None:  # of the unpacking: a damaged or truncated stream
            raise _Broken(str(error)) from error
        raise


class _Counted:
    """A file that tells a progress line how much of it was read, in units of 1 MB."""

    def __init__(self, file: Readable, line: Iterator[int]) -> None:
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
        line = track(range(source.stat().st_size // BLOCK + 1), f"{what} {source.name}", unit="MB")
        try:
            yield _Counted(file, line)
        finally:
            line.close()
