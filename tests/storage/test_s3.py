"""S3 by its real protocol: archives by ranges, long listings, a server that refuses or breaks off, forked and spawned workers."""

import json
import multiprocessing
import subprocess
import sys
import urllib.request
from pathlib import Path

import fsspec
import pytest
from s3_reader import read_many
from test_archives import FILES, holds_all, write_tar, write_zip

from dwm.config.data import SourceOptions
from dwm.data import ReadOptions, open_dataset
from dwm.errors import DwmError
from dwm.runs.clips import opened
from dwm.storage import open_tree

sys.path.append(str(Path(__file__).parents[1] / "data"))
from made_up_nuscenes import make_files, make_tables

pytest.importorskip("moto.server")
pytest.importorskip("s3fs")
BUCKET = "driving"


class Server:
    """The server of `s3_server.py`, and its controls."""

    def __init__(self, url):
        self.url = url

    def _ask(self, path, method="PUT"):
        return urllib.request.urlopen(urllib.request.Request(f"{self.url}/-/{path}", method=method)).read()

    def faults(self, **counts):
        self._ask("faults?" + "&".join(f"{name}={count}" for name, count in counts.items()))

    def fill(self, prefix, count):
        self._ask(f"fill?bucket={BUCKET}&prefix={prefix}&count={count}")

    def log(self):
        """What was asked since the last time: (method, path, range, status)."""
        return [tuple(entry) for entry in json.loads(self._ask("log", "GET"))]

    def put(self, files):
        fsspec.filesystem("s3", endpoint_url=self.url).pipe({f"{BUCKET}/{name}": data for name, data in files.items()})


@pytest.fixture(scope="module")
def process():
    script = Path(__file__).with_name("s3_server.py")
    server = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    yield Server(server.stdout.readline().strip())
    server.kill()
    server.wait()


@pytest.fixture
def server(process, monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("DWM_CACHE", str(tmp_path / "cache"))
    process.faults()
    files = fsspec.filesystem("s3", endpoint_url=process.url)
    if not files.exists(BUCKET):
        files.mkdir(BUCKET)
    return process


@pytest.fixture
def place(server, tmp_path):
    """A folder of the bucket with a zip and a tar, which together hold FILES."""
    names = list(FILES)
    half = write_zip(tmp_path / "half.zip", {name: FILES[name] for name in names[:2]}).read_bytes()
    rest = write_tar(tmp_path / "rest.tar", {name: FILES[name] for name in names[2:]}).read_bytes()
    server.put({f"{tmp_path.name}/half.zip": half, f"{tmp_path.name}/rest.tar": rest})
    return f"s3://{BUCKET}/{tmp_path.name}"


def test_zips_and_tars_in_a_bucket_are_one_tree(server, place, monkeypatch):
    tree = open_tree(place, server.url)
    assert all(tree.exists(name) and tree.read(name) == data for name, data in FILES.items())
    assert [name for name in tree.names() if "/" in name] == sorted(FILES)
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    assert open_tree(place).read("samples/a.jpg") == FILES["samples/a.jpg"]


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_an_archive_in_a_bucket_reads_as_a_local_one(server, tmp_path, kind):
    path = {"zip": write_zip, "tar": write_tar}[kind](tmp_path / f"all.{kind}", FILES)
    server.put({f"{kind}s/all.{kind}": path.read_bytes()})
    assert holds_all(open_tree(f"s3://{BUCKET}/{kind}s/all.{kind}", server.url))


def test_a_member_costs_one_request_of_its_own_size(server, place):
    tree = open_tree(place, server.url)
    server.log()
    assert tree.read("samples/a.jpg") == FILES["samples/a.jpg"]
    ((method, path, span, status),) = server.log()
    first, last = map(int, span.removeprefix("bytes=").split("-"))
    assert (method, status) == ("GET", 206) and path.startswith(place.removeprefix("s3:/"))
    assert len(FILES["samples/a.jpg"]) <= last - first + 1 <= len(FILES["samples/a.jpg"]) + 200


def test_a_listing_of_more_than_a_thousand_keys_is_whole(server):
    server.fill("many/sweeps/", 2300)
    tree = open_tree(f"s3://{BUCKET}/many", server.url)
    names = list(tree.names("sweeps/"))
    assert names == [f"sweeps/{number:05d}.txt" for number in range(2300)]
    assert tree.read(names[-1]) == b"2299" and tree.folders() == {"sweeps"}
    assert len([1 for _, path, _, _ in server.log() if "continuation-token" in path]) >= 2


@pytest.mark.parametrize("faults", [{"refuse": 1}, {"cut": 1}])
def test_a_server_that_refuses_or_breaks_off_is_asked_again(server, place, faults):
    tree = open_tree(place, server.url)
    server.faults(**faults)
    server.log()
    assert tree.read("samples/a.jpg") == FILES["samples/a.jpg"]
    assert len(server.log()) == 2


def test_a_server_that_goes_on_refusing_is_one_line(server, place, monkeypatch):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    fsspec.filesystem("s3").clear_instance_cache()
    tree = open_tree(place, server.url)
    server.faults(refuse=99)
    with pytest.raises(DwmError, match=r"half\.zip: cannot be read .*ServiceUnavailable") as error:
        tree.read("samples/a.jpg")
    assert "\n" not in str(error.value)
    fsspec.filesystem("s3").clear_instance_cache()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_read_the_tree_that_their_parent_opened(server, place, method):
    tree = open_tree(place, server.url)
    read_many(tree, FILES)
    context = multiprocessing.get_context(method)
    workers = [context.Process(target=read_many, args=(tree, FILES)) for _ in range(2)]
    for worker in workers:
        worker.start()
    read_many(tree, FILES)
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]


def test_what_is_not_there_or_not_allowed_is_one_line(server, place, monkeypatch):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    for url, endpoint, words in (
        (f"{place}/none.zip", server.url, "does not exist"),
        ("s3://no-such-bucket/x", server.url, "does not exist"),
        (f"{place}/half.zip", "http://127.0.0.1:9", "AWS_ENDPOINT_URL"),
    ):
        with pytest.raises(DwmError, match=words) as error:
            open_tree(url, endpoint)
        assert "\n" not in str(error.value) and url in str(error.value)


def test_a_changed_archive_is_read_anew(server, place, tmp_path):
    assert open_tree(f"{place}/half.zip", server.url).exists("samples/a.jpg")
    server.put({f"{tmp_path.name}/half.zip": write_zip(tmp_path / "new.zip", {"b": b"new"}).read_bytes()})
    fsspec.filesystem("s3").clear_instance_cache()
    assert list(open_tree(f"{place}/half.zip", server.url).names()) == ["b"]


def read_clip(dataset):
    clip = dataset["scene-0103"].clip(0, 2, 2)
    assert clip.pictures.load(1, 2).shape == (36, 64, 3) and len(clip.boxes[0][0]) == 1


def test_a_data_set_in_a_bucket_is_read_by_a_run_and_its_workers(server, tmp_path):
    files = make_files(make_tables())
    blobs = {name: data for name, data in files.items() if name.startswith(("samples/", "sweeps/"))}
    rest = {name: data for name, data in files.items() if name not in blobs}
    meta, pictures = write_zip(tmp_path / "meta.zip", rest), write_tar(tmp_path / "blobs.tar", blobs)
    server.put({"sets/nuscenes/meta.zip": meta.read_bytes(), "sets/nuscenes/blobs.tar": pictures.read_bytes()})
    whole = open_dataset(f"s3://{BUCKET}/sets/nuscenes", endpoint=server.url)
    assert len(whole) == 2 and whole.index.folder.is_relative_to(tmp_path / "cache")
    named = SourceOptions(
        path=f"{BUCKET}/sets",
        archives=("nuscenes/meta.zip", "nuscenes/blobs.tar"),
        endpoint=server.url,
        split="mini_val",
    )
    for dataset in (whole, opened(named)):
        read_clip(dataset)
    worker = multiprocessing.get_context("fork").Process(target=read_clip, args=(whole,))
    worker.start()
    worker.join(60)
    assert worker.exitcode == 0


def test_waymos_records_in_a_bucket_are_read_by_ranges(server, shared):
    pytest.importorskip("google_crc32c")
    name = "training/segment-1071392229495085036_1844_790_1864_790_with_camera_labels.tfrecord"
    content = (shared / "data" / "waymo" / name).read_bytes()
    server.put({f"sets/waymo/{name}": content})
    clip = open_dataset(f"s3://{BUCKET}/sets/waymo", endpoint=server.url)[0].clip(0.5, 1)
    server.log()
    assert clip.pictures.load(0, 2).shape == (1280, 1920, 3)
    starts = [int(asked.partition("=")[2].partition("-")[0]) for _, _, asked, _ in server.log() if asked]
    assert starts == [1064781]  # where the sixth record's body begins: nothing before it is read


SETS = {
    "waymo v2": ("waymo/v2/training", "training", "1071392229495085036_1844_790_1864_790", None),
    "argoverse": ("argoverse2", "", "7fab2350-7eaf-3b7e-a39d-6937a4c1bede", "*val-000.tar"),
    "kitti360": ("kitti360", "", "2013_05_28_drive_0000_sync", "*.zip"),
    "opendv": ("opendv", "", "dwm_made_01.mp4", "*made_01.mp4"),
}
"""Folder below the shared data, where it goes, a scene, and which of its files (None: all)."""


@pytest.mark.filterwarnings("ignore:.*cannot be opened and are left out")
@pytest.mark.parametrize("name", SETS)
def test_other_sets_in_a_bucket_read_as_in_their_folder(server, shared, tmp_path, name):
    place, below, scene, pattern = SETS[name]
    source = shared / "data" / place
    files = [file for file in source.rglob(pattern or "*") if file.is_file() and ".dwm" not in file.parts]
    files += [
        file for part in ("calibration", "data_2d_raw", "meta") for file in (source / part).rglob("*") if file.is_file()
    ]
    prefix = f"sets/{name.replace(' ', '-')}"
    contents = {f"{below}/{file.relative_to(source)}".lstrip("/"): file.read_bytes() for file in files}
    server.put({f"{prefix}/{key}": data for key, data in contents.items()})
    for key, data in contents.items():
        (tmp_path / "here" / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "here" / key).write_bytes(data)
    options = ReadOptions(missing_captions="empty")
    there = open_dataset(f"s3://{BUCKET}/{prefix}", options=options, endpoint=server.url)[scene].clip(0, 1)
    here = open_dataset(tmp_path / "here", options=options)[scene].clip(0, 1)
    assert there.views == here.views and (there.times == here.times).all()
    assert (there.pictures.load(0, 0) == here.pictures.load(0, 0)).all()
    assert (there.lidar is None) == (here.lidar is None)
    if here.lidar is not None:
        assert (there.lidar.points[0] == here.lidar.points[0]).all()
        assert len(there.boxes[0][0]) == len(here.boxes[0][0]) > 0
