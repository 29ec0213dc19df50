"""Videos become mosaics and files that others can read back."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from dwm.clip import NUSCENES_VIEWS
from dwm.clip_batch import ClipBatch
from dwm.errors import DwmError
from dwm.report import Film, Video, comparison, contact_sheet, film, layout_video, read_film, real_video

SHADES = torch.linspace(0.1, 0.9, 6)


def flat_video(
    t: int = 3, views: tuple[str, ...] = NUSCENES_VIEWS, b: int = 1, size: tuple[int, int] = (40, 24)
) -> Video:
    """Each view has one grey of its own, and the last frame a red channel of 1."""
    width, height = size
    frames = SHADES[: len(views)].view(1, 1, -1, 1, 1, 1).expand(b, t, -1, 3, height, width).clone()
    frames[:, -1, :, 0] = 1
    return Video(frames, 4.0, views)


def tile_centres(picture: np.ndarray, rows: int, columns: int) -> np.ndarray:
    height, width = picture.shape[0] // rows, picture.shape[1] // columns
    return np.array(
        [[picture[(y * 2 + 1) * height // 2, (x * 2 + 1) * width // 2] for x in range(columns)] for y in range(rows)]
    )


def test_mosaic_stands_as_one_looks_around():
    centres = tile_centres(flat_video().mosaic().frames[0], 2, 3)[..., 1] / 255
    order = ["FRONT_LEFT", "FRONT", "FRONT_RIGHT", "BACK_LEFT", "BACK", "BACK_RIGHT"]
    expected = [SHADES[NUSCENES_VIEWS.index(f"CAM_{name}")] for name in order]
    assert np.allclose(centres.ravel(), expected, atol=0.01)


def test_unknown_cameras_keep_their_order():
    centres = (
        tile_centres(flat_video(views=("roof", "CAM_BACK", "tail")).mosaic(names=False).frames[0], 1, 3)[0, :, 1] / 255
    )
    assert np.allclose(centres, [SHADES[1], SHADES[0], SHADES[2]], atol=0.01)


def test_small_pictures_are_enlarged_and_large_ones_reduced():
    assert flat_video(size=(160, 96)).mosaic().size == (3 * 480 + 8, 2 * 288 + 4)
    assert flat_video(t=1, size=(1600, 900)).mosaic().size == (3 * 640 + 8, 2 * 360 + 4)
    assert flat_video(size=(160, 96)).mosaic(scale=1).size == (3 * 160 + 8, 2 * 96 + 4)


def test_names_are_drawn():
    video = flat_video(size=(160, 96))
    assert (video.mosaic().frames[0] != video.mosaic(names=False).frames[0]).any()


def test_mp4_reads_back_as_it_was(tmp_path: Path):
    made = flat_video(t=5).mosaic(names=False)
    back = read_film(made.save(tmp_path / "out.mp4"))
    assert back.frames.shape == made.frames.shape
    assert back.fps == pytest.approx(4.0)
    assert np.abs(back.frames.astype(int) - made.frames).mean() < 4


def test_mp4_suits_browsers(tmp_path: Path):
    path = flat_video().mosaic().save(tmp_path / "out.mp4")
    with av.open(str(path)) as container:
        codec = container.streams.video[0].codec_context
        assert (codec.pix_fmt, codec.width % 2, codec.height % 2) == ("yuv420p", 0, 0)
        assert codec.colorspace == 1
    raw = path.read_bytes()
    assert raw.index(b"moov") < raw.index(b"mdat"), "the index must come first, or a page waits for the whole file"


def test_odd_sizes_are_padded(tmp_path: Path):
    frames = np.full((2, 31, 45, 3), 128, np.uint8)
    assert read_film(Film(frames, 10).save(tmp_path / "odd.mp4")).size == (46, 32)


@pytest.mark.parametrize("codec", ["libvpx-vp9", "mpeg4"])
def test_other_encoders_serve_where_x264_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, codec: str):
    monkeypatch.setattr(film, "CODECS", tuple(item for item in film.CODECS if item[0] == codec))
    made = flat_video().mosaic(names=False)
    back = read_film(made.save(tmp_path / "out.mp4"))
    assert np.abs(back.frames.astype(int) - made.frames).mean() < 6


def test_no_encoder_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(film, "CODECS", (("libnothing", {}),))
    with pytest.raises(DwmError, match="no video encoder"):
        flat_video().save(tmp_path / "out.mp4")
    assert not list(tmp_path.iterdir())


def test_one_frame_is_a_png_and_more_are_refused(tmp_path: Path):
    (path,) = flat_video(t=1).save(tmp_path / "one.png")
    assert Image.open(path).size == flat_video(t=1).mosaic().size
    with pytest.raises(DwmError, match="holds one picture"):
        flat_video(t=2).save(tmp_path / "two.png")
    assert not (tmp_path / "two.png").exists()


def test_a_folder_has_every_picture_exactly(tmp_path: Path):
    video = flat_video(t=2)
    written = video.save(tmp_path / "pictures")
    assert len(written) == 2 * 6
    for view, name in enumerate(video.views):
        picture = np.asarray(Image.open(tmp_path / "pictures" / f"001_{name}.png"))
        assert (picture == video.pictures()[1, view]).all()


def test_several_clips_are_numbered(tmp_path: Path):
    written = flat_video(b=2).save(tmp_path / "clip.gif")
    assert [path.name for path in written] == ["clip-0.gif", "clip-1.gif"]
    assert all(path.exists() for path in written)


def test_a_failed_write_leaves_nothing(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DwmError):
        flat_video(t=1).save(tmp_path / "file" / "one.png")
    with pytest.raises(DwmError, match=r"not as \.webm"):
        flat_video().save(tmp_path / "a.webm")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_comparison_has_a_row_for_each_video():
    dark, bright = flat_video(), Video(torch.ones_like(flat_video().frames), 4.0, NUSCENES_VIEWS)
    sheet = comparison({"real": dark, "generated": bright}, width=600)
    assert len(sheet.frames) == 3
    rows = sheet.frames[0].mean(axis=(1, 2))
    assert rows[len(rows) * 3 // 4] > 200 > rows[len(rows) * 2 // 5]


def test_comparison_refuses_other_shapes():
    with pytest.raises(DwmError, match="generated has 2 frames"):
        comparison({"real": flat_video(), "generated": flat_video(t=2)})
    with pytest.raises(DwmError, match="nothing to compare"):
        comparison({})


def test_contact_sheet_shows_first_and_last_frame():
    sheet = contact_sheet({"real": flat_video(t=7)}, frames=2, width=600)
    assert len(sheet.frames) == 1
    red = (sheet.frames[0, ..., 0].astype(int) - sheet.frames[0, ..., 1]) > 20
    rows = red.any(axis=1)
    assert not rows[: len(rows) // 2].any() and rows[len(rows) // 2 + 30 :].mean() > 0.8


def test_layout_draws_boxes_over_the_map():
    boxes, lanes = torch.zeros(1, 1, 6, 3, 8, 8), torch.full((1, 1, 6, 3, 8, 8), 0.5)
    boxes[..., 0, :, :4] = 1
    eye = torch.eye(4).expand(1, 1, 6, 4, 4)
    where = {"intrinsics": eye[..., :3, :3], "ego_from_camera": eye, "world_from_ego": eye}
    blank = {"fps": torch.ones(1), "times": torch.zeros(1, 1, 6), "image_size": torch.zeros(1, 1, 6, 2), **where}
    batch = ClipBatch(**blank, layout_boxes=boxes, layout_map=lanes)
    drawn = layout_video(batch).frames
    assert (drawn[..., 0, :, :4] == 1).all() and (drawn[..., 1, :, :4] == 0).all()
    assert (drawn[..., 4:] == 0.5).all()
    with pytest.raises(DwmError, match="no pictures"):
        real_video(batch)


def test_unknown_view_names_the_nearest():
    with pytest.raises(DwmError, match="nearest: CAM_FRONT"):
        flat_video().select(["CAM_FRONTS"])
