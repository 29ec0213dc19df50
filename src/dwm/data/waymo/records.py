"""TFRecord files: their framing and checksums, and a tree in which each camera's picture and each sweep is a file of its own.

`training/segment-….tfrecord/582034-119807/CAM_FRONT.jpg` is the picture in the record whose body begins at byte 582034, so that
one is reached without reading what lies before it. Knows nothing of tables.
"""

from __future__ import annotations

import os
import re
import struct
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dwm.data.tables.made_files import MadeFiles
from dwm.data.waymo.sensors import CAMERAS, LIDARS, sweep
from dwm.errors import DwmError
from dwm.storage import Tree, limits
from dwm.strict_json import LFS, lfs_pointer

LARGEST_RECORD = 256 << 20
"""Bytes; a frame of five pictures and five sweeps has about five million."""
FRAMING = 12
"""Bytes before a body: its length (8) and that length's checksum (4); four more follow it."""
RECORDS = ".tfrecord"
MEMBER = re.compile(r"(.+\.tfrecord)/([0-9]{1,15})-([0-9]{1,10})/([A-Z_]+)\.(jpg|bin)")
KEPT = 2
"""Frames that a process keeps parsed: the cameras of one are asked for one after another."""
MISSING = "Waymo's records need protobuf and google-crc32c, which are not here: pip install 'dwm[waymo]'"


def frame_class() -> Any:
    """The message that a record's body is. Raises DwmError where protobuf is not installed."""
    try:
        from dwm.data.waymo.frame_pb2 import Frame  # pyrefly: ignore[missing-module-attribute]
    except ImportError as error:
        raise DwmError(MISSING) from error
    return Frame


def masked_checksum(data: bytes) -> int:
    """CRC32C as TFRecords store it: turned by 15 bits, plus a constant."""
    try:
        import google_crc32c
    except ImportError as error:
        raise DwmError(MISSING) from error
    value = google_crc32c.value(data)
    return (((value >> 15) | (value << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def record_spans(tree: Tree, file: str) -> Iterator[tuple[int, int]]:
    """(offset of the body, bytes) of each record; bodies are stepped over. Raises DwmError where the file ends within one."""
    end, offset, number = tree.size(file), 0, 0
    with tree.open(file) as stream:
        while offset < end:
            stream.seek(offset)
            size = _length(file, number, stream.read(FRAMING), offset)
            if offset + FRAMING + size + 4 > end:
                raise DwmError(
                    f"{file}: ends early, in record {number} (byte {end} of {offset + FRAMING + size + 4}); fetch it again"
                )
            yield offset + FRAMING, size
            offset, number = offset + FRAMING + size + 4, number + 1


def _length(file: str, number: int, head: bytes, offset: int) -> int:
    if head.startswith(LFS[:FRAMING]):
        raise DwmError(f"{file}: {lfs_pointer()}")
    if len(head) < FRAMING:
        raise DwmError(f"{file}: ends early, in record {number} (byte {offset + len(head)}); fetch it again")
    size, checksum = struct.unpack("<QI", head)
    if masked_checksum(head[:8]) != checksum:
        raise DwmError(
            f"{file}: record {number} (byte {offset}): the checksum of its length differs; it is damaged, or no TFRecord "
            "file: fetch it again"
        )
    limits.check_size(f"{file}: record {number}", size, LARGEST_RECORD)
    return size


def read_frame(tree: Tree, file: str, offset: int, size: int) -> Any:
    """The frame whose body lies there. Raises DwmError for one that is cut short, damaged or no frame of Waymo's."""
    where = f"{file}: record at byte {offset}"
    limits.check_size(where, size, LARGEST_RECORD)
    with tree.open(file) as stream:
        stream.seek(offset)
        body = stream.read(size + 4)
    if len(body) < size + 4:
        raise DwmError(f"{where}: the file ends in it; fetch it again")
    if masked_checksum(body[:size]) != struct.unpack("<I", body[size:])[0]:
        raise DwmError(f"{where}: its checksum differs; fetch the file again")
    frame = frame_class()()
    from google.protobuf.message import DecodeError

    try:
        frame.ParseFromString(body[:size])
    except DecodeError as error:
        raise DwmError(f"{where}: is no frame of Waymo's ({error}); is this a Perception v1 file?") from error
    return frame


@dataclass(frozen=True)
class RecordTree(MadeFiles):
    """A tree with the pictures and sweeps in its TFRecord files as files. Picklable."""

    def exists(self, name: str) -> bool:
        member = MEMBER.fullmatch(name)
        if member is None:
            return self.base.exists(name)
        return self.base.exists(member[1]) and int(member[2]) + int(member[3]) + 4 <= self.base.size(member[1])

    def is_made(self, name: str) -> bool:
        return MEMBER.fullmatch(name) is not None

    def stored(self, name: str) -> str:
        return name if (member := MEMBER.fullmatch(name)) is None else member[1]

    def make(self, name: str, most: int) -> bytes:
        member = MEMBER.fullmatch(name)
        assert member is not None
        return self._part(self._frame(member[1], int(member[2]), int(member[3])), member[4], name)

    def names(self, prefix: str = "") -> Iterator[str]:
        """Below a TFRecord file those of all sensors, whether a frame has them or not."""
        file, within, rest = prefix.partition(f"{RECORDS}/")
        if not within:
            return self.base.names(prefix)
        file += RECORDS
        sensors = [f"{name}.jpg" for name in CAMERAS] + [f"{name}.bin" for name in LIDARS]
        all_names = (f"{file}/{offset}-{size}/{name}" for offset, size in self._spans(file, rest) for name in sensors)
        return iter(sorted(name for name in all_names if name.startswith(prefix)))

    def _spans(self, file: str, rest: str) -> Iterator[tuple[int, int]]:
        record = re.match(r"([0-9]{1,15})-([0-9]{1,10})/", rest)
        if record is None:
            return record_spans(self.base, file)
        offset, size = int(record[1]), int(record[2])
        return iter([(offset, size)] if offset + size + 4 <= self.base.size(file) else [])

    def _frame(self, file: str, offset: int, size: int) -> Any:
        key = (os.getpid(), self.where, self.base.stamp(file), file, offset)
        if key not in _frames:
            _frames[key] = read_frame(self.base, file, offset, size)
            while len(_frames) > KEPT:
                _frames.popitem(last=False)
        _frames.move_to_end(key)
        return _frames[key]

    def _part(self, frame: Any, sensor: str, name: str) -> bytes:
        if sensor in CAMERAS:
            pictures = [image.image for image in frame.images if image.name == CAMERAS[sensor]]
            if not pictures or not pictures[0]:
                raise DwmError(f"{name}: the record has no picture of {sensor}; fetch the file again")
            return pictures[0]
        if sensor in LIDARS:
            return sweep(frame, sensor, name).tobytes()
        raise DwmError(f"{name}: Waymo has no sensor {sensor} ({', '.join((*CAMERAS, *LIDARS))})")


_frames: OrderedDict[tuple[int, str, str, str, int], Any] = OrderedDict()
