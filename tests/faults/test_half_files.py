"""Files that are half there: noticed when they are read, and never left under their final name."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

sys.path.append(str(Path(__file__).parents[1] / "data"))

from made_up_nuscenes import make_files, make_tables, write

from dwm.data import open_dataset
from dwm.data.nuscenes.dataset import NuScenesTables
from dwm.data.package.convert import to_package
from dwm.data.package.schema import PackageTables
from dwm.data.recording import save_recording
from dwm.errors import DwmError
from dwm.storage import kept_tables, load_tables, open_tree, working_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write(tmp_path_factory.mktemp("set"), make_files(make_tables(scenes=("scene-0103",), samples=2)))


def kept(place: Path) -> tuple[int, Path]:
    """How often the tables had to be computed, and where they lie."""
    computed: list[int] = []

    def build() -> dict[str, pa.Table]:
        computed.append(1)
        return {"numbers": pa.table({"n": np.arange(50_000)})}

    tables, where = kept_tables(place, "some", "key", build)
    assert tables["numbers"]["n"].to_pylist() == list(range(50_000)) and where is not None
    return len(computed), where


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.9, 0.999])
def test_a_torn_page_of_a_kept_table_is_noticed_and_computed_anew(tmp_path: Path, share: float) -> None:
    computed, where = kept(tmp_path)
    assert computed == 1 and kept(tmp_path)[0] == 0
    with (where / "numbers.arrow").open("r+b") as file:
        file.seek(int(share * (where / "numbers.arrow").stat().st_size))
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 255]))
    assert load_tables(where) is None
    assert kept(tmp_path)[0] == 1 and kept(tmp_path)[0] == 0


def test_what_was_verified_before_the_machine_started_is_verified_again(tmp_path: Path, monkeypatch) -> None:
    _, where = kept(tmp_path)
    kept(tmp_path)
    times = (where / "numbers.arrow").stat()
    data = bytearray((where / "numbers.arrow").read_bytes())
    data[-2000] ^= 1  # torn on the disk: neither size nor time tell
    with (where / "numbers.arrow").open("r+b") as file:
        file.write(data)
    os.utime(where / "numbers.arrow", ns=(times.st_atime_ns, times.st_mtime_ns))
    (tmp_path / "start").write_text("another start of the machine")
    monkeypatch.setattr("dwm.storage.seal.START", tmp_path / "start")
    assert kept(tmp_path)[0] == 1


def test_a_kept_table_without_its_seal_is_computed_anew(tmp_path: Path) -> None:
    _, where = kept(tmp_path)
    (where / "seal.json").unlink()
    assert kept(tmp_path)[0] == 1


def test_torn_pages_of_a_package_are_noticed(folder: Path, tmp_path: Path) -> None:
    package = to_package(NuScenesTables(open_tree(folder), "v1.0-mini"), tmp_path / "package").path
    tables = sorted(package.glob("*.parquet"))
    assert len(tables) == 7
    for table in tables:
        whole, meta = table.read_bytes(), pq.ParquetFile(table).metadata
        for group in range(meta.num_row_groups):
            for number in range(meta.row_group(group).num_columns):
                column = meta.row_group(group).column(number)
                data = bytearray(whole)
                data[column.data_page_offset + column.total_compressed_size // 2] ^= 4
                table.write_bytes(data)
                try:
                    again = pq.read_table(table, page_checksum_verification=True)
                    assert again.equals(pq.read_table(pa.BufferReader(whole)))
                except (OSError, pa.ArrowException):
                    with pytest.raises(DwmError, match=table.name):
                        PackageTables(open_tree(package)).read(table.stem)
        table.write_bytes(whole)


@pytest.mark.skipif(sys.platform != "linux" or not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_recording_on_a_full_disk_is_an_error_and_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("rerun")
    import resource

    clip = open_dataset(folder)["scene-0103"].clip(0, 1, 2)
    whole = save_recording(clip, tmp_path / "whole.rrd").stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (whole // 2, limits[1]))  # the system refuses more, as a full disk does
    try:
        with pytest.raises(DwmError, match=r"cut\.rrd: cannot be written"):
            save_recording(clip, tmp_path / "cut.rrd")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert [path.name for path in tmp_path.iterdir()] == ["whole.rrd"]


def test_what_a_killed_packing_left_is_cleared_by_the_next(tmp_path: Path) -> None:
    work = (
        "import sys, time\nfrom pathlib import Path\nfrom dwm.data.package.writer import staged\n"
        "with staged(Path(sys.argv[1])) as folder:\n"
        "    (folder / 'a').write_text('x'); print('ready', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", work, tmp_path / "x.zip"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stdout.readline()
        process.kill()
    deadline = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert list(tmp_path.iterdir())
    from dwm.data.package.writer import staged

    with staged(tmp_path / "x.zip") as made:
        (made / "a").write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == ["x.zip"]


def test_a_working_folder_is_gone_at_its_end(tmp_path: Path) -> None:
    with pytest.raises(ValueError), working_folder(tmp_path / "x.zip") as folder:
        (folder / "a").write_text("x")
        raise ValueError
    assert not list(tmp_path.iterdir())
