"""`zip_tar` where things go wrong: cut archives, a kill in the middle, a full disk, names that lead outside; OpenDWM's command."""

import io
import os
import random
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import pytest
from test_archives import FILES, holds_all, write_tar, write_zip

from dwm.errors import DwmError
from dwm.storage import open_tree, zip_tar, zip_writer

ROOT = Path(__file__).parents[2]
MANY = {f"samples/{i:02d}.{'bin' if i % 2 else 'jpg'}": random.Random(i).randbytes(20_000) for i in range(40)}


@pytest.mark.parametrize("threads", [1, 3])
def test_members_keep_their_order_and_content_whatever_deflates_them(tmp_path, monkeypatch, threads):
    monkeypatch.setattr(zip_writer, "AHEAD", 100_000)
    monkeypatch.setattr(zip_writer, "AT_ONCE", 15_000 if threads == 1 else 1 << 24)
    made = zip_tar(write_tar(tmp_path / "in.tar", MANY), tmp_path / "out.zip", verify=True, threads=threads)
    with zipfile.ZipFile(made.path) as archive:
        assert archive.namelist() == list(MANY) and archive.testzip() is None
        assert all(archive.read(name) == data for name, data in MANY.items())


@pytest.mark.parametrize("form", ["tar", "tgz", "zip"])
def test_what_is_whole_of_a_cut_archive_is_kept(tmp_path, form):
    path = tmp_path / f"whole.{form}"
    if form == "zip":
        write_zip(path, MANY)
    else:
        write_tar(path, MANY, "w:gz" if form == "tgz" else "w")
    cut = tmp_path / f"cut.{form}"
    cut.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DwmError, match="--salvage"):
        zip_tar(cut, tmp_path / "out.zip")
    assert not (tmp_path / "out.zip").exists()
    made = zip_tar(cut, tmp_path / "out.zip", salvage=True)
    tree = open_tree(made.path)
    assert 15 <= made.files <= 25 and made.missing
    assert list(tree.names()) == sorted(list(MANY)[: made.files])
    assert all(tree.read(name) == MANY[name] for name in tree.names())


def test_a_damaged_member_is_left_out_of_what_is_salvaged(tmp_path):
    path = write_zip(tmp_path / "in.zip", MANY)
    data = bytearray(path.read_bytes())
    data[50_000] ^= 1
    path.write_bytes(data[: len(data) // 2])
    made = zip_tar(path, tmp_path / "out.zip", salvage=True)
    assert "1 of them damaged" in made.missing
    assert "samples/02.jpg" not in list(open_tree(made.path).names())


def test_a_large_half_member_does_not_stay_in_what_is_salvaged(tmp_path, monkeypatch):
    monkeypatch.setattr("dwm.storage.tar_to_zip.AT_ONCE", 10_000)
    path = write_tar(tmp_path / "cut.tar", MANY)
    path.write_bytes(path.read_bytes()[:70_000])
    made = zip_tar(path, tmp_path / "out.zip", salvage=True)
    assert made.files == 3 and open_tree(made.path).read("samples/02.jpg") == MANY["samples/02.jpg"]


def test_a_packed_tar_whose_checksum_differs_is_refused(tmp_path):
    path = write_tar(tmp_path / "in.tgz", MANY, "w:gz")  # what cannot shrink is stored as it is, so that no code breaks
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(DwmError, match=r"in\.tgz: is no whole tar archive .*CRC"):
        zip_tar(path, tmp_path / "out.zip")
    assert not (tmp_path / "out.zip").exists()


def test_names_that_lead_outside_are_refused(tmp_path):
    for name in ("../evil.jpg", "/etc/evil.jpg"):
        with pytest.raises(DwmError, match="leads outside"):
            zip_tar(write_tar(tmp_path / "in.tar", {name: b"x"}), tmp_path / "out.zip")
    assert not (tmp_path / "out.zip").exists()


def write_members(path, kind, link=""):
    with tarfile.open(path, "w") as archive:
        archive.addfile(file := tarfile.TarInfo("b.jpg"), io.BytesIO())
        other = tarfile.TarInfo("a.jpg")
        other.type, other.linkname = kind, link
        archive.addfile(other)
        assert file.isreg()
    return path


def test_a_hard_link_is_not_lost_in_silence(tmp_path):
    tar = write_members(tmp_path / "in.tar", tarfile.LNKTYPE, "b.jpg")
    with pytest.raises(DwmError, match=r"member 'a\.jpg' is a hard link to 'b\.jpg'.*--hard-dereference"):
        zip_tar(tar, tmp_path / "out.zip")
    assert not (tmp_path / "out.zip").exists()
    with pytest.warns(UserWarning, match=r"1 links, pipes or devices are not in the zip.*'a\.jpg'"):
        assert zip_tar(tar, tmp_path / "out.zip", salvage=True).files == 1


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_what_is_no_file_is_left_out_with_a_line(tmp_path, kind):
    with pytest.warns(UserWarning, match="1 links, pipes or devices are not in the zip"):
        made = zip_tar(write_members(tmp_path / "in.tar", kind, "/etc/passwd"), tmp_path / "out.zip")
    with zipfile.ZipFile(made.path) as archive:
        assert archive.namelist() == ["b.jpg"]


def test_an_output_that_links_to_itself_is_a_line(tmp_path):
    (tmp_path / "out.zip").symlink_to(tmp_path / "out.zip")
    with pytest.raises(DwmError, match=r"out\.zip: cannot be written"):
        zip_tar(write_members(tmp_path / "in.tar", tarfile.DIRTYPE), tmp_path / "out.zip")


def test_the_place_is_looked_at_before_the_work(tmp_path):
    source = write_tar(tmp_path / "in.tar", FILES)
    with pytest.raises(DwmError, match="is a folder"):
        zip_tar(source, tmp_path)
    with pytest.raises(DwmError, match="is the source itself"):
        zip_tar(source, source)
    with pytest.raises(DwmError, match="is a zip already"):
        zip_tar(write_zip(tmp_path / "in.zip", FILES), tmp_path / "out.zip")


def test_after_a_kill_in_the_middle_the_next_run_leaves_only_the_zip(tmp_path):
    content = random.Random(0).randbytes(1 << 20)
    with tarfile.open(tmp_path / "in.tar", "w") as archive:
        for i in range(150):
            info = tarfile.TarInfo(f"{i}.bin")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    program = "import sys; from pathlib import Path; from dwm.storage import zip_tar; zip_tar(*map(Path, sys.argv[1:]))"
    names = [str(tmp_path / "in.tar"), str(tmp_path / "out.zip")]
    process = subprocess.Popen([sys.executable, "-c", program, *names])
    deadline = time.monotonic() + 60
    while not (left := list(tmp_path.glob("*.part")) + list(tmp_path.glob(".*.part"))) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL and left and not (tmp_path / "out.zip").exists()
    zip_tar(tmp_path / "in.tar", tmp_path / "out.zip", deflated=())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.tar", "out.zip"]


def test_what_another_process_is_writing_is_left_alone(tmp_path):
    from dwm.storage import atomic_write

    with atomic_write(tmp_path / "out.zip") as mine:
        mine.write_bytes(b"half")
        zip_tar(write_tar(tmp_path / "in.tar", FILES), tmp_path / "out.zip")
        assert mine.exists()


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path):
    source = write_tar(tmp_path / "in.tar", MANY)
    program = (
        "import resource, signal, sys; from dwm.cli.main import run; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000)); run(sys.argv[1:])"
    )
    told = subprocess.run(
        [sys.executable, "-c", program, "data", "zip", str(source), str(tmp_path / "out.zip")],
        capture_output=True,
        text=True,
    )
    assert told.returncode == 1 and told.stderr.count("\n") == 1 and "out.zip: cannot be written" in told.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.tar"]


@pytest.mark.parametrize("on_path", [True, False])
def test_opendwms_command_is_the_same(tmp_path, on_path):
    source = write_tar(tmp_path / "in.tar", FILES)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if on_path:
        environment["PYTHONPATH"] = "src"
    command = [
        sys.executable,
        "src/dwm/tools/tar2zip.py",
        "-i",
        str(source),
        "-o",
        str(tmp_path / "out.zip"),
        "-e",
        ".jpg|.bin",
    ]
    subprocess.run(command, check=True, cwd=ROOT, env=environment, capture_output=True)
    assert holds_all(open_tree(tmp_path / "out.zip"))
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        methods = {info.filename: info.compress_type for info in archive.infolist()}
    assert methods["samples/a.jpg"] == zipfile.ZIP_DEFLATED and methods["v1.0-mini/scene.json"] == zipfile.ZIP_STORED
