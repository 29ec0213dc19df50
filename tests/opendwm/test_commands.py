"""OpenDWM's commands, typed as its users type them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import warnings
import zipfile
from pathlib import Path

import pytest

from dwm.cli.main import outcome
from dwm.errors import DwmError
from dwm.opendwm.commands import parse
from dwm.opendwm.commands.elsewhere import ELSEWHERE
from dwm.opendwm.commands.info_json import below

ROOT = Path(__file__).parents[2]


def test_a_warning_of_a_command_is_one_line_without_its_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    assert outcome(lambda: None) == 0
    assert warnings.formatwarning("a word", UserWarning, __file__, 1) == "dwm: a word\n"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A tar of a picture, points, and words."""
    for name, content in {"a.jpg": b"\xff\xd8" * 900, "b.bin": b"\0" * 900, "c.xml": b"x" * 900}.items():
        (tmp_path / name).write_bytes(content)
    with tarfile.open(tmp_path / "in.tgz", "w:gz") as tar:
        for name in ("a.jpg", "b.bin", "c.xml"):
            tar.add(tmp_path / name, name)
    return tmp_path / "in.tgz"


def typed(monkeypatch: pytest.MonkeyPatch, command, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["x", *map(str, words)])
    return outcome(command)


@pytest.mark.parametrize(
    ("flags", "deflated"),
    [
        ([], {"b.bin"}),
        (["-e", ".xml|.jpg"], {"a.jpg", "c.xml"}),
        (["--extensions-to-compress", ".xml:.bin"], {"b.bin", "c.xml"}),
        (["-e", ""], set()),
    ],
)
def test_tar2zip_compresses_the_endings_that_are_named(archive, monkeypatch, flags, deflated):
    target = archive.with_suffix(".zip")
    assert typed(monkeypatch, parse.tar_to_zip, "-i", archive, "-o", target, *flags) == 0
    with zipfile.ZipFile(target) as made:
        assert {item.filename for item in made.infolist() if item.compress_type == zipfile.ZIP_DEFLATED} == deflated


def test_tar2zip_salvages_what_is_whole_and_says_so(archive, monkeypatch, capsys):
    plain = archive.with_name("cut.tar")
    with tarfile.open(plain, "w") as tar:
        for name in ("a.jpg", "b.bin"):
            tar.add(archive.with_name(name), name)
    plain.write_bytes(plain.read_bytes()[:3600])
    target = archive.with_name("cut.zip")
    assert typed(monkeypatch, parse.tar_to_zip, "-i", plain, "-o", target) == 1 and not target.exists()
    assert "--salvage" in capsys.readouterr().err
    assert typed(monkeypatch, parse.tar_to_zip, "-i", plain, "-o", target, "--salvage") == 3
    with zipfile.ZipFile(target) as made:
        assert made.namelist() == ["a.jpg"]


def test_indexes_are_made_of_archives_that_a_file_system_names(archive, monkeypatch, tmp_path):
    (tmp_path / "set").mkdir()
    with zipfile.ZipFile(tmp_path / "set" / "one.zip", "w") as made:
        made.writestr("a.txt", "words")
    settings = tmp_path / "fs.json"
    settings.write_text(json.dumps({"_class_name": "dwm.fs.dirfs.DirFileSystem", "path": str(tmp_path)}))
    flags = ["-dt", "nuscenes", "-i", "set", "-o", tmp_path / "info", "-fs", settings]
    assert typed(monkeypatch, parse.dataset_info, *flags) == 0
    assert json.loads((tmp_path / "info" / "one.info.json").read_text()) == {"a.txt": [0, 5, False]}
    flags = ["-i", "set/one.zip", "-o", tmp_path / "one.json", "-fs", settings]
    assert typed(monkeypatch, parse.archive_info, *flags) == 0
    assert json.loads((tmp_path / "one.json").read_text()) == {"a.txt": [0, 5, False]}


def test_a_bucket_of_a_file_system_is_a_url_with_its_service(shared):
    folder = shared / "reference" / "configs" / "fs"
    assert below(folder / "local_nuscenes.json", "v1.0.zip")[0].endswith("/data/nuscenes/v1.0.zip")
    place, service = below(folder / "s3_cn_sh.json", "bucket/a.zip")
    assert place == "s3://bucket/a.zip" and service.startswith("http://aoss-internal")
    with pytest.raises(DwmError, match="reads members of 11 archives"):
        below(folder / "local_czip_nuscenes.json", "a.zip")


@pytest.mark.parametrize("name", sorted(ELSEWHERE))
def test_commands_that_are_not_here_say_in_one_line_what_does_their_job(name: str):
    (script,) = (ROOT / "src" / "dwm").rglob(f"{name}.py")
    environment = {**os.environ, "PYTHONPATH": ""}
    found = subprocess.run(
        [sys.executable, str(script), "-c", "x.json", "-o", "out"], env=environment, capture_output=True, text=True
    )
    assert found.returncode == 1 and found.stdout == ""
    assert found.stderr.splitlines() == [f"dwm: {name}: {ELSEWHERE[name]}"]
