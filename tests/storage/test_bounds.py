"""Sizes that files claim are compared with bounds before memory is taken; one variable raises them."""

import gzip
import io
import tarfile
import tracemalloc
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dwm.data.pictures import open_picture
from dwm.data.tables.parquet import read_parquet
from dwm.errors import DwmError
from dwm.storage import limits, open_tree, read_file, zip_tar

MB = 1 << 20


def test_a_large_file_is_refused_before_it_is_read(tmp_path, monkeypatch):
    with (tmp_path / "map.json").open("wb") as file:
        file.truncate(40 << 30)  # it takes no room
    for read in (lambda: read_file(tmp_path / "map.json"), lambda: open_tree(tmp_path).read("map.json")):
        with pytest.raises(DwmError, match=r"map\.json: 40\.0 GiB are more .*DWM_MAX_BYTES=40G"):
            read()
    with (tmp_path / "small").open("wb") as file:
        file.truncate(3 * MB)
    monkeypatch.setenv("DWM_MAX_BYTES", "2M")
    with pytest.raises(DwmError, match="DWM_MAX_BYTES=3M"):
        read_file(tmp_path / "small")
    monkeypatch.setenv("DWM_MAX_BYTES", "3M")
    assert len(read_file(tmp_path / "small")) == 3 * MB


@pytest.mark.parametrize(
    "text, size", [("8G", 8 << 30), ("4e9", 4 * 10**9), ("500 MB", 500 << 20), ("1.5GiB", 3 << 29)]
)
def test_the_variable_is_a_number_of_bytes(monkeypatch, text, size):
    monkeypatch.setenv("DWM_MAX_BYTES", text)
    assert limits.bound(1) == size


def test_a_variable_that_is_no_number_is_said(monkeypatch):
    monkeypatch.setenv("DWM_MAX_BYTES", "much")
    with pytest.raises(DwmError, match="DWM_MAX_BYTES='much'"):
        limits.bound(1)


def test_a_member_that_swells_is_refused(tmp_path, monkeypatch):
    with (
        zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("a.json", "w") as file,
    ):
        for _ in range(80):
            file.write(b" " * MB)
    tree = open_tree(tmp_path / "bomb.zip")
    tracemalloc.start()
    for read in (tree.read, lambda name: tree.open(name).read(1)):
        with pytest.raises(DwmError, match=r"member a\.json would become 80\.0 MiB from .*DWM_MAX_BYTES=80M"):
            read("a.json")
    assert tracemalloc.get_traced_memory()[1] < MB
    tracemalloc.stop()
    monkeypatch.setenv("DWM_MAX_BYTES", "80M")
    assert len(tree.read("a.json")) == 80 * MB


def _header(kind: bytes, size: int) -> bytes:
    info = tarfile.TarInfo("header")
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK])
@pytest.mark.parametrize("packed", [True, False])
def test_a_header_without_end_is_refused(tmp_path, kind, packed):
    size = 200 * MB
    with (gzip.open if packed else open)(tmp_path / "set.tar", "wb", *((1,) if packed else ())) as file:
        file.write(_header(kind, size))
        for _ in range(size // MB):
            file.write(b"0" * MB)
        file.write(bytes(1024))
    tracemalloc.start()
    with pytest.raises(DwmError, match=r"a header of more than 8\.0 MiB"):
        zip_tar(tmp_path / "set.tar", tmp_path / "set.zip")
    if not packed:
        with pytest.raises(DwmError, match="a header of more than"):
            open_tree(tmp_path / "set.tar")
    assert tracemalloc.get_traced_memory()[1] < 40 * MB
    tracemalloc.stop()
    assert not (tmp_path / "set.zip").exists()


def test_headers_one_after_another_count_as_one(tmp_path):
    with (tmp_path / "set.tar").open("wb") as file:
        for _ in range(12):
            file.write(_header(tarfile.GNUTYPE_LONGNAME, MB) + b"n" * MB)
        file.write(_header(tarfile.REGTYPE, 0) + bytes(1024))
    with pytest.raises(DwmError, match="a header of more than"):
        open_tree(tmp_path / "set.tar")


def test_a_sparse_member_is_not_written_out(tmp_path):
    holes = b"1\n0\n1\n".ljust(512, b"\0")
    info = tarfile.TarInfo("GNUSparseFile.0/holes")
    info.size = 513
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "holes"}
    info.pax_headers["GNU.sparse.realsize"] = str(1 << 40)
    with tarfile.open(tmp_path / "sparse.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(info, io.BytesIO(holes + b"x"))
    with pytest.raises(DwmError, match=r"member 'holes' is sparse.*--sparse"):
        zip_tar(tmp_path / "sparse.tar", tmp_path / "out.zip")


@pytest.mark.parametrize("sign", [b"\x80" + b"\xff" * 11, b"\xff" * 12])
def test_a_member_of_impossible_size_is_one_line(tmp_path, sign):
    header = bytearray(tarfile.TarInfo("a").tobuf())
    header[124:136], header[148:156] = sign, b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    (tmp_path / "set.tar").write_bytes(header + bytes(1024))
    for work in (lambda: zip_tar(tmp_path / "set.tar", tmp_path / "set.zip"), lambda: open_tree(tmp_path / "set.tar")):
        with pytest.raises(DwmError, match=r"set\.tar"):
            work()


@pytest.mark.parametrize(
    "values",
    [
        pa.array(["x" * 20_000] * 50_000),
        pa.array([["x" * 20_000] * 10] * 5_000),
        pa.array([1.5] * 60_000_000, pa.float64()),
    ],
    ids=["texts", "lists", "numbers"],
)
def test_a_column_that_repeats_one_value_is_refused_before_it_is_unpacked(tmp_path, monkeypatch, values):
    pq.write_table(pa.table({"words": values.slice(0, 0)}), tmp_path / "words.parquet")
    pq.write_table(pa.table({"words": values}), tmp_path / "words.parquet", compression="zstd")
    assert (tmp_path / "words.parquet").stat().st_size < MB
    monkeypatch.setenv("DWM_MAX_BYTES", "100M")
    before = pa.default_memory_pool().bytes_allocated()
    with (tmp_path / "words.parquet").open("rb") as file, pytest.raises(DwmError, match=r"words\.parquet: a table"):
        read_parquet(file, "words.parquet")
    assert pa.default_memory_pool().bytes_allocated() - before < 10 * MB


def test_a_table_reads_as_it_was_written(tmp_path):
    table = pa.table({"a": ["x", None, "yy"], "b": [["p"], [], ["q", "r"]], "c": [1, 2, 3], "d": [b"1", b"2", b"2"]})
    pq.write_table(table, tmp_path / "t.parquet")
    with (tmp_path / "t.parquet").open("rb") as file:
        assert read_parquet(file, "t.parquet").to_pylist() == table.to_pylist()


def test_a_picture_that_claims_too_many_pixels_is_refused():
    from PIL import Image

    data = io.BytesIO()
    Image.new("1", (13_000, 13_000)).save(data, "PNG")
    assert len(data.getvalue()) < MB
    with pytest.raises(DwmError, match=r"front\.png: a picture of 13000×13000: 644\.\d MiB"):
        open_picture(data.getvalue(), "front.png")


def test_a_picture_in_a_format_that_starts_programs_is_none():
    with pytest.raises(OSError, match="cannot identify"):
        open_picture(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n", "front.jpg")
