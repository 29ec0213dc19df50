"""Clips from a loader's processes: bytes on the way and floats at the end, one line for what cannot be read, a killed process."""

import os
import pickle
import signal
from multiprocessing import active_children

import numpy as np
import pytest
import torch
from feeds import batches_of, feed_of
from made_up_nuscenes import make_files, make_tables, write
from PIL import Image

from dwm.data import DatasetWindows, collate, open_dataset
from dwm.data.resize import resize
from dwm.data.windows import unevenness
from dwm.errors import DwmError


@pytest.fixture
def clips(tmp_path):
    folder = write(tmp_path / "set", make_files(make_tables(samples=3)))
    return DatasetWindows(open_dataset(folder), 2, [(12, 0.1)])


def test_pictures_travel_as_bytes_and_arrive_as_the_same_floats(clips):
    batch = list(batches_of(feed_of(clips, (32, 18), workers=1)))[2]
    assert batch.frames.dtype == batch.layout_boxes.dtype == torch.uint8
    arrived, direct = batch.to("cpu"), collate([clips[2]], (32, 18))
    for name in ("frames", "layout_boxes", "layout_map", "times", "intrinsics", "world_from_ego", "crossview_mask"):
        torch.testing.assert_close(getattr(arrived, name), getattr(direct, name), rtol=0, atol=1e-7)
    assert arrived.captions == direct.captions and arrived.to("cpu").frames.dtype == torch.float32


def test_small_tensors_of_a_batch_are_pickled_by_value(clips):
    batch = collate([clips[0]], (32, 18))
    copy = pickle.loads(pickle.dumps(batch))
    assert copy.scenes == batch.scenes and copy.is_uncalibrated is None
    torch.testing.assert_close(copy.frames, batch.frames, rtol=0, atol=0)
    torch.testing.assert_close(copy.ego_from_camera, batch.ego_from_camera, rtol=0, atol=0)


def test_what_a_worker_cannot_read_is_one_line(clips, tmp_path):
    broken = tmp_path / "set" / clips[1].pictures.files[0][2]
    broken.write_bytes(broken.read_bytes()[:200])
    with pytest.raises(DwmError, match=f"{broken.name}: is no whole picture") as error:
        list(batches_of(feed_of(clips, (32, 18), workers=1)))
    assert "\n" not in str(error.value)


def test_a_killed_worker_is_told_in_one_line(clips):
    batches = feed_of(clips, (32, 18), workers=1).batches(0)
    next(batches)
    (worker,) = active_children()
    os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(
        DwmError, match=r"a process that prepares clips was killed .* fewer data.workers than 1 "
    ) as error:
        list(batches)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("size", [(448, 256), (160, 96), (1000, 700)])
def test_resizing_is_within_one_level_of_pillows(size):
    picture = np.random.default_rng(0).integers(0, 256, (300, 500, 3), np.uint8)
    want = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(resize(picture, size) - want).max() <= 1
    picture.flags.writeable = False
    assert resize(picture, (500, 300)) is picture and resize(picture, size).shape == want.shape


@pytest.mark.parametrize("rate, fps", [(12, 12), (12, 6), (12, 4), (2, 2), (2, 1), (12, 11.9)])
def test_rates_that_divide_are_even(rate, fps):
    assert unevenness(np.arange(20) * 1e6 / rate, fps) is None


@pytest.mark.parametrize(
    "rate, fps, told",
    [(12, 10, "83 or 167 ms apart instead of 100"), (12, 5, "167 or 250 ms"), (2, 4, "some pictures come twice")],
)
def test_rates_that_do_not_divide_are_told(rate, fps, told):
    assert told in unevenness(np.arange(20) * 1e6 / rate, fps)


def test_a_clip_at_an_uneven_rate_warns_and_takes_the_nearest_frames(clips):
    scene = clips.dataset.scenes[0]
    with pytest.warns(UserWarning, match="10 fps do not divide the 12 pictures a second"):
        clip = scene.clip(0, 4, 10)
    assert (np.diff(clip.times[:, 0]) / 1000).round().tolist() == [83, 167, 83]
