"""Cases of the token network's sampling: in one window, and in windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from dwm.diffusion.options import TokenSampling
from dwm.errors import DwmError
from dwm.generation.tokens import TokenSampler, TokenStep
from dwm.networks.lidar.tokens import HIDDEN, TokenNetwork
from dwm.networks.lidar.voxels import VoxelGrid, draw_occupancy
from dwm.networks.lidar.vq import VqAutoencoder
from dwm.opendwm.config.lidar_networks import token_options, vq_autoencoder
from dwm.opendwm.parity.cases import Case, Setup
from dwm.opendwm.parity.lidar_batches import batch_of, generators, grid_of, load_file, pipeline_of
from dwm.opendwm.parity.lidar_functions import packed
from dwm.opendwm.parity.lidar_networks import thinned


def run_maskgit_sample(case: Case, setup: Setup) -> Mapping[str, Tensor]:
    pipeline = pipeline_of(case)
    grid = grid_of(pipeline["vq_point_cloud"], "vq_point_cloud")
    autoencoder = load_file(case, setup, "vq_point_cloud", vq_autoencoder(pipeline["vq_point_cloud"], case.name))
    network = TokenNetwork(token_options(pipeline["bi_directional_Transformer"], case.name))
    network = load_file(case, setup, "bi_directional_Transformer", network)
    sampler = TokenSampler(network, autoencoder.vector_quantizer, sampling_of(case))
    batch, (shared, own) = batch_of(case, grid, setup), generators(case)
    b, t = batch.cells.shape[:2]
    steps: list[TokenStep] = []
    windows = case.need("method").startswith("autoregressive")
    references = _reference_frames(pipeline) if windows else t
    with torch.no_grad():
        encoded = autoencoder.encode(batch.cells[:, :references].flatten(0, 1)).indices.view(b, references, -1)
        if windows:
            if batch.layout is None:
                raise DwmError(f"{case.name}: windows need the layout of all frames")
            length = int(pipeline["training_config"].get("num_training_frames", 8))
            runs = sampler.windows(encoded, batch.layout, length, shared, steps.append)
        else:
            runs = [_window(sampler, encoded, batch.layout, pipeline, shared, steps)]
        parts, logits = [], []
        for index, ids in enumerate(runs):
            cells, cell_logits = decode(autoencoder, ids, own)
            parts.append(cells[:, references if windows and index else 0 :])
            logits.append(cell_logits)
    cells = torch.cat(parts, dim=1)[:, :t].flatten(0, 1)
    return thinned(_results(steps, encoded, logits[0], cells, grid, (b, t)), case)


def sampling_of(case: Case) -> TokenSampling:
    """The options of a section `inference_config`."""
    inference: Mapping[str, Any] = pipeline_of(case).get("inference_config", {})
    blank = case.data.get("blank_codes", ()) if inference.get("use_blank_code", True) else ()
    guidance = inference.get("guidance_scale", 3.0) if inference.get("do_classifier_free_guidance") else None
    return TokenSampling(
        steps=inference.get("sample_steps", 30),
        guidance=guidance,
        noise=not inference.get("use_maskgit", False),
        blank=tuple(blank),
    )


def decode(autoencoder: VqAutoencoder, ids: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Ids (b, t, n) → drawn cells (b, t, z, y, x) and logits of all frames."""
    logits = autoencoder.decode(autoencoder.vector_quantizer.entries(ids.flatten(0, 1)))[1]
    uniform = torch.rand(logits.shape, generator=generator).to(logits)
    return draw_occupancy(logits, uniform).unflatten(0, ids.shape[:2]), logits


def _window(
    sampler: TokenSampler,
    encoded: Tensor,
    layout: Tensor | None,
    pipeline: Mapping[str, Any],
    generator: torch.Generator,
    steps: list[TokenStep],
) -> Tensor:
    t = encoded.shape[1]
    task = pipeline.get("inference_config", {}).get("task_type")
    if t > 1:
        random_task = "prediction" if bool(torch.rand(1, generator=generator) < 0.5) else "generation"
        task = task or random_task
    codes = encoded.clone()
    codes[:, _reference_frames(pipeline) if t > 1 and task == "prediction" else 0 :] = HIDDEN
    return sampler.window(codes, layout, generator, watch=steps.append)


def _reference_frames(pipeline: Mapping[str, Any]) -> int:
    return int(pipeline.get("common_config", {}).get("max_reference_frame", 3))


def _results(
    steps: Sequence[TokenStep],
    encoded: Tensor,
    logits: Tensor,
    cells: Tensor,
    grid: VoxelGrid,
    shape: tuple[int, int],
) -> dict[str, Tensor]:
    before = torch.stack([step.before for step in steps])
    results = {
        "encoded_indices": encoded.flatten(0, 1),
        "ids_in": before,
        "ids_sampled": torch.stack([step.ids for step in steps]),
        "masked_count": (before == HIDDEN).sum(-1),
        "drawn_probability": torch.stack([step.probability for step in steps]),
        "logits_first": steps[0].logits,
        "logits_last": steps[-1].logits,
        "decode0.voxel_logits": logits,
    }
    return results | cell_results(cells, grid, shape)


def cell_results(cells: Tensor, grid: VoxelGrid, shape: tuple[int, int]) -> dict[str, Tensor]:
    """The drawn cells (b * t, z, y, x) in bits, and their points by clip and frame."""
    results = {"pred_voxels_bits": packed(cells)}
    for i, frame in enumerate(cells):
        place = f"{i // shape[1]}/{i % shape[1]}"
        points = grid.points(frame)
        results |= {f"pred_points/{place}": points, f"pred_point_count/{place}": torch.tensor(len(points))}
    return results
