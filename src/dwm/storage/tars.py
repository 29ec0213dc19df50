"""Plain tar archives by position: their members as a `Members` table. A packed one (.tgz) cannot be read by position."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator

from dwm.errors import DwmError
from dwm.storage.members import Member, Members, check_bounds
from dwm.storage.source import Source, as_file

PACKED = {b"\x1f\x8b": "gzip", b"BZ": "bzip2", b"\xfd7": "xz", b"(\xb5": "zstd"}
BLOCK = 512


def read_members(source: Source) -> Members:
    """The regular files of a tar. Raises DwmError that says what is still whole where the archive was cut short."""
    if kind := PACKED.get(source.read_at(0, 2)):
        raise DwmError(
            f"{source.name}: is packed with {kind}, which can only be read from the front; "
            f"turn it into a zip: dwm data zip {source.name} OUT.zip"
        )
    return Members.of(_entries(source))


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
                at = archive.offset
                if at > source.size:
                    break
                whole += 1
                if info.isreg() and not info.issparse():
                    name = info.name.removeprefix("./")
                    yield Member(name, info.offset_data, info.size, info.size)
            # The end is marked by a block of zeros; without it the rest is missing.
            if at <= source.size and not _ends(source, at):
                raise tarfile.ReadError("no mark of its end")
            if at > source.size:
                raise tarfile.ReadError("unexpected end of data")
    except (tarfile.TarError, EOFError) as error:
        if whole == 0:
            raise DwmError(f"{source.name}: is not a tar archive ({source.size} bytes, {error})") from error
        raise DwmError(
            f"{source.name}: ends early ({error}); {whole} whole members in its first {at / 1e6:.1f} of "
            f"{source.size / 1e6:.1f} MB; fetch it again"
        ) from error


def _ends(source: Source, at: int) -> bool:
    block = source.read_at(at, BLOCK)
    return len(block) == BLOCK and not any(block)
