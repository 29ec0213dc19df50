"""A file from http(s) to a folder: bounded, resumed where the server can, checked, and only then in its place."""

from __future__ import annotations

import errno
import hashlib
import http.client
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from dwm.errors import DwmError
from dwm.progress import track

CHUNK = 1_000_000
TIMEOUT = 30.0
"""Seconds without a byte."""


def download(
    url: str,
    path: Path,
    most: int,
    size: int | None = None,
    sha256: str | None = None,
    check: Callable[[Path], object] | None = None,
) -> Path:
    """Fetches `url` to `path`. What came before an interruption stays beside it as `.NAME.part`; the next call goes on from there.

    `most` bounds the bytes that are written; `size` and `sha256` are what the whole file must have; `check` raises for what is not
    the file that was meant. Raises DwmError for all that goes wrong, and never leaves a wrong file at `path`.
    """
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise DwmError(f"{url}: not an address of http or https")
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _receive(url, part, most, size)
        _check(url, part, size, sha256, check)
        part.replace(path)
    except OSError as error:
        raise DwmError(f"{error.filename or path}: cannot be written ({error.strerror or error})") from error
    return path


def _receive(url: str, part: Path, most: int, size: int | None) -> None:
    have = part.stat().st_size if part.is_file() else 0
    if have and have == size:
        return
    if have >= min(most, size or most):
        part.unlink()
        have = 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with _opener().open(request, timeout=TIMEOUT) as answer:
            resumed = have if _goes_on(answer, have) else 0
            total = _total(answer, resumed, url, most, size)
            with part.open("ab" if resumed else "wb") as stream:
                for chunk in _chunks(answer, total, resumed, part.name[1:-5]):
                    resumed += len(chunk)
                    if resumed > most:
                        raise _Refused(f"{url}: sends more than the {most} bytes that the file can have")
                    stream.write(chunk)
            if total is not None and resumed < total:
                raise http.client.IncompleteRead(b"", total - resumed)
    except _Refused as error:
        part.unlink(missing_ok=True)
        raise DwmError(str(error)) from None
    except urllib.error.HTTPError as error:
        if error.code == 416:  # what lies here is no beginning of that file
            part.unlink(missing_ok=True)
        raise DwmError(f"{url}: the server answers {error.code} {error.reason}; {_again(part)}") from None
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or error
        raise DwmError(f"{url}: {type(error).__name__} ({reason}); {_again(part)}") from None
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DwmError(
                f"{part}: no room left; free {((size or most) - have) / 1e6:.0f} MB, and run it again"
            ) from None
        raise


class _Refused(Exception):
    pass


def _goes_on(answer: http.client.HTTPResponse, have: int) -> bool:
    """Whether the server sends what follows, and not all from the start."""
    return bool(have) and answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")


def _total(answer: http.client.HTTPResponse, have: int, url: str, most: int, size: int | None) -> int | None:
    length = answer.headers.get("Content-Length", "")
    if not length.isdigit():
        return size
    total = have + int(length)
    if total > most or (size is not None and total != size):
        raise _Refused(f"{url}: would be {total} bytes, expected {size or f'at most {most}'}; is it another file?")
    return total


def _chunks(answer: http.client.HTTPResponse, total: int | None, have: int, name: str) -> Iterator[bytes]:
    def read() -> Iterator[bytes]:
        while chunk := answer.read(CHUNK):
            yield chunk

    left = None if total is None else max(1, -(-(total - have) // CHUNK))
    yield from track(read(), f"fetch {name}", left, "MB")


def _check(url: str, part: Path, size: int | None, sha256: str | None, check: Callable[[Path], object] | None) -> None:
    try:
        if size is not None and part.stat().st_size != size:
            raise DwmError(f"{url}: sent {part.stat().st_size} bytes, expected {size}; run it again")
        if sha256 is not None and (checksum := _digest(part)) != sha256:
            raise DwmError(f"{url}: sent a file with SHA-256 {checksum}, expected {sha256}; it was not kept")
        if check is not None:
            check(part)
    except DwmError:
        part.unlink(missing_ok=True)
        raise


def _digest(path: Path) -> str:
    checksum = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            checksum.update(chunk)
    return checksum.hexdigest()


def _again(part: Path) -> str:
    have = part.stat().st_size if part.is_file() else 0
    return f"{have / 1e6:.1f} MB are here; run it again to go on" if have else "nothing was written; try again later"


def _opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(_WebOnly())


class _WebOnly(urllib.request.HTTPRedirectHandler):
    """Redirections stay on http and https."""

    def redirect_request(self, request, fp, code, message, headers, address):  # type: ignore[no-untyped-def]
        if urllib.parse.urlsplit(address).scheme not in ("http", "https"):
            raise _Refused(f"{request.full_url}: leads to {address}, which is not http or https")
        return super().redirect_request(request, fp, code, message, headers, address)
