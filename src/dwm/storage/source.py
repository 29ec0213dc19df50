"""Bytes by position: `read_at(offset, size)` of a local or remote file. Holds no file position, so that forked processes
and threads may share one; a copy sent to another process opens the file anew."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import fsspec
from fsspec.implementations.local import LocalFileSystem
from fsspec.spec import AbstractFileSystem

from dwm.errors import DwmError
from dwm.storage.files import open_file
from dwm.strict_json import LFS

BELOW = ("aiobotocore", "aiohttp", "botocore", "fsspec", "s3fs", "urllib3")
PROTOCOLS = ("s3", "s3a", "http", "https", "memory")
"""What URLs may begin with; `memory` is fsspec's own, for tests. All others that fsspec knows run or fetch more than a file."""
SHOWN_PROTOCOLS = ("s3", "https", "http")
FIXES = {
    "Credentials": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or FSSPEC_S3_ANON=true for a public bucket",
    "Permission": "may these credentials read it?",
    "Connection": "is AWS_ENDPOINT_URL, or the endpoint given, right?",
}
"""By the error's name, what its user can do."""


@runtime_checkable
class Source(Protocol):
    """A file whose bytes are read by position."""

    @property
    def name(self) -> str: ...

    @property
    def size(self) -> int: ...

    @property
    def stamp(self) -> str:
        """Changes when the file does."""
        ...

    @property
    def beside(self) -> str | Path:
        """The folder, or URL, that it lies in."""
        ...

    def read_at(self, offset: int, size: int) -> bytes:
        """At most `size` bytes from `offset`; fewer only at the end of the file."""
        ...


class LocalSource:
    """A file on this machine, by `pread`."""

    def __init__(self, path: str | Path) -> None:
        self.name, self.beside = str(path), Path(path).parent
        self._open()

    def _open(self) -> None:
        self._file = open_file(self.name)
        status = os.fstat(self._file)
        self.size, self.stamp = status.st_size, f"{status.st_size}-{status.st_mtime_ns}"

    def read_at(self, offset: int, size: int) -> bytes:
        parts = []
        while size > 0 and (part := os.pread(self._file, min(size, 1 << 30), offset)):
            parts.append(part)
            offset, size = offset + len(part), size - len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def __getstate__(self) -> str:
        return self.name

    def __setstate__(self, name: str) -> None:
        self.__init__(name)

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            os.close(self._file)


class RemoteSource:
    """A file behind a URL (s3://, https://), by ranged requests."""

    def __init__(self, url: str, endpoint: str | None = None) -> None:
        self.name, self.endpoint = url, endpoint
        self.beside = folder_key(url.rpartition("/")[0], endpoint)
        self._open()

    def _open(self) -> None:
        self._process = os.getpid()
        self._system, self._path = remote(self.name, self.endpoint)
        with reaching(self.name):
            info = self._system.info(self._path)
        self.size, self.stamp = int(info["size"]), remote_stamp(info)

    def read_at(self, offset: int, size: int) -> bytes:
        if self._process != os.getpid():  # connections do not survive a fork
            self._process = os.getpid()
            self._system, self._path = remote(self.name, self.endpoint)
        stop = min(self.size, offset + size)
        if stop <= offset:
            return b""
        with reaching(self.name):
            return self._system.cat_file(self._path, start=offset, end=stop)  # type: ignore[return-value]  # of one path: bytes

    def __reduce__(self) -> tuple[Any, ...]:
        return RemoteSource, (self.name, self.endpoint)


def folder_key(url: str, endpoint: str | None) -> str:
    """What tells a remote folder from others: its URL, and the server where that is not the protocol's own."""
    return url if endpoint is None else f"{url} at {endpoint}"


def remote(url: str, endpoint: str | None = None) -> tuple[AbstractFileSystem, str]:
    """The file system and the path within it. `endpoint` names another server than the protocol's own, for S3.

    Raises DwmError for another protocol than `PROTOCOLS`, a URL within a URL, one with a password in it, and with the install
    line where support is missing.
    """
    if "://" not in url:
        system = LocalFileSystem()
        return system, str(system._strip_protocol(url))
    check_url(url)
    try:
        return fsspec.core.url_to_fs(url, **({} if endpoint is None else {"endpoint_url": endpoint}))
    except ImportError as error:
        raise DwmError(f"{url}: cannot be opened ({error}); install dwm[s3]") from error
    except (ValueError, TypeError, OSError) as error:
        raise DwmError(f"{url}: cannot be opened ({error}); is it spelled right?") from error


def check_url(url: str) -> None:
    """Raises DwmError for a URL that is not read, or that would put a password into logs and saved runs."""
    protocol, _, rest = url.partition("://")
    if protocol.lower() not in PROTOCOLS or "::" in url:
        raise DwmError(
            f"{url[:200]}: URLs of this kind are not read (only {', '.join(f'{name}://' for name in SHOWN_PROTOCOLS)} and "
            "plain paths); fetch it, and name the file or folder"
        )
    if "@" in rest.partition("/")[0] or (":" in rest.partition("@")[0] and "@" in rest):
        raise DwmError(f"{url[:200]}: holds a name or password, which runs would keep; {FIXES['Credentials']}")
    if not rest.strip("/") or "\0" in rest:
        raise DwmError(f"{url[:200]}: names no bucket or server; write for example s3://bucket/nuscenes")


KINDS = {
    b"PK\3\4": "a zip",
    b"\x1f\x8b": "packed with gzip",
    b"BZh": "packed with bzip2",
    b"\xfd7z": "packed with xz",
    b"(\xb5/": "packed with zstd",
    b"<": "a web page",
    LFS: "a pointer of Git LFS, which `git lfs pull` replaces by the file",
    b"\xff\xd8": "a picture",
    b"\x89PN": "a picture",
}


def seems(source: Source) -> str:
    """What a file seems to be by its first bytes, in words."""
    head = source.read_at(0, 512)
    if not head.strip(b"\0"):
        return "empty" if not source.size else "zeros"
    if head[257:262] == b"ustar":
        return "a tar"
    return next((words for magic, words in KINDS.items() if head.startswith(magic)), "something else")


@contextmanager
def reaching(url: str) -> Iterator[None]:
    """Turns what goes wrong on the way to a remote file into one line."""
    try:
        yield
    except FileNotFoundError as error:
        raise DwmError(f"{url}: does not exist; check the path") from error
    except Exception as error:
        # The libraries below raise errors of their own beside the system's.
        if not isinstance(error, OSError) and type(error).__module__.partition(".")[0] not in BELOW:
            raise
        words = str(error).splitlines()[0] if str(error) else repr(error)
        fix = next((fix for name, fix in FIXES.items() if name in type(error).__name__), "try again later")
        raise DwmError(f"{url}: cannot be read ({words}); {fix}") from error


def remote_stamp(info: Mapping[str, Any]) -> str:
    """Changes when a remote file does: its size and what its system tells of its version or time."""
    stamps = (info.get(name) for name in ("ETag", "etag", "LastModified", "last_modified", "mtime", "created"))
    return f"{info.get('size')}-{next((str(value) for value in stamps if value), '')}"


class Window(io.RawIOBase):
    """A part of a source as a file of its own, with its own position."""

    def __init__(self, source: Source, offset: int, size: int) -> None:
        self.source, self.offset, self.size, self.position = source, offset, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.position = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.position, io.SEEK_END: self.size}[whence])
        return self.position

    def tell(self) -> int:
        return self.position

    def readinto(self, buffer: Any) -> int:
        size = max(0, min(len(buffer), self.size - self.position))
        data = self.source.read_at(self.offset + self.position, size)
        buffer[: len(data)] = data
        self.position += len(data)
        return len(data)


def as_file(source: Source, offset: int = 0, size: int | None = None) -> io.BufferedReader:
    """A readable, seekable file over a source or a part of it. Read ahead is more where each request takes a while."""
    window = Window(source, offset, source.size - offset if size is None else size)
    return io.BufferedReader(window, 1 << 18 if isinstance(source, LocalSource) else 1 << 22)
