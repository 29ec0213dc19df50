"""Cases of training calls of LiDAR's generators: hidden tokens and noisy latents."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from dwm.generation.sweep_latents import predict
from dwm.networks.lidar.tokens import TokenNetwork
from dwm.opendwm.config.lidar_networks import token_options, vq_autoencoder
from dwm.opendwm.parity.cases import Case, Setup
from dwm.opendwm.parity.lidar_batches import SweepBatch, generators, grid_of, load_file, pipeline_of
from dwm.opendwm.parity.lidar_latents import LatentRun, Section, channels_first, process_of
from dwm.opendwm.parity.lidar_networks import thinned
from dwm.opendwm.parity.lidar_training import Tensors, train
from dwm.training.objectives.options import SweepObjective
from dwm.training.objectives.sweep_latents import draw_noisy
from dwm.training.objectives.sweep_tokens import draw_hidden, dropped, keep_draws, token_loss


def run_maskgit_train(case: Case, setup: Setup) -> Mapping[str, Tensor]:
    pipeline = pipeline_of(case)
    grid = grid_of(pipeline["vq_point_cloud"], "vq_point_cloud")
    autoencoder = load_file(case, setup, "vq_point_cloud", vq_autoencoder(pipeline["vq_point_cloud"], case.name))
    network = TokenNetwork(token_options(pipeline["bi_directional_Transformer"], case.name))
    network = load_file(case, setup, "bi_directional_Transformer", network)
    shared, own = generators(case)
    objective = objective_of(pipeline.get("training_config", {}), "max_reference_frame")

    def loss(batch: SweepBatch, results: Tensors) -> Tensor:
        b, t = batch.cells.shape[:2]
        with torch.no_grad():
            ids = autoencoder.encode(batch.cells.flatten(0, 1)).indices
        # The keep mask falls on the first pictures of the flattened list, as the published training has it.
        layout = dropped(batch.layout, keep_draws(b, batch.layout, objective, own), flattened=True)
        pictures = None if layout is None else layout.flatten(0, 1)
        task = draw_hidden(ids.view(b, t, -1), objective, own, shared)
        codes = None if network.options.own_table else autoencoder.vector_quantizer.entries(ids)
        logits = network(task.ids, codes, pictures, t, shared)
        value, accuracy = token_loss(logits, ids, task.hidden)
        results |= {
            "ce_loss": value,
            "accuracy": accuracy,
            "logits": logits,
            "code_indices": ids,
            "masked_indices": task.ids,
        }
        if pictures is not None:
            results["context"] = pictures.flatten(2).transpose(1, 2)[:, :: case.data.get("context_stride", 1)]
        return value

    results = train(case, setup, network, grid, loss)
    results |= {"code_age_after": autoencoder.code_age, "code_usage_after": autoencoder.code_usage}
    return thinned(results, case)


def run_diffusion_train(case: Case, setup: Setup) -> Mapping[str, Tensor]:
    run = LatentRun(case, setup)
    # Blocks that no clip wants run all the same, so that their parameters get a gradient of zero and decay.
    run.network.agreed = lambda _: True  # type: ignore[assignment]
    process = process_of(run.pipeline["train_diffusion_scheduler"])
    settings: Section = run.pipeline.get("training_config", {})
    objective = objective_of({**settings, "reference_frame_count": run.common.get("reference_frame_count", 3)})

    def loss(batch: SweepBatch, results: Tensors) -> Tensor:
        b, t = batch.cells.shape[:2]
        with torch.no_grad():
            encoded = run.encode(batch.cells)
        latents = (channels_first(encoded, t) - run.bias) / run.scale
        noisy = draw_noisy(latents, batch.layout, process, objective, run.text, run.own, run.shared)
        output = predict(run.network, noisy.sample, noisy.times, noisy.conditions)
        value, conditions = noisy.loss(output), noisy.conditions
        results |= {
            "latents": encoded,
            "mse_loss": value,
            "model_output": output,
            "network_input": noisy.sample,
            "timesteps": noisy.times,
            "reference_frame_indicator": noisy.known,
            "disable_temporal": noisy.task.single,
            "encoder_hidden_states_shape": torch.tensor((b, t, 1, run.text[0])),
        }
        if conditions.layout is not None:
            results["condition_mean_per_frame"] = conditions.layout[:, :, 0].mean((-1, -2))
        if conditions.pooled is not None:
            results["pooled_projections_shape"] = torch.tensor(conditions.pooled.squeeze(2).shape)
        return value

    return thinned(train(case, setup, run.network, run.grid, loss), case)


def objective_of(settings: Section, most_known: str = "reference_frame_count") -> SweepObjective:
    """The draws of a section `training_config`."""
    names = {
        "3dbox_condition_ratio": "keep_boxes",
        "hdmap_condition_ratio": "keep_map",
        "task_type_ratio": "prediction",
        "generation_task_ratio": "generation",
        "image_generation_ratio": "single",
        most_known: "most_known",
    }
    return SweepObjective(**{ours: settings[name] for name, ours in names.items() if name in settings})
