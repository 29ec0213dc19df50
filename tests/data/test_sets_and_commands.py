"""The table set × command: each data set that is not nuScenes' goes through every command, captions of a user's own included."""

import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image
from recordings import run

from dwm.config import find, save
from dwm.config.data import SourceOptions
from dwm.data import ReadOptions, open_dataset

sys.path.append(str(Path(__file__).parents[1] / "recipes"))
from set_pieces import read_log

pytestmark = pytest.mark.filterwarnings("ignore:.*(cannot be opened and are left out|do not divide)")
WAYMO = "1071392229495085036_1844_790_1864_790"
RING = "CAM_SIDE_LEFT,CAM_FRONT_LEFT,CAM_FRONT,CAM_FRONT_RIGHT,CAM_SIDE_RIGHT,CAM_FRONT"
FRONT = "CAM_FRONT_LEFT,CAM_FRONT,CAM_FRONT_RIGHT"
ACROSS = ",".join(
    f"cameras/ring_{place}"
    for place in ("front_left", "front_right", "side_right", "rear_right", "rear_left", "side_left")
)


@dataclass(frozen=True)
class Piece:
    """A set as a user has it. split: one that it has; title: how the commands call it; frames: of clips that are made of it."""

    kind: str
    title: str
    scene: str
    views: str
    split: str
    parts: tuple[str, ...]
    frames: int = 4
    is_tables: bool = True
    seen: str = ""
    """Views that weights of one, three or six know; empty: all."""


PIECES = {
    "waymo": Piece(
        "waymo",
        "Waymo Open v1 training",
        WAYMO,
        RING,
        "train",
        (f"training/segment-{WAYMO}_with_camera_labels.tfrecord",),
        seen=FRONT,
    ),
    "waymo-v2": Piece("waymo", "Waymo Open v2 training", WAYMO, RING, "train", ("v2/training",), frames=1, seen=FRONT),
    "argoverse": Piece(
        "argoverse", "Argoverse 2 sensor", "7fab2350-7eaf-3b7e-a39d-6937a4c1bede", ACROSS, "val", ("val-000.tar",)
    ),
    "kitti360": Piece(
        "kitti360",
        "KITTI-360",
        "2013_05_28_drive_0000_sync",
        "image_00",
        "val",
        (
            "2013_05_28_drive_0000_sync_velodyne.zip",
            "2013_05_28_drive_0003_sync_velodyne.zip",
            "data_2d_raw",
            "calibration",
            "data_poses.zip",
            "data_3d_bboxes.zip",
        ),
    ),
    "opendv": Piece(
        "opendv",
        "OpenDV",
        "dwm_made_01.mp4",
        "CAM_FRONT",
        "train",
        ("videos/dwm_made_01.mp4", "meta/OpenDV-YouTube.json"),
        is_tables=False,
    ),
}
FOLDERS = {"waymo-v2": "waymo", "argoverse": "argoverse2"}


@pytest.fixture(scope="module", params=PIECES)
def placed(request, shared, tmp_path_factory):
    """A piece, and the folder where it lies, with captions that the command made."""
    name = request.param
    piece, folder = PIECES[name], tmp_path_factory.mktemp(name) / "set"
    for part in piece.parts:
        source, target = shared / "data" / FOLDERS.get(name, name) / part, folder / part.removeprefix("v2/")
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copyfile)(source, target)
    table = folder.parent / "words.csv"
    table.write_text(f"scene,camera,weather,text\n{piece.scene},,rain,a wide road\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DWM_CACHE", str(folder.parent / "cache"))
        yield piece, folder, table


@pytest.fixture
def captioned(placed, capsys):
    piece, folder, table = placed
    if not (folder / "captions.json").exists():
        assert run(capsys, "data", "captions", table, "--data", folder)[0] == 0
    return piece, folder


def test_captions(captioned):
    piece, folder = captioned
    options = ReadOptions(views=tuple(piece.views.split(",")))
    clip = open_dataset(folder, options=options)[piece.scene].clip(0, 1)
    assert {caption.text() for caption in clip.captions[0]} == {"rain. a wide road"}


def test_index_and_check(captioned, capsys):
    piece, folder = captioned
    code, said = run(capsys, "data", "index", folder)
    assert code == 0 and piece.title in said
    code, said = run(capsys, "data", "check", folder, "--files")
    assert code == 0 and piece.title in said and "no faults" in said


def test_show(captioned, tmp_path, capsys):
    piece, folder = captioned
    assert run(capsys, "data", "show", piece.scene, "--data", folder, "-o", tmp_path / "look.png")[0] == 0
    assert Image.open(tmp_path / "look.png").width > 400


@pytest.mark.parametrize("to", ["package", "nuscenes"])
def test_convert(captioned, tmp_path, capsys, to):
    piece, folder = captioned
    code, said = run(capsys, "data", "convert", folder, "-o", tmp_path / "out", "--to", to)
    if not piece.is_tables:
        assert code == 1 and "which has no tables that this could be made of" in said
        return
    assert code == 0
    views = tuple(dict.fromkeys(piece.views.split(",")))
    one, other = (open_dataset(path)[piece.scene].clip(0, 1, views=views) for path in (folder, tmp_path / "out"))
    assert (one.pictures.load(0, 0) == other.pictures.load(0, 0)).all()
    assert one.captions[0][0] == other.captions[0][0]
    boxes = [len(clip.boxes[0][0]) for clip in (one, other)]
    assert boxes[0] == boxes[1] > 0


def small_run(piece, folder, store):
    """Pictures, or short clips, of the set alone, with a tiny twin's network."""
    views = tuple(piece.views.split(","))
    layout = {} if piece.is_tables else {"made_up_layout": 0.125, "uncalibrated": True}
    rates = ((0.0, 1.0),) if piece.is_tables else ((10.0, 5.0),)
    source = SourceOptions(
        kind=piece.kind, path=str(folder), views=views, frames=1, rates=rates, split=piece.split, **layout
    )
    twin = find("sd35-crossview-nuscenes-tiny")
    network = twin.network.with_(enable_crossview=len(views) > 1)
    data = twin.data.with_(train=(source,), validation=(), size=(32, 32), clips=2, store=str(store), color_jitter=None)
    training = twin.training.with_(steps=2, accumulate=1, save_every=2)
    return twin.with_(name="small", data=data, network=network, training=training)


@pytest.mark.slow
def test_encode_and_train(captioned, tmp_path, capsys):
    piece, folder = captioned
    config = save(small_run(piece, folder, tmp_path / "store"), tmp_path, "run.json")
    code, said = run(capsys, "data", "encode", "-c", config)
    assert code == 0 and re.search(r"\b[1-9]\d* latents", said)
    assert run(capsys, "train", "-c", config, "-o", tmp_path / "run")[0] == 0
    assert len(read_log(tmp_path / "run")) == 2


@pytest.mark.slow
def test_generate_and_evaluate(captioned, tmp_path, capsys):
    piece, folder = captioned
    common = ("--data", folder, "--views", piece.seen or piece.views, "--frames", piece.frames, "--steps", 1)
    code, _ = run(capsys, "generate", *common, "--scene", piece.scene, "--fps", 10, "-o", tmp_path / "video")
    assert code == 0 and len(list((tmp_path / "video").glob("comparison.*"))) == 1
    scores = ("--scores", "town_fid", "--clips", 1, "--fps", 10, "--split", piece.split)
    code, said = run(capsys, "evaluate", *common, *scores, "-o", tmp_path / "scores")
    assert code == 0 and "town_fid" in said and (tmp_path / "scores" / "report.html").is_file()


def test_cars_of_fewer_cameras_than_a_run_counts_on_are_named(placed, tmp_path, capsys):
    piece, folder, _ = placed
    if piece.kind != "waymo":
        pytest.skip("the one set whose cars have five cameras")
    code, said = run(
        capsys,
        "train",
        "sd35-crossview-nuscenes-tiny",
        "--data",
        folder,
        "-o",
        tmp_path / "run",
        "data.train.0.rates=[[0,1]]",
    )
    assert code == 1 and "has the cameras CAM_SIDE_LEFT, " in said and "data.train.0.views=[" in said
