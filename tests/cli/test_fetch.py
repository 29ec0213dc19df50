"""`dwm fetch`: from a server on this machine to a file that the networks load."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from dwm.cli.main import run
from dwm.evaluation.networks.files import FILES, digest, load_features
from dwm.evaluation.networks.i3d import I3D


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "served").mkdir()
    http = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path / "served")))
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{http.server_port}"
    http.shutdown()
    http.server_close()
    thread.join()


def dwm(*arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        run(list(arguments))
    return int(end.value.code)


def test_a_fetched_file_is_loaded_by_its_score(
    tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    published = tmp_path / "served" / "i3d.pt"
    torch.save({key: value for key, value in I3D().state_dict().items() if "num_batches" not in key}, published)
    file = replace(FILES["i3d"], url=f"{address}/i3d.pt", sha256=digest(published))
    monkeypatch.setitem(FILES, "i3d", file)
    assert dwm("fetch", "i3d", "-o", str(tmp_path / "features")) == 0
    assert "i3d_pretrained_400.pt  50.9 MB" in capsys.readouterr().out
    load_features(I3D(), "i3d", tmp_path / "features")
    published.unlink()
    assert dwm("fetch", "i3d", "-o", str(tmp_path / "features")) == 0, "what is there is not fetched again"


def test_a_file_of_another_network_is_not_kept(
    tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"weight": torch.zeros(3)}, tmp_path / "served" / "other.pt")
    monkeypatch.setitem(FILES, "i3d", replace(FILES["i3d"], url=f"{address}/other.pt"))
    assert dwm("fetch", "i3d", "-o", str(tmp_path / "features")) == 1
    assert "missing, surplus" in capsys.readouterr().err
    assert list((tmp_path / "features").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "words"), [("incepton", "nearest: inception"), ("stable-diffusion-2-1", "come from their publisher")]
)
def test_unknown_names_are_one_line(name: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert dwm("fetch", name) == 1
    assert words in capsys.readouterr().err
