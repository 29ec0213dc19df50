"""What a GPU is used for, at the published sizes, on the pretended device. Run as `python runs.py NAME …`: prints what was noted of
each, a line for each."""

from __future__ import annotations

import gc
import json
import multiprocessing
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import pretended

pretended.load()

import torch  # noqa: E402
from diffusers import AutoencoderKL  # noqa: E402
from torch import Tensor  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402
from transformers import CLIPTextConfig, T5Config  # noqa: E402

from dwm.base_models import Autoencoder, Moments, StoredText, TextEmbedding  # noqa: E402
from dwm.base_models import base as base_models  # noqa: E402
from dwm.checkpoints import WeightsCard, locations  # noqa: E402
from dwm.checkpoints import folder as folders  # noqa: E402
from dwm.clip_batch import ClipBatch  # noqa: E402
from dwm.conditions import ConditionOptions  # noqa: E402
from dwm.config.generation_memory import Request, generation_memory  # noqa: E402
from dwm.devices import autocast  # noqa: E402
from dwm.diffusion import Ddim, FlowMatchEuler, Multistep, Solver  # noqa: E402
from dwm.diffusion.process import Ddpm  # noqa: E402
from dwm.generation import DrivingPipeline  # noqa: E402
from dwm.generation.forcing import force_frames  # noqa: E402
from dwm.generation.rollout import roll_out  # noqa: E402
from dwm.generation.sampler import Sampler  # noqa: E402
from dwm.generation.streaming import Stream  # noqa: E402
from dwm.networks import CrossviewTemporalDiT, CrossviewTemporalUNet, DiTOptions, UNetOptions  # noqa: E402
from dwm.networks.dryrun import _fused_attention  # noqa: E402
from dwm.recipes.sd3 import layout_adapter, sd3_unimlvg_network, sd35_network  # noqa: E402
from dwm.recipes.sd21 import sd21_network  # noqa: E402
from dwm.runs.blank_clip import MOUNTS, plain_clip  # noqa: E402
from dwm.training.feed.batches import DrivingBatch  # noqa: E402
from dwm.training.loop.ema import Ema  # noqa: E402
from dwm.training.loop.optimizers import OptimizerOptions, build_optimizers  # noqa: E402
from dwm.training.loop.scaler import Scaler  # noqa: E402
from dwm.training.loop.step import step_generator  # noqa: E402
from dwm.training.objectives.driving import ObjectiveOptions  # noqa: E402
from dwm.training.stages.driving import DrivingSettings, DrivingTask  # noqa: E402
from pretended.device import CUDA, Device  # noqa: E402
from pretended.device import pretended as on_pretended_device  # noqa: E402

SIZE = (448, 256)
PROMPTS = ("", "rain at night", "a wide street")
Work = Callable[[], Any]
BFLOAT16 = torch.bfloat16
SD21 = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "prediction_type": "v_prediction"}
ALL = ConditionOptions(added_time_ids="fps_camera_transforms_action")
EXPLICIT = ConditionOptions(explicit_view_modeling=True)
TASKS = ObjectiveOptions(
    style="ctsd",
    keep_text=0.8,
    keep_boxes=0.8,
    keep_map=0.8,
    keep_action=0.8,
    keep_explicit_view=0.8,
    generation_tasks=0.3,
    image_tasks=0.5,
    all_references_visible=0.8,
    reference_frames={1: 0.5, 3: 0.5},
    reference_visible=0.5,
    reference_scale_std=0.01,
    reference_offset_std=0.01,
)
FORCING = TASKS.with_(style="diffusion_forcing")


def network(options: DiTOptions | UNetOptions, dtype: torch.dtype = torch.float32) -> torch.nn.Module:
    kind = CrossviewTemporalDiT if isinstance(options, DiTOptions) else CrossviewTemporalUNet
    usual = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(CUDA):
            return kind(options)
    finally:
        torch.set_default_dtype(usual)


def autoencoder(channels: int, piece: int = 0) -> Autoencoder:
    """Of SD 3's or, with 4 channels, SD 2.1's size."""
    with torch.device(CUDA):
        model = AutoencoderKL(
            block_out_channels=(128, 256, 512, 512),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2,
            latent_channels=channels,
        )
    return Autoencoder(model.eval().requires_grad_(False), piece)


def clips(b: int, t: int, v: int = 6) -> ClipBatch:
    """Pictures of bytes, as a loader gives them."""
    pictures = torch.zeros(b, t, v, 3, SIZE[1], SIZE[0], dtype=torch.uint8)
    poses = torch.eye(4).repeat(b, t, v, 1, 1)
    poses[..., 0, 3] = torch.arange(t, dtype=torch.float32)[:, None]
    return ClipBatch(
        fps=torch.full((b,), 10.0),
        times=torch.zeros(b, t, v),
        intrinsics=torch.eye(3).repeat(b, t, v, 1, 1),
        ego_from_camera=torch.eye(4).repeat(b, t, v, 1, 1),
        world_from_ego=poses,
        image_size=torch.tensor(SIZE).repeat(b, t, v, 1),
        frames=pictures,
        layout_boxes=pictures,
        layout_map=pictures,
        captions=(((PROMPTS[1],) * v,) * t,) * b,
        crossview_mask=torch.ones(b, v, v, dtype=torch.bool),
        is_uncalibrated=torch.zeros(b, dtype=torch.bool),
    )


def words(width: int, length: int, pooled: int | None) -> StoredText:
    """Embeddings as the store has them."""
    n = len(PROMPTS)
    return StoredText(PROMPTS, TextEmbedding(torch.zeros(n, length, width), torch.zeros(n, pooled) if pooled else None))


class Loaded:
    """Batches as a loader brings them: in pinned memory."""

    def __init__(self, text: StoredText):
        self.text = text

    def batches(self, start: int, every: int = 1) -> Iterator[DrivingBatch]:
        while True:
            yield DrivingBatch(clips(2, 6), text=self.text).pin_memory()


def train(options: DiTOptions | UNetOptions, settings: DrivingSettings) -> Work:
    """A step of one micro-batch, in the loop's own order; without its meter, whose marks need a real device."""
    dit = isinstance(options, DiTOptions)
    text = words(4096, 154, 2048) if dit else words(1024, 77, None)
    net = network(options)
    net.enable_gradient_checkpointing()
    task = DrivingTask(net, Loaded(text), settings, autoencoder=autoencoder(16 if dit else 4), device=CUDA)
    named = list(task.module.named_parameters())
    optimizers = build_optimizers(named, OptimizerOptions())
    ema, scaler = Ema(task.module, 0.999), Scaler(settings.dtype)

    def step() -> None:
        losses = task.losses(next(task.batches(0)), step_generator(0, 0))
        (losses.loss * 0.5).backward()
        scaler.clip([parameter for _, parameter in named], 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        ema.update()

    return step


def sampler(options: DiTOptions | UNetOptions, conditions: ConditionOptions, solver: Solver) -> Sampler:
    dit = isinstance(options, DiTOptions)
    text = words(4096, 154, 2048) if dit else words(1024, 77, None)
    return Sampler(
        network=network(options, BFLOAT16).eval().requires_grad_(False),
        autoencoder=autoencoder(16 if dit else 4),
        text=text.to(CUDA, BFLOAT16),
        options=conditions,
        solver=solver,
        generator=torch.Generator().manual_seed(1),
        size=SIZE,
        guidance=3.0,
        negative_prompt=PROMPTS[2],
        autocast=lambda: autocast(CUDA, BFLOAT16),
    )


def sd35(*, action: bool = False) -> DiTOptions:
    return sd35_network().with_(
        condition_image_adapter_config=layout_adapter(), projection_class_embeddings_input_dim=3328 if action else 2816
    )


def unimlvg() -> DiTOptions:
    return sd3_unimlvg_network().with_(condition_image_adapter_config=layout_adapter())


def flow(steps: int) -> FlowMatchEuler:
    return FlowMatchEuler.create(steps, 3.0, double_shift=True, device=CUDA)


def train_action() -> Work:
    return train(sd35(action=True), DrivingSettings(ALL, TASKS, dtype=BFLOAT16))


def train_explicit_views() -> Work:
    return train(unimlvg(), DrivingSettings(EXPLICIT, TASKS, dtype=BFLOAT16))


def train_forcing() -> Work:
    return train(sd35(action=True), DrivingSettings(ALL, FORCING, dtype=BFLOAT16))


def train_sd21() -> Work:
    text = ALL.with_(boxes=False, map=False, added_time_ids="fps_camera_transforms")
    return train(sd21_network(), DrivingSettings(text, TASKS, Ddpm.create(SD21), dtype=BFLOAT16))


def count_operations() -> Work:
    """A step from stored latents, everything kept: what it computes, over what the log says that it needs."""
    options = sd35(action=True).with_(temporal_gradient_checkpointing=False, crossview_gradient_checkpointing=False)
    options = options.with_(
        condition_image_adapter_config=options.condition_image_adapter_config.with_(gradient_checkpointing=False)
    )
    task = DrivingTask(
        network(options), Loaded(words(4096, 154, 2048)), DrivingSettings(ALL, TASKS, dtype=BFLOAT16), device=CUDA
    )
    latents = torch.zeros(2, 6, 6, 16, SIZE[1] // 8, SIZE[0] // 8)
    batch = replace(next(task.batches(0)), latents=Moments(latents, latents).map(Tensor.pin_memory))

    def step() -> dict[str, float]:
        with FlopCounterMode(display=False) as counter:
            task.losses(batch, step_generator(0, 1)).loss.backward()
        needed = task.work(batch).operations
        return {"executed": counter.get_total_flops(), "needed": needed}

    return step


def generate_windows() -> Work:
    made, batch = sampler(sd35(action=True), ALL, flow(2)), clips(1, 10).to(CUDA)
    return lambda: roll_out(made, batch, 6, 2, 2)


def generate_explicit_views() -> Work:
    made, batch = sampler(unimlvg(), EXPLICIT, flow(2)), clips(1, 10).to(CUDA)
    return lambda: roll_out(made, batch, 6, 2)


def generate_by_forcing() -> Work:
    made, batch = sampler(sd35(action=True), ALL, flow(2)), clips(1, 3).to(CUDA)
    return lambda: list(force_frames(made, batch, 2, references=1))


def generate_a_stream() -> Work:
    stream, batch = Stream(sampler(sd35(action=True), ALL, flow(2)), 2), clips(1, 3).to(CUDA)
    return lambda: list(stream.run(batch))


def _sd21(solver: Solver) -> Work:
    conditions = ConditionOptions(boxes=False, map=False, added_time_ids="fps_camera_transforms")
    made, batch = sampler(sd21_network(), conditions, solver), clips(1, 5).to(CUDA)
    return lambda: roll_out(made, batch, 3, 1)


def generate_by_ddim() -> Work:
    return _sd21(Ddim.create(2, SD21, CUDA))


def generate_by_multistep() -> Work:
    return _sd21(Multistep(2, SD21, CUDA))


def load_and_generate() -> Work:
    """`from_pretrained` with all words known, and a clip of 19 frames, of parts of SD 3.5's size: what the device holds at most
    before the network is there, and in all."""
    device, words_known = DEVICES[-1], {}
    parts = {"text_encoder": _clip(768, 12, 12, "quick_gelu"), "text_encoder_2": _clip(1280, 32, 20, "gelu")}
    t5 = T5Config(
        vocab_size=32128, d_model=4096, d_kv=64, d_ff=10240, num_layers=24, num_heads=64, feed_forward_proj="gated-gelu"
    )

    def read_part(kind: Any, folder: Path, part: str, dtype: torch.dtype) -> torch.nn.Module:
        usual = torch.get_default_dtype()
        torch.set_default_dtype(dtype)
        try:
            with torch.device(CUDA):
                return kind(parts.get(part, t5)).eval()
        finally:
            torch.set_default_dtype(usual)

    def read_network(folder: Path, dtype: torch.dtype, *_: Any) -> torch.nn.Module:
        gc.collect()
        words_known.update(text=device.peak, words=device.held)
        return network(sd35().with_(temporal_gradient_checkpointing=False), dtype).eval().requires_grad_(False)

    def read_card(folder: Path) -> WeightsCard:
        views = tuple(MOUNTS)
        told = ConditionOptions(added_time_ids="fps_camera_transforms")
        return WeightsCard(sizes=(SIZE,), views=views, lengths=(19,), conditions=told)

    base_models._load, folders.load_network, folders.read_card = read_part, read_network, read_card
    base_models.load_autoencoder = lambda folder, piece: autoencoder(16, 1)

    def work() -> dict[str, int]:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / "weights"
            shutil.copytree(locations.resolve("town"), folder)
            path = folder / "text_encoder_3" / "config.json"
            path.write_text(json.dumps({**json.loads(path.read_text()), "d_model": 4096}))
            pipe = DrivingPipeline.from_pretrained(folder, torch_dtype=BFLOAT16, device=CUDA, words=["day"])
            batch, size = pipe._batch(plain_clip(tuple(MOUNTS), 19, 10.0), "day", SIZE, 0)
            made = pipe.sampler(size, torch.Generator().manual_seed(0), 1, 4.0).remember(batch)
            with _fused_attention():  # a fake device takes the one with tables of scores
                pictures = pipe._pictures(made, batch, 0)
        assert pictures.shape == (1, 19, 6, 3, SIZE[1], SIZE[0])
        need = generation_memory(sd35(), None, Request(19, 6, SIZE, 19), BFLOAT16)
        plan = need.plan("text first")
        return {
            **words_known,
            "peak": device.peak,
            "estimate": plan.peak,
            "t5": max(need.text),
            "resident": plan.resident,
        }

    return work


def _clip(width: int, layers: int, heads: int, act: str) -> CLIPTextConfig:
    return CLIPTextConfig(
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        projection_dim=width,
        hidden_act=act,
    )


DEVICES: list[Device] = []
RUNS: dict[str, Callable[[], Work]] = {
    run.__name__: run
    for run in (
        train_action,
        train_explicit_views,
        train_forcing,
        train_sd21,
        count_operations,
        generate_windows,
        generate_explicit_views,
        generate_by_forcing,
        generate_a_stream,
        generate_by_ddim,
        generate_by_multistep,
        load_and_generate,
    )
}


def noted(name: str) -> tuple[Device, Any]:
    """What was noted from when all was loaded on, and what the work gave."""
    with on_pretended_device() as device:
        DEVICES.append(device)
        work = RUNS[name]()
        device.begin()
        with torch.set_grad_enabled(name.startswith(("train", "count"))):
            result = work()
    return device, result


def tell(name: str) -> None:
    device, result = noted(name)
    numbers = result if isinstance(result, dict) else {}
    print(json.dumps({"name": name, "waits": device.waits, "copies": device.copies["to"], **numbers}), flush=True)


if __name__ == "__main__":
    # Each in a fork that has computed nothing yet: what one run keeps is not there for the next, while all is imported once.
    for name in sys.argv[1:]:
        run = multiprocessing.get_context("fork").Process(target=tell, args=(name,))
        run.start()
        run.join()
