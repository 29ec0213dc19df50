"""Plain tar archives by position: their members as a `Members` table. A packed one (.tgz) cannot be read by position."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from contextlib import contextmanager

from dwm.errors import DwmError
from dwm.storage import limits
from dwm.storage.members import Member, Members, Readable, Seekable, check_bounds
from dwm.storage.source import Source, as_file, seems
from dwm.storage.zips import AGAIN, foreign

BLOCK = 512


def read_members(source: Source) -> Members:
    """The regular files of a tar. Raises DwmError that says what is still whole where the archive was cut short."""
    if seems(source).startswith("packed"):  # it can only be read from the front
        raise foreign(source, "plain tar")
    return Members.of(_entries(source), source.name)


def read_member(source: Source, member: Member) -> bytes:
    """The content of one member."""
    check_bounds(source.name, member, source.size)
    data = source.read_at(member.offset, member.size)
    if len(data) != member.size:
        raise DwmError(f"{source.name}: member {member.name} ends early; fetch the archive again")
    return data


def _entries(source: Source) -> Iterator[Member]:
    whole, at = 0, 0
    try:
        with as_file(source) as file, open_tar(file) as archive:
            while (info := archive.next()) is not None:
                archive.members = []  # type: ignore[attr-defined]  # else each member stays an object of a kilobyte
                if archive.offset > source.size:
                    raise tarfile.ReadError("unexpected end of data")
                whole, at = whole + 1, archive.offset
                if info.isreg() and not info.issparse():
                    # Bytes that are no UTF-8 make a name that no table has, so that nothing asks for it.
                    name = info.name.removeprefix("./").encode("utf-8", "replace").decode()
                    yield Member(name, info.offset_data, info.size, info.size)
            if whole == 0:
                raise foreign(source, "tar")
            # The end is marked by a block of zeros; without it the rest is missing.
            if not _ends(source, at):
                raise tarfile.ReadError("no mark of its end")
    except (tarfile.TarError, EOFError, ValueError, RecursionError) as error:
        if whole == 0 and seems(source) != "a tar":
            raise foreign(source, "tar") from error
        raise DwmError(
            f"{source.name}: ends early ({error}); {whole} whole members in its first {at / 1e6:.1f} of "
            f"{source.size / 1e6:.1f} MB; {AGAIN}"
        ) from error


class Header(tarfile.TarInfo):
    """A member's header, of which no more is read than `limits.HEADER`: those of pax, of long names and of sparse files say
    themselves how long they are, and the library would take that much memory."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> tarfile.TarInfo:  # type: ignore[override]
        with archive.fileobj.header():  # type: ignore[union-attr]  # by `open_tar`
            info = super().fromtarfile(archive)
        if not 0 <= info.size < 1 << 63:
            raise tarfile.ReadError(f"member {info.name[:80]} claims {info.size} bytes")
        return info


class _Counted:
    """A file that, while a header is read, gives `limits.HEADER` bytes at most."""

    def __init__(self, file: Seekable) -> None:
        self.file, self.left = file, -1

    @contextmanager
    def header(self) -> Iterator[None]:
        """Within it reading is counted. A header that holds another is still one."""
        if self.left >= 0:
            yield
            return
        self.left = limits.bound(limits.HEADER)
        try:
            yield
        finally:
            self.left = -1

    def read(self, size: int = -1) -> bytes:
        if self.left >= 0:
            if size < 0 or size > self.left:
                raise tarfile.ReadError(f"a header of more than {limits.words(limits.bound(limits.HEADER))}")
            self.left -= size
        return self.file.read(size)

    def seek(self, position: int) -> int:
        return self.file.seek(position)

    def tell(self) -> int:
        return self.file.tell()

    def seekable(self) -> bool:
        return not isinstance(self.file, Forward)


def open_tar(file: Seekable) -> tarfile.TarFile:
    """A tar for reading, its headers bounded; by `Forward` from front to back.

    Raises tarfile.TarError for what is none.
    """
    return tarfile.TarFile(fileobj=_Counted(file), tarinfo=Header)  # type: ignore[arg-type]


class Forward:
    """A file that is only read on, `block` bytes at once: what is passed by is read and dropped."""

    def __init__(self, file: Readable, block: int) -> None:
        self.file, self.block, self.position = file, block, 0
        self.ahead, self.at = b"", 0

    def tell(self) -> int:
        return self.position

    def seek(self, position: int) -> int:
        if position < self.position:
            raise tarfile.StreamError("seeking backwards is not allowed")
        while self.position < position and self.read(min(self.block, position - self.position)):
            pass
        return self.position

    def read(self, size: int) -> bytes:
        """`size` bytes, fewer only at the end."""
        parts = []
        while size > 0:
            if self.at == len(self.ahead):
                self.ahead, self.at = self.file.read(self.block), 0
                if not self.ahead:
                    break
            parts.append(self.ahead[self.at : self.at + size])
            self.at, size, self.position = (
                self.at + len(parts[-1]),
                size - len(parts[-1]),
                self.position + len(parts[-1]),
            )
        return parts[0] if len(parts) == 1 else b"".join(parts)


def _ends(source: Source, at: int) -> bool:
    block = source.read_at(at, BLOCK)
    return len(block) == BLOCK and not any(block)
