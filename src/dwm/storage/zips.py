"""Zip archives by position: the directory (zip64 too) as a `Members` table, and members stored or deflated. Never writes.

Our own reading of the directory, as `zipfile` makes an object of about a kilobyte for each member and moves a shared position.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from dwm.errors import DwmError
from dwm.storage.members import DEFLATED, STORED, Member, Members, check_bounds
from dwm.storage.source import LocalSource, Source, seems

END = struct.Struct("<4s4H2LH")
END64 = struct.Struct("<4sQ2H2L4Q")
LOCATOR64 = struct.Struct("<4sLQL")
ENTRY = struct.Struct("<4s6H3L5H2L")
LOCAL = struct.Struct("<4s5H3L2H")
AGAIN = "fetch it again, or keep what is whole: dwm data zip --salvage"
EXTRA = 32
"""Bytes of extra fields that a header has at most as a rule (zip64's sizes, or times)."""
ENCRYPTED, UTF8, SIZES_FOLLOW = 1, 1 << 11, 1 << 3


def read_members(source: Source) -> Members:
    """The members of a zip. Raises DwmError that says what is still whole where the archive was cut short."""
    offset, size, count = _directory_bounds(source)
    return Members.of(_entries(source, offset, size, count), source.name)


def foreign(source: Source, expected: str) -> DwmError:
    """What to say of a file that is no archive of the kind that its name says, and what to do with it."""
    kind = seems(source)
    fix = "check the path or fetch it again"
    if kind in ("a zip", "a tar"):
        fix = f"rename it to .{kind[2:]}"
    elif kind == "packed with zstd":
        fix = "unpack it with zstd -d"
    elif kind.startswith("packed"):
        fix = f"if it is a tar, turn it into a zip: dwm data zip {source.name} OUT.zip"
    return DwmError(f"{source.name}: is not a {expected} archive but {kind} ({source.size} bytes); {fix}")


def count_members(source: Source) -> int:
    """How many members the directory names."""
    return _directory_bounds(source)[2]


def read_member(source: Source, member: Member) -> bytes:
    """The content of one member, its length and checksum verified."""
    check_bounds(source.name, member, source.size)
    # The header and the data in one read: behind a network each costs a round trip.
    raw = source.read_at(member.offset, LOCAL.size + len(member.name.encode()) + EXTRA + member.stored)
    begin = _header_size(source, member, raw)
    data = raw[begin : begin + member.stored]
    if len(data) < member.stored:
        data += source.read_at(member.offset + begin + len(data), member.stored - len(data))
    if member.method == DEFLATED:
        try:
            data = zlib.decompressobj(-15).decompress(data, member.size + 1)
        except zlib.error as error:
            raise DwmError(
                f"{source.name}: member {member.name} is damaged ({error}); fetch the archive again"
            ) from error
    elif member.method != STORED:
        raise DwmError(
            f"{source.name}: member {member.name} is packed by method {member.method}; "
            "only stored and deflated ones are read: pack it anew"
        )
    if len(data) != member.size or zlib.crc32(data) != member.crc:
        raise DwmError(
            f"{source.name}: member {member.name} is damaged (its checksum differs); fetch the archive again"
        )
    return data


def data_offset(source: Source, member: Member) -> int:
    """Where a member's data begin: behind its local header, whose length only that header tells."""
    return member.offset + _header_size(source, member, source.read_at(member.offset, LOCAL.size))


def _header_size(source: Source, member: Member, raw: bytes) -> int:
    if len(raw) < LOCAL.size or raw[:4] != b"PK\3\4":
        raise DwmError(
            f"{source.name}: no header of member {member.name} at byte {member.offset}; fetch the archive again"
        )
    *_, name_length, extra_length = LOCAL.unpack_from(raw)
    return LOCAL.size + name_length + extra_length


def _directory_bounds(source: Source) -> tuple[int, int, int]:
    """(offset, size, entries) of the central directory."""
    if source.read_at(0, 2) != b"PK":
        raise foreign(source, "zip")
    tail_size = min(source.size, END.size + 65535 + LOCATOR64.size)
    tail_offset = source.size - tail_size
    tail = source.read_at(tail_offset, tail_size)
    at = tail.rfind(b"PK\5\6")
    if at < 0 or len(tail) - at < END.size:
        raise DwmError(f"{source.name}: ends early: central directory missing; {what_is_whole(source)}; {AGAIN}")
    _, _, _, _, count, size, offset, _ = END.unpack_from(tail, at)
    locator = tail[at - LOCATOR64.size : at] if at >= LOCATOR64.size else b""
    if locator[:4] == b"PK\6\7":
        end64 = source.read_at(LOCATOR64.unpack(locator)[2], END64.size)
        if len(end64) == END64.size and end64[:4] == b"PK\6\6":
            *_, count, size, offset = END64.unpack(end64)
    if offset + size > tail_offset + at:
        raise DwmError(f"{source.name}: central directory lies outside the file; {what_is_whole(source)}; {AGAIN}")
    return offset, size, count


def _entries(source: Source, offset: int, size: int, count: int, block: int = 1 << 22) -> Iterator[Member]:
    buffer, at, stop = b"", 0, offset + size
    for _ in range(count):
        while len(buffer) - at < ENTRY.size or len(buffer) - at < _entry_size(buffer, at):
            more = source.read_at(offset, min(block, stop - offset))
            if not more:
                raise DwmError(f"{source.name}: central directory ends early; fetch the archive again")
            buffer, at, offset = buffer[at:] + more, 0, offset + len(more)
        if buffer[at : at + 4] != b"PK\1\2":
            raise DwmError(f"{source.name}: central directory is damaged; fetch the archive again")
        member = _entry(source.name, buffer, at)
        at += _entry_size(buffer, at)
        if not member.name.endswith("/"):
            yield member


def _entry_size(buffer: bytes, at: int) -> int:
    return ENTRY.size + sum(struct.unpack_from("<3H", buffer, at + 28))


def _entry(archive: str, buffer: bytes, at: int) -> Member:
    fields = ENTRY.unpack_from(buffer, at)
    flags, method, crc, stored, size, name_length, extra_length, offset = (
        fields[i] for i in (3, 4, 7, 8, 9, 10, 11, 16)
    )
    at += ENTRY.size
    # A name that is none is no table's, so that nothing asks for it.
    name = buffer[at : at + name_length].decode("utf-8" if flags & UTF8 else "cp437", "replace")
    if flags & ENCRYPTED:
        raise DwmError(f"{archive}: member {name} is encrypted; unpack it and pack it without a password")
    at += name_length
    size, stored, offset = _wide(buffer[at : at + extra_length], size, stored, offset)
    if max(size, stored, offset) >= 1 << 63:
        raise DwmError(f"{archive}: member {name} claims a size beyond all bounds; fetch the archive again")
    return Member(name, offset, stored, size, method, crc)


def _wide(extra: bytes, *values: int) -> list[int]:
    """Values that did not fit in 32 bits, from the zip64 extra field, in the format's order."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == 1:
            wide = iter(struct.unpack_from(f"<{length // 8}Q", extra, at + 4))
            return [next(wide, value) if value == 0xFFFFFFFF else value for value in values]
        at += 4 + length
    return list(values)


def whole_members(source: Source) -> Iterator[Member]:
    """What a zip without a directory still holds, by walking the headers of its members from the front."""
    at = 0
    while (header := source.read_at(at, LOCAL.size))[:4] == b"PK\3\4" and len(header) == LOCAL.size:
        _, _, flags, method, _, _, crc, stored, size, name_length, extra_length = LOCAL.unpack(header)
        rest = source.read_at(at + LOCAL.size, name_length + extra_length)
        size, stored = _wide(rest[name_length:], size, stored)
        stop = at + LOCAL.size + len(rest) + stored
        if flags & SIZES_FOLLOW or stop > source.size or size >= 1 << 63:
            return
        name = rest[:name_length].decode("utf-8" if flags & UTF8 else "cp437", "replace")
        if not name.endswith("/"):
            yield Member(name, at, stored, size, method, crc)
        at = stop


def what_is_whole(source: Source) -> str:
    """In words, how much of a zip `whole_members` finds; not of a remote one, which each header would ask anew."""
    if not isinstance(source, LocalSource):
        return f"{source.size / 1e6:.1f} MB are there"
    count = stop = 0
    for member in whole_members(source):
        count, stop = count + 1, member.offset + member.stored
    return f"{count} whole members in its first {stop / 1e6:.1f} of {source.size / 1e6:.1f} MB"
