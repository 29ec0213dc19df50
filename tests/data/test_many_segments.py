"""A Waymo folder of a thousand segments: the first index shows how far it is and goes on after a kill; a frame is reached alone."""

import os
import re
import signal
import struct
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from dwm import progress
from dwm.cli.main import run as command
from dwm.data import open_dataset
from dwm.data.tables import row_tables
from dwm.data.waymo import records
from dwm.data.waymo.tables import WaymoTables

SEGMENTS, FRAMES = 1000, 200
LONG = "segment-99999_with_camera_labels.tfrecord"
CHILD = """
import sys
from dwm.data.tables import row_tables
from dwm.data.open import index_dataset
row_tables.PART_SECONDS = 0.3
index_dataset(sys.argv[1])
"""


def record(number: int, picture: bytes) -> bytes:
    """A framed record of one camera and one box, the car 1 m ahead of where it was."""
    frame = records.frame_class()()
    frame.timestamp_micros = 1_500_000_000_000_000 + 100_000 * number
    pose = np.eye(4)
    pose[0, 3] = number
    frame.pose.transform.extend(pose.ravel().tolist())
    camera = frame.context.cameras.add()
    camera.name, camera.width, camera.height = 1, 96, 64
    camera.intrinsic.extend([80, 80, 48, 32])
    camera.extrinsic.transform.extend(np.eye(4).ravel().tolist())
    image = frame.images.add()
    image.name, image.image = 1, picture
    label = frame.laser_labels.add()
    label.id, label.type = "a car", 1
    label.box.center_x, label.box.length, label.box.width, label.box.height = 12, 4, 2, 1.5
    body = frame.SerializeToString()
    head = struct.pack("<Q", len(body))
    sums = [struct.pack("<I", records.masked_checksum(part)) for part in (head, body)]
    return head + sums[0] + body + sums[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    pytest.importorskip("google_crc32c")
    folder = tmp_path_factory.mktemp("waymo")
    (folder / "training").mkdir()
    Image.new("RGB", (96, 64), "gray").save(folder / "picture.jpg")
    picture = (folder / "picture.jpg").read_bytes()
    short, all_of = record(0, picture) + record(1, picture), [record(number, picture) for number in range(FRAMES)]
    for number in range(SEGMENTS):
        (folder / "training" / f"segment-{number:05d}_with_camera_labels.tfrecord").write_bytes(short)
    (folder / "training" / LONG).write_bytes(b"".join(all_of))
    return folder


def parts(folder):
    return list((folder / ".dwm").glob("training.rows.part-*"))


def killed_while_indexing(folder) -> None:
    with subprocess.Popen([sys.executable, "-c", CHILD, str(folder)]) as child:
        while child.poll() is None and len(parts(folder)) < 2:
            time.sleep(0.01)
        os.kill(child.pid, signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL


@pytest.mark.slow
def test_a_thousand_segments_are_indexed_once(folder, capsys, monkeypatch):
    killed_while_indexing(folder)
    read, rows_of = [], WaymoTables.rows_of
    monkeypatch.setattr(WaymoTables, "rows_of", lambda self, part: read.append(part) or rows_of(self, part))
    monkeypatch.setattr(progress, "PLAIN_INTERVAL", 0.2)
    monkeypatch.setattr(row_tables, "PART_SECONDS", 0.3)
    with pytest.raises(SystemExit) as stop:
        command(["data", "index", str(folder)])
    said = " ".join("".join(capsys.readouterr()).split())
    assert stop.value.code == 0 and f"{SEGMENTS + 1} scenes" in said
    before = int(re.search(rf"(\d+) of {SEGMENTS + 1} segments were read before; going on from there", said)[1])
    assert before > 0 and len(read) == SEGMENTS + 1 - before
    assert re.search(rf"training: \d+/{SEGMENTS + 1 - before}, [\d.e+]+ segments/s, \d+ s left", said)
    assert not parts(folder)
    del read[:]
    dataset = open_dataset(folder)
    assert (
        not read and [scene.name for scene in dataset][:2] == ["00000", "00001"] and len(dataset.scenes) == SEGMENTS + 1
    )
    frames_read, read_frame = [], records.read_frame
    monkeypatch.setattr(records, "read_frame", lambda *where: frames_read.append(where[2]) or read_frame(*where))
    clip = dataset["99999"].clip(15.3, 1)
    assert clip.world_from_ego[0, 0, 0, 3] == 153 and clip.pictures.load(0, 0).shape == (64, 96, 3)
    assert len(frames_read) == 1
    assert len(clip.boxes[0][0]) == 1


def test_parts_of_other_files_are_not_gone_on_from(folder, tmp_path, monkeypatch):
    """Ten of the segments; the work is stopped in the fifth, then one of those that were read changes."""
    small = tmp_path / "set" / "training"
    small.mkdir(parents=True)
    for file in sorted((folder / "training").iterdir())[:10]:
        (small / file.name).write_bytes(file.read_bytes())
    read, rows_of = [], WaymoTables.rows_of

    def stop_in_the_fifth(self, part):
        read.append(part)
        if len(read) == 5:
            raise KeyboardInterrupt
        return rows_of(self, part)

    monkeypatch.setattr(WaymoTables, "rows_of", stop_in_the_fifth)
    monkeypatch.setattr(row_tables, "PART_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        open_dataset(tmp_path / "set")
    assert len(parts(tmp_path / "set")) == 4
    (small / "segment-00002_with_camera_labels.tfrecord").write_bytes((folder / "training" / LONG).read_bytes())
    assert len(open_dataset(tmp_path / "set").scenes) == 10
    assert len(read) == 15 and not parts(tmp_path / "set")


def test_a_part_of_another_form_is_read_anew(folder, tmp_path, monkeypatch):
    import pyarrow as pa

    from dwm.storage import KeptParts

    small = tmp_path / "set" / "training"
    small.mkdir(parents=True)
    for file in sorted((folder / "training").iterdir())[:3]:
        (small / file.name).write_bytes(file.read_bytes())
    load = KeptParts.load
    monkeypatch.setattr(
        KeptParts, "load", lambda self: (self.keep(0, 2, {"scenes": pa.table({"a": [1]})}), load(self))[1]
    )
    assert len(open_dataset(tmp_path / "set").scenes) == 3
