"""What a run will cost before anything is loaded: parameters, memory and arithmetic of one step, from its settings alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from dwm.config.checks import AUTOENCODER_FACTOR
from dwm.config.files import read_json
from dwm.config.recipe import Recipe
from dwm.networks import Conditions, CrossviewTemporalDiT, DiTOptions
from dwm.networks.dryrun import Tally, tally

SD3_TOKENS = 154
"""Text tokens of SD 3 and 3.5: 77 of CLIP and 77 of T5."""

GROUPS = {
    "temporal_transformer_blocks": "temporal",
    "time_mixers": "temporal",
    "time_pos_embeds": "temporal",
    "crossview_transformer_blocks": "cross-view",
    "view_mixers": "cross-view",
    "view_pos_embeds": "cross-view",
    "view_embedding": "cameras",
    "rayencoder": "cameras",
    "condition_image_adapter": "layout",
    "transformer_blocks": "spatial",
}


@dataclass(frozen=True)
class Shape:
    """What the network sees in one pass: b clips of t latent frames of v views of h×w latents, `text` tokens a picture."""

    b: int
    t: int
    v: int
    h: int
    w: int
    text: int = 154
    factor: int = 8

    @property
    def latents(self) -> tuple[int, int, int]:
        return self.b, self.t, self.v


@dataclass(frozen=True)
class Cost:
    """Bytes on the device and arithmetic of one step. What a run has no use for is 0."""

    weights: int
    gradients: int
    optimizer: int
    average: int
    activations: int
    flops: int

    @property
    def memory(self) -> int:
        return self.weights + self.gradients + self.optimizer + self.average + self.activations


def skeleton(options: DiTOptions, dtype: torch.dtype = torch.float32) -> CrossviewTemporalDiT:
    """The network without numbers."""
    with torch.device("meta"):
        return CrossviewTemporalDiT(options).to("meta", dtype)


def _unswitched(options: DiTOptions) -> DiTOptions:
    """The same arithmetic without per-item switches, whose values a network without numbers cannot ask for."""
    return options.with_(merge_strategy="learned", mixer_type="AlphaBlender")


def parameters(options: DiTOptions) -> Counter[str]:
    """How many parameters each part of the network has."""
    counts: Counter[str] = Counter()
    for name, parameter in skeleton(options).named_parameters():
        counts[GROUPS.get(name.partition(".")[0], "embeddings and output")] += parameter.numel()
    return counts


def generation_cost(options: DiTOptions, shape: Shape, dtype: torch.dtype = torch.float32) -> Cost:
    """One sampling step. With guidance, `shape.b` counts every clip twice. Weights and activations are in `dtype`."""
    network = skeleton(_unswitched(options), dtype).eval()
    sample, times, conditions = _inputs(options, shape, dtype)
    with torch.no_grad():
        prepared: list[object] = []
        before = tally(lambda: prepared.append(network.prepare(conditions, tuple(sample.shape))))
        step = tally(lambda: network(sample, times, prepared[0]))
    inputs = _bytes_of_inputs(sample, conditions)
    return Cost(_bytes(network), 0, 0, 0, inputs + max(before.peak, before.kept + step.peak), step.flops)


def training_cost(
    options: DiTOptions,
    shape: Shape,
    dtype: torch.dtype = torch.float32,
    recompute: bool = False,
    moments: float = 2.0,
    average: bool = True,
) -> Cost:
    """One micro-batch, forward and backward. Weights, gradients, optimizer (`moments` numbers a parameter) and average are
    float32; activations are in `dtype`. `recompute` turns on gradient checkpointing of the spatial blocks; the memory told
    then is an upper bound, as the count sees recomputed tensors for longer than a device keeps them.
    """
    network = skeleton(_unswitched(options), dtype).train()
    network.enable_gradient_checkpointing(recompute)
    sample, times, conditions = _inputs(options, shape, dtype)

    def step() -> None:
        prepared = network.prepare(conditions, tuple(sample.shape))
        network(sample, times, prepared).float().square().mean().backward()

    spent: Tally = tally(step)
    count = sum(parameter.numel() for parameter in network.parameters())
    gradients = sum(parameter.grad.nbytes for parameter in network.parameters() if parameter.grad is not None)
    activations = max(0, spent.peak - gradients) + _bytes_of_inputs(sample, conditions)
    return Cost(4 * count, 4 * count, int(4 * count * moments), 4 * count * average, activations, spent.flops)


def _inputs(options: DiTOptions, shape: Shape, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, Conditions]:
    def empty(*size: int, of: torch.dtype = dtype) -> torch.Tensor:
        return torch.empty(*shape.latents, *size, dtype=of, device="meta")

    adapter, rays = options.condition_image_adapter_config, options.perspective_modeling_type == "explicit"
    ids = (options.projection_class_embeddings_input_dim or 0) // 256
    conditions = Conditions(
        text=empty(shape.text, options.joint_attention_dim),
        pooled=empty(options.pooled_projection_dim),
        layout=empty(adapter.in_channels, shape.h * shape.factor, shape.w * shape.factor) if adapter else None,
        added_ids=empty(ids, of=torch.float32) if options.perspective_modeling_type == "implicit" else None,
        intrinsics_norm=empty(3, 3, of=torch.float32) if rays else None,
        ego0_from_camera=empty(4, 4, of=torch.float32) if rays else None,
        crossview_mask=torch.empty(shape.b, shape.v, shape.v, dtype=torch.bool, device="meta"),
    )
    return empty(options.in_channels, shape.h, shape.w), empty(of=torch.float32), conditions


def _bytes(module: nn.Module) -> int:
    return sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))


def _bytes_of_inputs(sample: torch.Tensor, conditions: Conditions) -> int:
    tensors = (sample, conditions.text, conditions.pooled, conditions.layout)
    return sum(tensor.nbytes for tensor in tensors if tensor is not None)


@dataclass(frozen=True)
class Estimate:
    """What `dwm show memory` tells. base_model is the size of its files in bytes, None where they are not there."""

    parameters: dict[str, int]
    training: Cost
    generation: Cost
    shape: Shape
    dtype: str
    base_model: int | None


def estimate(run: Recipe, dtype: torch.dtype = torch.float32) -> Estimate:
    """The cost of one micro-batch of training, and of one sampling step of one clip with guidance."""
    width, height = run.data.size
    folder = base_model_folder(run)
    text = text_tokens(folder) if folder.is_dir() else SD3_TOKENS
    factor = AUTOENCODER_FACTOR
    batch = run.training.batch
    views = batch.views or run.data.views
    shape = Shape(batch.clips, batch.frames, views, height // factor, width // factor, text, factor)
    recompute = run.dit().temporal_gradient_checkpointing
    moments = 1.0 if run.training.optimizer.kind == "muon" else 2.0
    return Estimate(
        dict(parameters(run.dit())),
        training_cost(run.dit(), shape, dtype, recompute, moments, run.training.ema_decay > 0),
        generation_cost(run.dit(), replace(shape, b=2, t=run.data.frames, v=run.data.views), dtype),
        shape,
        str(dtype).removeprefix("torch."),
        _size_of(folder) if folder.is_dir() else None,
    )


def base_model_folder(run: Recipe) -> Path:
    """Where the base model lies; `town` names the one that ships with the package."""
    name = run.base_model or "town"
    return Path(__file__).parents[1] / "weights" / "town" if name == "town" else Path(name)


def text_tokens(folder: Path) -> int:
    """How many text tokens a picture gets: one CLIP's length (the second lies beside it in width) and T5's."""
    configs = [folder / name / "tokenizer_config.json" for name in ("tokenizer", "tokenizer_3")]
    found = [min(int(read_json(path)["model_max_length"]), 77) for path in configs if path.is_file()]
    return sum(found) or SD3_TOKENS


def _size_of(folder: Path) -> int:
    parts = ("vae", "text_encoder", "text_encoder_2", "text_encoder_3")
    return sum(path.stat().st_size for part in parts for path in (folder / part).glob("*.safetensors"))
