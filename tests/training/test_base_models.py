"""Whole runs on base models' folders: SD 3, SD 2.1, a video autoencoder; from pictures on disk and from the store."""

import json
import subprocess
import sys
from itertools import islice

import pytest
import torch
from base_run import driving_task, made_up, recipe, source

from dwm.checkpoints.folder import load_network, read_card
from dwm.cli.main import run as command
from dwm.config.data import Mix
from dwm.config.files import save
from dwm.data import CaptionOptions
from dwm.errors import DwmError
from dwm.networks import UNetOptions
from dwm.runs.driving import load_parts, start_network
from dwm.runs.encode import encode_run
from dwm.runs.train import train_run
from dwm.training.loop.step import step_generator
from dwm.training.objectives.driving import ObjectiveOptions


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return made_up(tmp_path_factory.mktemp("nuscenes"))


@pytest.fixture(scope="module")
def sd3(vectors):
    return vectors("base_models/sd3")


def losses(folder):
    lines = (folder / "driving" / "log.jsonl").read_text().splitlines()
    return {entry["step"]: entry["loss"] for entry in map(json.loads, lines)}


def some_losses(run, numbers=range(2), seed=0):
    """Losses of the first micro-batches, before any step."""
    task = driving_task(run)
    batches = islice(task.batches(0), len(numbers))
    return [task.losses(batch, step_generator(seed, n)).loss.item() for n, batch in zip(numbers, batches, strict=True)]


@pytest.fixture(scope="module")
def whole(data, sd3, tmp_path_factory):
    run = recipe(data, sd3)
    folder = tmp_path_factory.mktemp("whole")
    train_run(run, folder, False)
    return run, folder


def test_a_run_from_pictures_ends_in_a_weights_folder(whole):
    run, folder = whole
    card = read_card(folder / "weights")
    assert card.base_model == run.base_model and card.lengths == (2,) and card.sizes == ((64, 32),)
    assert load_network(folder / "weights").options == run.network
    parts = json.loads((folder / "driving" / "log.jsonl").read_text().splitlines()[0])
    assert parts["loss"] > 0


def test_a_run_cut_and_resumed_with_two_workers_has_the_same_losses(whole, tmp_path):
    run, folder = whole

    def cut(moment):
        if moment.step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_run(run.with_(data=run.data.with_(workers=2)), tmp_path, False, [cut])
    train_run(run, tmp_path, True)
    assert losses(tmp_path) == losses(folder)
    ends = [load_network(one / "weights").state_dict() for one in (tmp_path, folder)]
    assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())


def test_the_store_changes_nothing_but_rounding_and_replaces_the_base_model(whole, tmp_path):
    run, folder = whole
    stored = run.with_(data=run.data.with_(store=str(tmp_path / "store"), workers=2))
    path = save(stored, tmp_path)
    for arguments in (
        ["data", "encode", "-c", str(path)],
        ["train", "-c", str(path), "-o", str(tmp_path / "run"), "-q"],
    ):
        with pytest.raises(SystemExit) as ended:
            command(arguments)
        assert ended.value.code == 0
    assert losses(tmp_path / "run") == pytest.approx(losses(folder), rel=2e-3)
    parts = load_parts(stored)
    assert parts.base.text is None and parts.base.autoencoder is None


@pytest.mark.slow
def test_two_processes_train_what_one_does(whole, tmp_path):
    run, folder = whole
    path = save(run.with_(data=run.data.with_(workers=1)), tmp_path)
    started = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command_line = ["-m", "dwm.cli.main", "train", "-c", str(path), "-o", str(tmp_path / "run"), "-q"]
    done = subprocess.run([*started, *command_line], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert losses(tmp_path / "run") == pytest.approx(losses(folder), rel=1e-4)


def test_what_chance_changes_is_refused_with_a_store(whole, tmp_path):
    run, _ = whole
    data = run.data.with_(store=str(tmp_path))
    with pytest.raises(DwmError, match=r"data.color_jitter: stored latents cannot be jittered"):
        encode_run(run.with_(data=data.with_(color_jitter=(0.1, 0, 0))))
    reordered = run.data.train[0].with_(words=CaptionOptions(reorder=True))
    with pytest.raises(DwmError, match=r"data.train.0.words.reorder: .*data.stored_text=false"):
        encode_run(run.with_(data=data.with_(train=(reordered,))))
    made = encode_run(run.with_(data=data.with_(train=(reordered,), stored_text=False)))
    assert made.texts == 0 and made.latents > 0
    latents_only = run.with_(data=data.with_(train=(reordered,), stored_text=False))
    parts = load_parts(latents_only)
    assert parts.base.text is not None and parts.base.autoencoder is None
    assert all(loss > 0 for loss in some_losses(latents_only))


def test_sizes_lengths_and_single_views_mix_in_one_run(whole, tmp_path):
    run, _ = whole
    data = source(run.data.train[0].path)
    front = data.with_(views=("CAM_FRONT",), ratio=0.25)
    mixed = run.with_(
        data=run.data.with_(
            train=(data.with_(ratio=0.75), front),
            mix=(Mix(size=(64, 32), share=0.5, frames=2, clips=2), Mix(size=(32, 32), share=0.5, frames=3)),
            store=str(tmp_path),
            workers=1,
        )
    )
    encode_run(mixed)
    task = driving_task(mixed)
    batches = list(islice(task.batches(0), 2 * task.feed.plan.steps))
    shapes = [(*batch.clips.shape, *batch.latents.mean.shape[-2:]) for batch in batches]
    assert shapes[0::2] == shapes[1::2]
    # Three frames of a square come 8 / 3 as often as two of twice its width; single views twice as often as pairs.
    assert set(shapes) == {(2, 2, 2, 4, 8), (3, 3, 2, 4, 4), (4, 2, 1, 4, 8), (6, 3, 1, 4, 4)}
    for number in {shapes.index(shape) for shape in shapes}:
        assert task.losses(batches[number], step_generator(0, number)).loss.isfinite()


def test_the_genuine_key_frame_trains(shared, sd3, tmp_path):
    six = ("CAM_FRONT_LEFT", "CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_BACK_RIGHT", "CAM_BACK", "CAM_BACK_LEFT")
    run = recipe(shared / "data" / "nuscenes_keyframe", sd3, steps=2)
    frame = source(shared / "data" / "nuscenes_keyframe", views=six, frames=1, rates=((0.0, 0.0),))
    run = run.with_(
        data=run.data.with_(train=(frame,), workers=2, store=str(tmp_path / "store")),
        training=run.training.with_(batch=run.training.batch.with_(frames=1), objective=ObjectiveOptions()),
    )
    made = encode_run(run)
    assert made.latents == 6
    train_run(run, tmp_path / "run", False)
    assert len(losses(tmp_path / "run")) == 2


def unet():
    return UNetOptions(
        in_channels=4,
        out_channels=4,
        block_out_channels=(32, 32),
        down_block_types=("CrossAttnDownBlockCrossviewTemporal", "DownBlockCrossviewTemporal"),
        up_block_types=("UpBlockCrossviewTemporal", "CrossAttnUpBlockCrossviewTemporal"),
        layers_per_block=1,
        cross_attention_dim=32,
        num_attention_heads=(2, 2),
        projection_class_embeddings_input_dim=11 * 256,
        enable_rowwise_crossview=True,
        enable_rowwise_temporal=True,
    )


@pytest.mark.parametrize("name, kind", [("sd21", "v_prediction"), ("sd21_epsilon", "epsilon")])
def test_the_u_net_learns_from_noise_as_its_scheduler_says(data, vectors, tmp_path, name, kind):
    told = recipe(data, vectors(f"base_models/{name}"), steps=1)
    run = told.with_(
        network=unet(),
        conditions=told.conditions.with_(boxes=False, map=False),
        # Of two frames oneDNN's gradient of a convolution over time is not a number on some CPUs.
        training=told.training.with_(batch=told.training.batch.with_(frames=3)),
    )
    train_run(run, tmp_path / "run", False)
    assert read_card(tmp_path / "run" / "weights").prediction == kind
    if kind == "epsilon":
        return
    stored = run.with_(data=run.data.with_(store=str(tmp_path / "store")))
    encode_run(stored)
    assert some_losses(stored) == pytest.approx(some_losses(run), rel=5e-3)
    task = driving_task(run)
    work = task.work(task.feed.batch(0))
    assert work.tokens == 3 * 2 * 4 * 8 and work.operations > 1e6 and len(task.blocks()) > 6


def test_a_video_autoencoder_makes_latents_of_windows_with_references_apart(data, vectors, sd3, tmp_path):
    run = recipe(data, sd3)
    five = source(data, frames=5, rates=((4.0, 0.5),))
    run = run.with_(
        autoencoder_folder=str(vectors("base_models/cogvideox_vae")),
        data=run.data.with_(train=(five,)),
        training=run.training.with_(batch=run.training.batch.with_(frames=5), references_alone=1),
    )
    stored = run.with_(data=run.data.with_(store=str(tmp_path)))
    encode_run(stored)
    assert some_losses(stored) == pytest.approx(some_losses(run), rel=5e-3)
    batch = driving_task(stored).feed.batch(0)
    assert batch.latents.mean.shape == (1, 2, 2, 16, 4, 8) and batch.references.mean.shape[:3] == (1, 1, 2)
    short = stored.with_(training=stored.training.with_(batch=run.training.batch.with_(frames=1)))
    with pytest.raises(DwmError, match=r"latents of whole windows.*set data.train.0.frames=1"):
        some_losses(short)


def test_weights_to_start_from_must_be_there_and_fit(whole, tmp_path):
    run, folder = whole
    again = run.with_(weights=str(folder / "weights"))
    state = load_network(folder / "weights").state_dict()
    assert all(torch.equal(value, state[name]) for name, value in start_network(again)[0].state_dict().items())
    with pytest.raises(DwmError, match="is not here; fetch it from"):
        start_network(run.with_(weights=str(tmp_path / "none")))
