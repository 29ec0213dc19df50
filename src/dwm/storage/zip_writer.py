"""Writes a zip member after member, deflated by several threads: one thread deflates LiDAR slower than any disk takes it."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from dwm.storage.members import Readable

BLOCK = 1 << 20
AT_ONCE = 16 << 20
"""Bytes up to which a member is held whole; a larger one is copied in blocks, by one thread."""
AHEAD = 64 << 20
"""Bytes that are read ahead of the writing, so that all threads have work."""
LEVEL = 1
"""zlib's: LiDAR and tables shrink nearly as well as at 6, at several times the speed."""


class ZipWriter:
    """A zip that is being written; `sums` tells (bytes, checksum) of each member. Use it as a context."""

    def __init__(self, path: Path, threads: int | None = None) -> None:
        self.sums: dict[str, tuple[int, int]] = {}
        self._archive = zipfile.ZipFile(path, "w", allowZip64=True)
        self._pool = ThreadPoolExecutor(threads or min(16, os.cpu_count() or 1))
        self._waiting: deque[tuple[zipfile.ZipInfo, bytes, Future[bytes] | None]] = deque()
        self._ahead = 0

    def __enter__(self) -> ZipWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            while kind is None and self._waiting:
                self._write_next()
        finally:
            self._pool.shutdown(cancel_futures=True)
            self._archive.close()

    def add(self, info: zipfile.ZipInfo, content: Readable) -> None:
        """Adds a member of `info.file_size` bytes. Raises EOFError, and adds nothing, where `content` is shorter.

        A member above `AT_ONCE` bytes is copied as it is read: only there a short one is found too late to leave it out.
        """
        if info.file_size > AT_ONCE:
            while self._waiting:
                self._write_next()
            self._copy(info, content)
            return
        data = content.read(info.file_size)
        _expect(info, len(data))
        job = self._pool.submit(_deflated, data) if info.compress_type == zipfile.ZIP_DEFLATED else None
        self._waiting.append((info, data, job))
        self._ahead += len(data)
        while self._ahead > AHEAD:
            self._write_next()

    def _write_next(self) -> None:
        info, data, job = self._waiting.popleft()
        self._ahead -= len(data)
        with self._archive.open(info, "w") as file:
            if job is not None:
                file._compressor = _Done(job.result())  # type: ignore[attr-defined]
            file.write(data)
        self.sums[info.filename] = info.file_size, info.CRC

    def _copy(self, info: zipfile.ZipInfo, content: Readable) -> None:
        size, expected = 0, info.file_size
        info._compresslevel = LEVEL  # type: ignore[attr-defined]  # what `writestr` would take as an argument
        with self._archive.open(info, "w", force_zip64=expected >= 1 << 31) as file:
            while size < expected and (data := content.read(min(BLOCK, expected - size))):
                file.write(data)
                size += len(data)
        info.file_size, written_size = expected, info.file_size
        _expect(info, written_size)
        self.sums[info.filename] = written_size, info.CRC


def _expect(info: zipfile.ZipInfo, size: int) -> None:
    if size != info.file_size:
        raise EOFError(f"{info.filename} has {size} of {info.file_size} bytes")


def _deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(LEVEL, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


class _Done:
    """Stands where `zipfile` has its compressor, and gives it what was deflated already."""

    def __init__(self, packed: bytes) -> None:
        self.packed = packed

    def compress(self, data: bytes) -> bytes:
        return b""

    def flush(self) -> bytes:
        return self.packed
