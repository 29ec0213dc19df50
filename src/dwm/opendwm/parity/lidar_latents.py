"""Cases of the latent diffusion of sweeps: sampling in one window and in windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dwm.diffusion.process import Ddpm, Flow, NoiseProcess
from dwm.errors import DwmError
from dwm.generation.sweep_latents import NetworkCall, SweepDenoiser
from dwm.networks import CrossviewTemporalDiT, CrossviewTemporalUNet
from dwm.networks.lidar.vae import VaeAutoencoder
from dwm.networks.lidar.voxels import draw_occupancy
from dwm.opendwm.config.lidar_networks import vae_autoencoder
from dwm.opendwm.config.networks import DIT, UNET, dit_options, unet_options
from dwm.opendwm.parity.cases import Case, Setup
from dwm.opendwm.parity.lidar_batches import SweepBatch, batch_of, generators, grid_of, load_file, pipeline_of
from dwm.opendwm.parity.lidar_networks import thinned
from dwm.opendwm.parity.lidar_tokens import cell_results

Section = Mapping[str, Any]


class LatentRun:
    """A recorded run's networks, its settings and its two generators."""

    def __init__(self, case: Case, setup: Setup) -> None:
        self.pipeline = pipeline_of(case)
        self.common: Section = self.pipeline.get("common_config", {})
        self.grid = grid_of(self.pipeline["autoencoder"], "autoencoder")
        autoencoder = vae_autoencoder(self.pipeline["autoencoder"], f"{case.name}: autoencoder")
        self.autoencoder: VaeAutoencoder = load_file(case, setup, "autoencoder", autoencoder)
        self.network = load_file(
            case, setup, "diffusion_model", network_of(self.pipeline["diffusion_model"], case.name)
        )
        self.shared, self.own = generators(case)
        self.scale, self.bias = self.common.get("latent_scale", 1), self.common.get("latent_bias", 0)

    @property
    def text(self) -> tuple[int, int | None]:
        pooled = (
            self.common.get("pooled_text_embeddings_dim") if isinstance(self.network, CrossviewTemporalDiT) else None
        )
        return self.common.get("text_embeddings_dim", 1024), pooled

    def encode(self, cells: Tensor) -> Tensor:
        """Cells (b, t, z, y, x) → latents (b * t, h, w, c), not scaled."""
        return self.autoencoder.encode(cells.flatten(0, 1), self.shared).sample

    def decode(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Latents (n, h, w, c), not scaled, → drawn cells and logits."""
        logits = self.autoencoder.decode(latents).logits
        return draw_occupancy(logits, torch.rand(logits.shape, generator=self.own).to(logits)), logits

    def unscaled(self, latents: Tensor) -> Tensor:
        """(b, t, c, h, w) → (b * t, h, w, c)."""
        return channels_last(latents * self.scale + self.bias)


def run_diffusion_sample(case: Case, setup: Setup) -> Mapping[str, Tensor]:
    run = LatentRun(case, setup)
    batch = batch_of(case, run.grid, setup)
    settings: Section = run.pipeline.get("inference_config", {})
    solver = process_of(run.pipeline["test_diffusion_scheduler"]).solver(
        settings.get("inference_steps", 50), device=setup.device
    )
    denoiser = SweepDenoiser(
        run.network, solver, run.text, settings.get("guidance_scale"), bool(settings.get("separate_forward"))
    )
    calls: list[NetworkCall] = []
    with torch.no_grad():
        sample = _windows if case.need("method").startswith("autoregressive") else _window
        results = sample(case, run, denoiser, batch, calls)
    results |= {
        "scheduler.timesteps": solver.times[:-1],
        "timesteps_given": torch.stack([call.times for call in calls]),
        "first_call.input": calls[0].latents,
        "first_call.output": calls[0].result,
        "last_call.input": calls[-1].latents,
        "last_call.output": calls[-1].result,
    }
    if hasattr(solver, "sigmas"):
        results["scheduler.sigmas"] = solver.sigmas[:-1]
    return thinned(results, case)


def network_of(section: Section, where: str) -> nn.Module:
    kind = section.get("_class_name")
    if kind == DIT:
        return CrossviewTemporalDiT(dit_options(section, where))
    if kind == UNET:
        return CrossviewTemporalUNet(unet_options(section, where))
    raise DwmError(f"{where}: diffusion_model._class_name: {kind!r} is not known; known: {DIT}, {UNET}")


def process_of(section: Section) -> NoiseProcess:
    """The noise process of a scheduler's section."""
    if "FlowMatch" in section["_class_name"]:
        return Flow(section.get("shift", 1.0), double_shift=True)
    return Ddpm.create({key: value for key, value in section.items() if key != "_class_name"})


def channels_first(latents: Tensor, frames: int) -> Tensor:
    """(b * t, h, w, c) → (b, t, c, h, w)."""
    return latents.unflatten(0, (-1, frames)).permute(0, 1, 4, 2, 3)


def channels_last(latents: Tensor) -> Tensor:
    """(b, t, c, h, w) → (b * t, h, w, c)."""
    return latents.flatten(0, 1).permute(0, 2, 3, 1)


def _window(
    case: Case, run: LatentRun, denoiser: SweepDenoiser, batch: SweepBatch, calls: list[NetworkCall]
) -> dict[str, Tensor]:
    b, t = batch.cells.shape[:2]
    encoded = run.encode(batch.cells)
    noise = torch.randn((b, t, *encoded.shape[1:]), generator=run.own).to(encoded).permute(0, 1, 4, 2, 3)
    prediction = bool(torch.rand(1, generator=run.shared) < 0.5)
    # Known latents enter unscaled here, as the published sampling has it.
    references = channels_first(encoded, t)[:, : run.common.get("reference_frame_count", 3)] if prediction else None
    latents = run.unscaled(denoiser.window(noise, references, batch.layout, calls.append))
    cells, logits = run.decode(latents)
    return {
        "encoded_latents": encoded,
        "decode0.latents": latents,
        "decode0.voxel_logits": logits,
        "decode1.latents": encoded,
    } | cell_results(cells, run.grid, (b, t))


def _windows(
    case: Case, run: LatentRun, denoiser: SweepDenoiser, batch: SweepBatch, calls: list[NetworkCall]
) -> dict[str, Tensor]:
    b, t = batch.cells.shape[:2]
    length, keep = run.common.get("num_training_frames", 8), run.common.get("max_reference_frame", 3)
    results: dict[str, Tensor] = {}
    references = None
    if run.pipeline.get("inference_config", {}).get("use_ground_truth_as_reference", True):
        results["encoded_latents"] = run.encode(batch.cells[:, :keep])
        references = channels_first(results["encoded_latents"], keep)
    size = run.autoencoder.lidar_decoder.options
    shape = (b, length, size.latent_channels, *size.coarse)

    def draw() -> Tensor:
        return torch.randn(shape, generator=run.own).to(batch.cells)

    if batch.layout is None:
        raise DwmError(f"{case.name}: windows need the layout of all frames")
    parts: list[Tensor] = []
    for index, window in enumerate(denoiser.windows(references, batch.layout, length, keep, draw, calls.append)):
        latents = run.unscaled(window)
        cells, logits = run.decode(latents)
        results |= {f"decode{index}.latents": latents, f"decode{index}.voxel_logits": logits}
        parts.append(cells.unflatten(0, (b, length))[:, keep if index else 0 :])
    return results | cell_results(_joined(parts, t), run.grid, (b, t))


def _joined(parts: Sequence[Tensor], frames: int) -> Tensor:
    return torch.cat(list(parts), dim=1)[:, :frames].flatten(0, 1)
