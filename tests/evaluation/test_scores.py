"""Scores have the properties that their names promise."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from array_pictures import ArrayPictures
from dwm.clip import NUSCENES_VIEWS, Caption, Clip, Rig
from dwm.errors import DwmError
from dwm.evaluation import (
    EvaluationOptions,
    FeatureNetwork,
    FeatureOptions,
    PictureFeatures,
    brightness,
    layout_retrieval,
    prompt_response,
    thumbnails,
)
from dwm.evaluation.features import load_network, save_network
from dwm.evaluation.measure import evaluate
from dwm.evaluation.town_fid_score import town_fid
from dwm.report import Video

CLIPS, FRAMES, VIEWS, WIDTH, HEIGHT = 5, 2, 6, 32, 16


def videos(count: int = CLIPS, seed: int = 0, t: int = FRAMES) -> Video:
    """Clips of blotches that tell them apart at any size."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count * t * VIEWS, 3, 4, 8, generator=generator)
    frames = torch.nn.functional.interpolate(coarse, (HEIGHT, WIDTH), mode="nearest")
    return Video(frames.unflatten(0, (count, t, VIEWS)), 4.0, NUSCENES_VIEWS)


def features() -> PictureFeatures:
    torch.manual_seed(0)
    return PictureFeatures(FeatureNetwork(FeatureOptions(size=(WIDTH, HEIGHT), shrinks=(1, 2), filters=6)))


def clip(number: int, time: str = "day") -> Clip:
    frames = (videos().frames[number].movedim(2, -1) * 255).round().to(torch.uint8).numpy()
    rig = Rig(
        NUSCENES_VIEWS,
        np.tile(np.eye(3), (VIEWS, 1, 1)),
        np.tile(np.eye(4), (VIEWS, 1, 1)),
        np.tile([WIDTH, HEIGHT], (VIEWS, 1)),
    )
    times = np.arange(FRAMES)[:, None].repeat(VIEWS, 1) * 250_000
    captions = ((Caption(time=time, weather="rain"),) * VIEWS,) * FRAMES
    pose = np.tile(np.eye(4), (FRAMES, VIEWS, 1, 1))
    return Clip(f"scene-{number}", 4.0, rig, times, pose, ArrayPictures(frames), captions=captions)


def painter(light: dict[str, float]):
    """A generator that knows the truth, dimmed by its caption's time."""

    def generate(asked: Clip, seed: int) -> Video:
        number = int(asked.scene.split("-")[1])
        return Video(videos().frames[number : number + 1] * light[asked.captions[0][0].time], 4.0, NUSCENES_VIEWS)

    return generate


def test_the_real_video_finds_itself():
    found = layout_retrieval(videos(), videos())
    assert (found.hits, found.hits_without_colour, found.clips) == (CLIPS, CLIPS, CLIPS)
    assert found.ranks == (1,) * CLIPS


def test_a_blurred_video_still_finds_its_own():
    blurred = videos().frames * 0.3 + videos().frames.mean(dim=(4, 5), keepdim=True) * 0.7
    assert layout_retrieval(Video(blurred, 4.0, NUSCENES_VIEWS), videos()).hits == CLIPS


def test_shifted_videos_find_nothing():
    shifted = Video(videos().frames.roll(1, 0), 4.0, NUSCENES_VIEWS)
    found = layout_retrieval(shifted, videos())
    assert found.hits == 0
    assert layout_retrieval(shifted, videos(), own=[CLIPS - 1, *range(CLIPS - 1)]).hits == CLIPS


def test_noise_is_at_chance():
    hits = sum(layout_retrieval(videos(8, seed=100 + trial), videos(8)).hits for trial in range(40))
    assert 20 < hits < 62, "40 times one of eight: 40 expected, 22 is three deviations"


def test_a_tie_counts_against_the_clip():
    grey = Video(torch.full_like(videos(2).frames, 0.5), 4.0, NUSCENES_VIEWS)
    assert layout_retrieval(grey, grey).ranks == (2, 2)


def test_colour_alone_does_not_count_without_colour():
    flat = torch.linspace(0, 1, CLIPS).view(-1, 1, 1, 1, 1, 1).expand(videos().frames.shape)
    tinted = Video(flat, 4.0, NUSCENES_VIEWS)
    found = layout_retrieval(tinted, tinted)
    assert found.hits == CLIPS and found.hits_without_colour == 0


def test_further_candidates_make_it_harder():
    found = layout_retrieval(videos(), torch.cat([thumbnails(videos()), thumbnails(videos(seed=1))]))
    assert (found.hits, found.candidates) == (CLIPS, 2 * CLIPS)


def test_other_lengths_are_refused():
    with pytest.raises(DwmError, match="same frames and views"):
        layout_retrieval(videos(), videos(t=3))


def test_brightness_is_luma():
    frames = torch.zeros(2, 1, 1, 3, 4, 4)
    frames[0, :, :, 1] = 1
    frames[1] = 0.25
    assert brightness(Video(frames, 4.0, ("a",))).tolist() == pytest.approx([0.7152, 0.25])


def test_prompt_response_counts_the_darker():
    day, night = videos(), videos().frames * torch.tensor([0.5, 0.9, 1.0, 0.2, 0.99]).view(-1, 1, 1, 1, 1, 1)
    assert prompt_response(Video(night, 4.0, NUSCENES_VIEWS), day).darker == 4, "what is as bright is not darker"


def test_told_changes_one_part_of_every_caption():
    changed = clip(0).with_words(time="night")
    assert {caption.text() for row in changed.captions for caption in row} == {"night. rain"}
    assert clip(0).captions[0][0].time == "day"


def test_town_fid_of_a_set_with_itself_is_zero_and_grows_with_damage():
    real, extract = videos(8), features()
    generator = torch.Generator().manual_seed(3)
    noise = torch.rand(real.frames.shape, generator=generator) - 0.5
    distances = [
        town_fid(Video(real.frames + noise * amount, 4.0, NUSCENES_VIEWS), real, extract).distance
        for amount in (0, 0.2, 1)
    ]
    assert distances[0] == pytest.approx(0, abs=1e-6)
    assert distances[0] < distances[1] < distances[2]


def test_the_feature_network_survives_its_files(tmp_path: Path):
    network = features()._network
    save_network(network, tmp_path)
    again = load_network(tmp_path)
    pictures = torch.rand(2, 3, HEIGHT, WIDTH)
    torch.testing.assert_close(again(pictures), network(pictures), atol=2e-2, rtol=1e-2)
    (tmp_path / "model.safetensors").write_bytes(b"cut short")
    with pytest.raises(DwmError, match="not a feature network"):
        load_network(tmp_path)
    with pytest.raises(DwmError, match=r"config\.json: missing"):
        load_network(tmp_path / "elsewhere")


def test_evaluate_of_a_perfect_generator(tmp_path: Path):
    seen = []
    scores = evaluate(
        painter({"day": 1.0, "night": 0.5}),
        [clip(number) for number in range(CLIPS)],
        EvaluationOptions(scores=("layout_retrieval", "prompt_response", "town_fid")),
        features=features(),
        on_clip=lambda number, generated, real: seen.append((number, (generated.frames - real.frames).abs().max())),
    )
    assert scores.layout_retrieval.hits == CLIPS
    assert scores.prompt_response.darker == CLIPS
    assert scores.town_fid.distance < scores.town_fid.between_real_halves / 100
    assert [number for number, _ in seen] == list(range(CLIPS)) and all(error < 0.01 for _, error in seen)
    saved = json.loads(scores.save(tmp_path / "metrics.json").read_text("utf-8"))
    assert saved["layout_retrieval"]["hits"] == CLIPS and saved["prompt_response"]["darker"] == CLIPS
    assert [line.value for line in scores.lines()][:2] == ["5 of 5", "5 of 5"]


def test_evaluate_of_a_generator_that_ignores_words():
    scores = evaluate(
        painter({"day": 1.0, "night": 1.0}), [clip(0), clip(1)], EvaluationOptions(scores=("prompt_response",))
    )
    assert scores.prompt_response.darker == 0
    assert scores.layout_retrieval is None and scores.town_fid is None


def test_what_the_caption_says_already_is_made_once():
    asked = []

    def generate(wanted: Clip, seed: int) -> Video:
        asked.append((wanted.captions[0][0].time, seed))
        return painter({"day": 1.0, "night": 0.5})(wanted, seed)

    evaluate(generate, [clip(0), clip(1, "night")], EvaluationOptions(scores=("prompt_response",), seed=7))
    assert asked == [("day", 7), ("night", 7), ("night", 8), ("day", 8)]


def test_further_clips_are_candidates():
    options = EvaluationOptions(scores=("layout_retrieval",))
    found = evaluate(painter({"day": 1.0}), [clip(0)], options, candidates=[clip(1), clip(2)]).layout_retrieval
    assert (found.hits, found.clips, found.candidates) == (1, 1, 3)


def test_nothing_to_evaluate_is_one_clear_line():
    with pytest.raises(DwmError, match="no clips"):
        evaluate(painter({}), [])
