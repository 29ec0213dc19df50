"""Downloads from a server on this machine: whole, cut and resumed, wrong, too large."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from dwm.errors import DwmError
from dwm.storage.download import download

CONTENT = bytes(range(256)) * 12_000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Server:
    """Serves CONTENT; `cut` ends an answer after so many bytes, `ranges` answers to Range, `length` tells how long it is."""

    address: str = ""
    cut: int | None = None
    ranges: bool = True
    length: bool = True
    leads_to: str | None = None
    asked: list[str | None] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Server]:
    settings = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            settings.asked.append(wanted)
            if settings.leads_to:
                self.send_response(302)
                self.send_header("Location", settings.leads_to)
                self.end_headers()
                return
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted and settings.ranges else 0
            rest = CONTENT[start:]
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
            if settings.length:
                self.send_header("Content-Length", str(len(rest)))
            self.end_headers()
            self.wfile.write(rest[: settings.cut])

        def log_message(self, *_: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    settings.address = f"http://127.0.0.1:{http.server_port}/file.pth"
    yield settings
    http.shutdown()
    http.server_close()
    thread.join()


def fetch(server: Server, path: Path, **changes: object) -> Path:
    arguments = {"most": 10_000_000, "size": len(CONTENT), "sha256": DIGEST, **changes}
    return download(server.address, path, **arguments)


def test_a_file_comes_whole(server: Server, tmp_path: Path) -> None:
    path = fetch(server, tmp_path / "features" / "file.pth")
    assert path.read_bytes() == CONTENT
    assert [item.name for item in path.parent.iterdir()] == ["file.pth"]


def test_what_was_cut_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "file.pth"
    server.cut = 1_000_000
    with pytest.raises(DwmError, match=r"1\.0 MB are here; run it again"):
        fetch(server, path)
    assert not path.exists()
    server.cut = None
    assert fetch(server, path).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=1000000-"]


def test_a_server_without_ranges_starts_again(server: Server, tmp_path: Path) -> None:
    server.cut, server.ranges = 1_000_000, False
    with pytest.raises(DwmError, match="run it again"):
        fetch(server, tmp_path / "file.pth")
    server.cut = None
    assert fetch(server, tmp_path / "file.pth").read_bytes() == CONTENT


def test_a_beginning_of_another_file_is_not_kept(server: Server, tmp_path: Path) -> None:
    (tmp_path / ".file.pth.part").write_bytes(b"something else")
    with pytest.raises(DwmError, match=DIGEST):
        fetch(server, tmp_path / "file.pth")
    assert list(tmp_path.iterdir()) == []
    assert fetch(server, tmp_path / "file.pth").read_bytes() == CONTENT


@pytest.mark.parametrize("length", [True, False])
def test_more_than_the_file_can_have_is_refused(server: Server, tmp_path: Path, length: bool) -> None:
    server.length = length
    with pytest.raises(DwmError, match=r"expected at most 2000000|more than the 2000000"):
        fetch(server, tmp_path / "file.pth", most=2_000_000, size=None)
    assert list(tmp_path.iterdir()) == []


def test_another_size_is_refused_before_it_comes(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DwmError, match=f"would be {len(CONTENT)} bytes, expected 5"):
        fetch(server, tmp_path / "file.pth", size=5)
    assert list(tmp_path.iterdir()) == []


def test_what_the_check_refuses_is_not_kept(server: Server, tmp_path: Path) -> None:
    def check(path: Path) -> None:
        raise DwmError("not a network")

    with pytest.raises(DwmError, match="not a network"):
        fetch(server, tmp_path / "file.pth", check=check)
    assert list(tmp_path.iterdir()) == []


def test_only_the_web_is_asked(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DwmError, match="not an address of http"):
        download(f"file://{tmp_path}/a", tmp_path / "b", 10)
    server.leads_to = "ftp://127.0.0.1/a"
    with pytest.raises(DwmError, match="not http or https"):
        fetch(server, tmp_path / "file.pth")


def test_a_server_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DwmError, match="nothing was written"):
        download("http://127.0.0.1:9/file", tmp_path / "file", 10)
