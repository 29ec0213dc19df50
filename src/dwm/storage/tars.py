"""Plain tar archives by position: their members as a `Members` table. A packed one (.tgz) cannot be read by position."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator

from dwm.errors import DwmError
from dwm.storage.members import Member, Members, check_bounds
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
        with as_file(source) as file, tarfile.open(fileobj=file, mode="r:") as archive:
            while (info := archive.next()) is not None:
                archive.members = []  # else each member stays an object of a kilobyte
                if archive.offset > source.size:
                    raise tarfile.ReadError("unexpected end of data")
                whole, at = whole + 1, archive.offset
                if info.isreg() and not info.issparse():
                    name = info.name.removeprefix("./")
                    yield Member(name, info.offset_data, info.size, info.size)
            if whole == 0:
                raise foreign(source, "tar")
            # The end is marked by a block of zeros; without it the rest is missing.
            if not _ends(source, at):
                raise tarfile.ReadError("no mark of its end")
    except (tarfile.TarError, EOFError) as error:
        if whole == 0 and seems(source) != "a tar":
            raise foreign(source, "tar") from error
        raise DwmError(
            f"{source.name}: ends early ({error}); {whole} whole members in its first {at / 1e6:.1f} of "
            f"{source.size / 1e6:.1f} MB; {AGAIN}"
        ) from error


def _ends(source: Source, at: int) -> bool:
    block = source.read_at(at, BLOCK)
    return len(block) == BLOCK and not any(block)
