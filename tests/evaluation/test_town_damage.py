"""Scores that need no file fall under their own damage, on a clip of the town."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch

from dwm.clip import Clip
from dwm.conventions import NUSCENES_VIEWS
from dwm.data import collate
from dwm.evaluation.box_pixels import BoxPixelsScore
from dwm.evaluation.networks.segmenter import Segmenter, load_segmenter, save_segmenter
from dwm.evaluation.score import Pair
from dwm.evaluation.view_agreement import ViewAgreementScore
from dwm.evaluation.warp_error import WarpErrorScore
from dwm.evaluation.weather import WeatherScore
from dwm.report import Video, real_video
from dwm.town.scene import town_scene
from dwm.town.world.options import TownOptions
from dwm.training.box_segmenter import SegmenterLearning, labelled, learn_segmenter, overlap

pytest.importorskip("panda3d", reason="extra town is not installed")
DAY = TownOptions(times=("day",), weathers=("clear",), traffic=("busy",))


@cache
def clip() -> Clip:
    return town_scene(1000, 2300, DAY).clip(3.0, 3, 4.0, NUSCENES_VIEWS)


@cache
def real() -> Video:
    return real_video(collate([clip()], size=(160, 96), layout=None), NUSCENES_VIEWS)


def changed(frames: torch.Tensor) -> Video:
    return Video(frames, 4.0, NUSCENES_VIEWS)


def noisy(amount: float) -> Video:
    noise = torch.randn(real().frames.shape, generator=torch.Generator().manual_seed(0))
    return changed(real().frames + amount * noise)


def headline(score, video: Video, of: Clip | None = None) -> float:
    return score.result([score.keep(Pair(of or clip(), video, real()))]).headline


def test_view_agreement_falls_where_views_show_other_things() -> None:
    score, frames = ViewAgreementScore(), real().frames
    late = torch.stack([frames[:, (torch.arange(3) + 2 * (view % 2)) % 3, view] for view in range(6)], dim=2)
    truth = headline(score, real())
    assert truth > 0.85
    for damage in (changed(frames[:, :, [3, 4, 5, 0, 1, 2]]), changed(late), noisy(0.2)):
        assert headline(score, damage) < truth - 0.1
    kept = score.keep(Pair(clip(), noisy(0.2), real()))
    assert score.values([kept]).views.shape == (1, 6)


def test_warp_error_sees_flicker_wrong_motion_and_none() -> None:
    score, frames = WarpErrorScore(), real().frames
    light = 1 + 0.3 * torch.tensor([0.0, 1, -1]).view(1, 3, 1, 1, 1, 1)
    assert headline(score, real()) == 0
    damages = [frames * light, frames.flip(1), frames[:, :1].expand_as(frames), noisy(0.05).frames]
    for damage in damages:
        assert headline(score, changed(damage)) > 0.5
    assert headline(score, changed(frames.roll(3, dims=2))) > 0.3, "views of other cameras"


def test_box_pixels_fall_with_the_things_in_the_boxes() -> None:
    score = BoxPixelsScore(load_segmenter())
    truth = headline(score, real())
    assert truth > 0.4
    elsewhere = clip().moving("vehicle", left=6)
    assert headline(score, real(), elsewhere) < truth / 2, "wrong boxes"
    assert headline(score, noisy(0.2)) < truth * 0.8
    assert headline(score, changed(real().frames.roll(2, dims=2))) < truth / 2, "swapped views"
    empty = replace(clip(), boxes=None)
    result = score.result([score.keep(Pair(empty, real(), real()))])
    assert result.line().value == "–"


@pytest.mark.parametrize("time", ["day", "night"])
def test_real_rain_is_greyer_and_real_fog_flatter(time: str) -> None:
    score, videos = WeatherScore("clear", "rain", "fog"), []
    for weather in ("clear", "rain", "fog"):
        words = {name: (value[0],) for name, value in TownOptions().model_dump().items() if isinstance(value, tuple)}
        there = town_scene(1000, 2301, TownOptions(**{**words, "times": (time,), "weathers": (weather,)}))
        batch = collate([there.clip(3.0, 1, 4.0, NUSCENES_VIEWS)], size=(160, 96), layout=None)
        videos.append(real_video(batch, NUSCENES_VIEWS))
    result = score.result([score.keep(Pair(clip(), videos[0], videos[0], tuple(videos)))])
    assert (result.greyer, result.flatter) == (1, 1)
    deaf = score.result([score.keep(Pair(clip(), videos[0], videos[0], (videos[0],) * 3))])
    assert (deaf.greyer, deaf.flatter) == (0, 0), "words that change nothing"


def test_the_versions_of_a_clip_say_each_weather() -> None:
    versions = WeatherScore("clear", "rain", "fog").versions(clip())
    assert [one.captions[0][0].weather for one in versions] == ["clear", "rain", "fog"]


@pytest.mark.slow
def test_a_segmenter_is_learned_and_survives_its_file(tmp_path) -> None:
    pictures, cells = labelled([clip()])
    network = learn_segmenter(pictures, cells, SegmenterLearning(rounds=60, batch=6))
    recall, precision = overlap(network, pictures, cells)["vehicle"]
    untrained, _ = overlap(Segmenter(), pictures, cells)["vehicle"]
    assert recall > 0.5 and precision > 0.3, "of pictures that it saw, for a minute"
    assert recall > untrained + 0.2 or untrained > 0.9
    save_segmenter(network, tmp_path / "weights.safetensors")
    again = load_segmenter(tmp_path / "weights.safetensors")
    assert (again.classes(pictures) == network.classes(pictures)).float().mean() > 0.99
