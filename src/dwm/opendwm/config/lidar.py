"""OpenDWM's LiDAR runs as fields of ours, by explicit tables: every key is translated, or left out with its reason."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dwm.opendwm.config.files import FILE_SYSTEMS, State
from dwm.opendwm.config.lidar_data import ReadSweeps, read_sweeps
from dwm.opendwm.config.lidar_networks import token_options, vae_autoencoder_options, vq_autoencoder_options
from dwm.opendwm.config.names import LIDAR_PIPELINES
from dwm.opendwm.config.networks import DIT, UNET, dit_options, unet_options
from dwm.opendwm.config.pipeline import SCALER, UNREAD, distribution, read_network
from dwm.opendwm.config.reader import CLASS, Ignored, Section

MESH = "torch.distributed.device_mesh.init_device_mesh"
ADAMW = "torch.optim.AdamW"
EXPONENTIAL = "torch.optim.lr_scheduler.ExponentialLR"
FLOW, DDPM, DDIM = (f"diffusers.{name}Scheduler" for name in ("FlowMatchEulerDiscrete", "DDPM", "DDIM"))
SCORES = {
    "dwm.metrics.pc_metrics.PointCloudChamfer": "chamfer",
    "dwm.metrics.pc_metrics.PointCloudMMD": "mmd",
    "dwm.metrics.pc_metrics.PointCloudJSD": "jsd",
    "dwm.metrics.voxel_metrics.VoxelIoU": "iou",
}

PROCESSES = "processes and devices are given to the command that starts a run"
LOADER = "batches are prepared ahead in the order that training asks for; nothing has to be chosen"
RESULTS = "published results of the run, not settings"
NEVER_READ = "OpenDWM reads `lr_scheduler` alone, so that its rate stayed as it was; so does ours"
WRITTEN = "sweeps and a picture from above are written for every clip that is generated"
SIZES = "pictures from above are as large as the grid"
STEPS = "OpenDWM reads `sample_steps` alone (30 where it is missing), and so do we"
NO_EFFECT = "has no effect, or follows from other sizes"
ALL_SCORES = "all scores of sweeps are computed"
NEVER_BUILT = "no run has this part"
ONE_FRAME = "the lengths of the clips decide"
VOXELS = {"voxelizer": ("dwm.models.voxelizer.Voxelizer",)}
CODE_CLASSES = VOXELS | {
    "": ("dwm.models.vq_point_cloud.VQPointCloud",),
    "vector_quantizer": ("dwm.models.vq_point_cloud.VectorQuantizer",),
    "lidar_encoder": ("dwm.models.vq_point_cloud.VQEncoder",),
    "lidar_decoder": ("dwm.models.vq_point_cloud.VQDecoder",),
}
CODES_UNREAD = ("lidar_decoder.num_patches",)
VAE_MODULES = ("dwm.models.vae_point_cloud", "dwm.models.lidar_vae_model")
"""The second is a module that a published file names and that never was there: the first is meant."""
LATENT_CLASSES = VOXELS | {
    part: tuple(f"{module}.{name}" for module in VAE_MODULES)
    for part, name in {
        "": "VAEPointCloud",
        "variational_model": "VariationalModel",
        "lidar_encoder": "PointCloudEncoder",
        "lidar_decoder": "PointCloudDecoder",
    }.items()
}
LATENTS_UNREAD = (
    *(f"lidar_decoder.{key}" for key in ("upcast", "bias_init", "use_gt_voxel", "downsample_voxel", "grid_size")),
    "variational_model.variational_model_config",
)
TOKEN_CLASSES = {
    "": ("dwm.models.maskgit_model.BidirectionalTransformerWithAdapter",),
    "condition_adapter": ("dwm.models.adapters.ImageAdapter",),
}
MOST_STEPS = 10**9
"""Steps of a run that ends after so many passes over the data."""
SHARES = {
    "3dbox_condition_ratio": "keep_boxes",
    "hdmap_condition_ratio": "keep_map",
    "task_type_ratio": "prediction",
    "generation_task_ratio": "generation",
    "image_generation_ratio": "single",
}
UNREAD_SWITCHES = (
    *("cat_condition", "cond_with_layout", "cond_with_cxt", "cond_with_action", "train_ctsd", "train_maskgit"),
    *("train_bevformer", "train_lss", "train_feature_exchange", "infer_feature_exchange", "latent_sample_method"),
    "disable_condition",
)


def read_lidar(top: Section, pipeline: str) -> dict[str, Any]:
    """The run, with every key of it taken."""
    state = State(dict(top.take_as(dict, "global_state", {})))
    section = top.section("pipeline")
    kind = LIDAR_PIPELINES[section.class_name(LIDAR_PIPELINES)]
    run: dict[str, Any] = {"verb": "lidar", "name": Path(top.ledger.source).stem, "compatibility": "reference"}
    run["training"] = _training(top)
    common = _common(section.section("common_config"), run)
    run["training"] |= _objective(_section_or_none(section, "training_config"), common)
    run |= READERS[kind](section)
    run["sampling"] = _sampling(_section_or_none(section, "inference_config"), run, common)
    _scores(section)
    section.ignore(NEVER_BUILT, "bev_layout_encoder")
    section.close()
    _data(top, state, run)
    _rest(top, state, run)
    return run


def _section_or_none(section: Section, key: str) -> Section:
    """The object of a key; an empty one where there is none."""
    return section.maybe(key) or Section({}, section.at(key), section.ledger)


def _training(top: Section) -> dict[str, Any]:
    training: dict[str, Any] = {"seed": top.take_as(int, "generator_seed", 0), "ema_decay": 0, "clip_norm": 0}
    training["epochs"] = top.take("train_epochs", None)
    training["steps"] = MOST_STEPS if training["epochs"] is not None else 1000
    training["accumulate"] = top.take_as(int, "gradient_accumulation_steps", 1)
    if (optimizer := top.maybe("optimizer")) is not None:
        optimizer.class_name((ADAMW,))
        training["optimizer"] = {
            "lr": optimizer.take_as(float, "lr", 1e-3),
            "betas": optimizer.take("betas", [0.9, 0.999]),
            "eps": optimizer.take_as(float, "eps", 1e-8),
            "weight_decay": optimizer.take_as((int, float), "weight_decay", 0.01),
        }
        optimizer.close()
    if (schedule := top.maybe("lr_scheduler")) is not None:
        schedule.class_name((EXPONENTIAL,))
        training["schedule"] = {"gamma": schedule.take_as((int, float), "gamma")}
        schedule.close()
    top.ignore(NEVER_READ, "scheduler")
    return training


def _common(common: Section, run: dict[str, Any]) -> dict[str, Any]:
    """What other sections need of it; the rest goes into the run."""
    run["centre"] = common.take_as(list, "ray_cast_center")
    if (autocast := common.maybe("autocast")) is not None:
        run["autocast"] = "float16"
        autocast.ignore("the device is chosen once, in `device`", "device_type")
        autocast.close()
    distribution(common)
    common.ignore(UNREAD, *(key for key in UNREAD_SWITCHES if key in common))
    common.ignore("OpenDWM reads that of inference_config", "separate_forward")
    common.ignore(ONE_FRAME, "single_frame", "enable_temporal")
    common.ignore("scores are asked for by dwm evaluate", "should_evaluate")
    common.ignore("blocks are recomputed where their own sections say so", "enable_gradient_checkpointing")
    values = {
        "text": common.take_as(int, "text_embeddings_dim", 1024),
        "pooled": common.take("pooled_text_embeddings_dim", None),
        "references": common.take_as(int, "reference_frame_count", 3),
        "frames": common.take("num_training_frames", None),
        "carried": common.take_as(int, "max_reference_frame", 3),
        "scale": common.take_as((int, float), "latent_scale", 1),
        "bias": common.take_as((int, float), "latent_bias", 0),
    }
    common.close()
    return values


def _objective(training: Section, common: dict[str, Any]) -> dict[str, Any]:
    objective = {ours: training.take(key) for key, ours in SHARES.items() if key in training}
    most = training.take("max_reference_frame", None)
    # Latents: OpenDWM looks for this number in common_config, where it is not.
    training.ignore(
        f"OpenDWM reads that of common_config ({common['references']}, or 3 where it is missing)",
        "reference_frame_count",
    )
    objective["most_known"] = most or common["references"]
    values: dict[str, Any] = {"objective": objective}
    values["clip_norm"] = training.take_as((int, float), "max_norm_for_grad_clip", 0)
    if (losses := training.maybe("loss_coef_dict")) is not None:
        values["losses"] = losses.rest()
        losses.close()
    if "gradient_accumulation_steps" in training:
        values["accumulate"] = training.take_as(int, "gradient_accumulation_steps")
    common["frames"] = training.take("num_training_frames", common["frames"])
    common["amp"] = training.take_as(bool, "use_amp", False)
    training.ignore(SCALER, "enable_grad_scaler")
    training.ignore(PROCESSES, "ddp_wrapper_setting")
    training.ignore(UNREAD, *(key for key in UNREAD_SWITCHES if key in training))
    training.close(also=SHARES)
    return values


def _checked(section: Section, classes: Mapping[str, tuple[str, ...]], unread: tuple[str, ...]) -> None:
    """The classes that a network's section names, part by part; arguments that have no effect are listed."""
    for part, names in classes.items():
        inner = section.maybe(part) if part else section
        if inner is not None:
            inner.class_name(names)
    for path in unread:
        part, _, key = path.partition(".")
        inner = section.maybe(part)
        if inner is not None and key in inner:
            inner.leave_out(key, NO_EFFECT)
    kind = section.maybe("variational_model")
    if kind is not None and kind.take("model_type", "vae") != "vae":
        raise kind.fault("model_type", f"{kind.take('model_type')!r} is not known; known: vae")


def _codes(section: Section) -> dict[str, Any]:
    key = "vq_point_cloud"
    options = vq_autoencoder_options(section.take_as(dict, key), _at(section, section.at(key)))
    _checked(section.section(key), CODE_CLASSES, CODES_UNREAD)
    values: dict[str, Any] = {"autoencoder": _dumped(options)}
    if (path := section.take("vq_point_cloud_ckpt_path", None)) is not None:
        values["autoencoder_weights"] = path
    return values


def _distribution(section: Section, key: str = "lidar_vae") -> dict[str, Any]:
    options = vae_autoencoder_options(section.take_as(dict, key), _at(section, section.at(key)))
    _checked(section.section(key), LATENT_CLASSES, LATENTS_UNREAD)
    path = section.take("lidar_vae_checkpoint_path", None) or section.take("autoencoder_ckpt_path", None)
    return {"autoencoder": _dumped(options), **({} if path is None else {"autoencoder_weights": path})}


def _tokens(section: Section) -> dict[str, Any]:
    key = "bi_directional_Transformer"
    network = token_options(section.take_as(dict, key), _at(section, section.at(key)))
    _checked(section.section(key), TOKEN_CLASSES, ())
    generator = {"kind": "tokens", "network": _dumped(network)}
    generator["blank_codes"] = section.take("vq_blank_code_path", None)
    return {**_codes(section), "generator": generator, "weights": section.take("model_ckpt_path", None)}


def _latents(section: Section) -> dict[str, Any]:
    network = read_network(section.section("diffusion_model"), (DIT, UNET))
    make = unet_options if network[CLASS] == UNET else dit_options
    options = make(network, _at(section, section.at("diffusion_model")))
    generator: dict[str, Any] = {"kind": "latents", "network": _dumped(options), **_noise(section)}
    weights = section.take("diffusion_model_ckpt_path", None)
    return {**_distribution(section, "autoencoder"), "generator": generator, "weights": weights}


READERS = {"codebook": _codes, "autoencoder": _distribution, "maskgit": _tokens, "diffusion": _latents}


def _noise(section: Section) -> dict[str, Any]:
    """The noise of training; sampling's scheduler must be of the same settings."""
    both = [section.section(key) for key in ("train_diffusion_scheduler", "test_diffusion_scheduler")]
    names = [each.class_name((FLOW, DDPM, DDIM)) for each in both]
    train, test = (each.rest() for each in both)
    unlike = [key for key in train if key in test and train[key] != test[key]]
    if unlike or (names[0] == FLOW) != (names[1] == FLOW):
        key = f"test_diffusion_scheduler.{(unlike or [CLASS])[0]}"
        raise section.fault(key, "is another one than that of training; give both the same")
    prediction = "flow" if names[0] == FLOW else train.get("prediction_type", "epsilon")
    return {"scheduler": {**train, **test}, "prediction": prediction}


def _sampling(inference: Section, run: dict[str, Any], common: dict[str, Any]) -> dict[str, Any]:
    """How clips are made; what a generator samples by goes into its own settings."""
    generator = run.get("generator")
    if common["amp"]:
        run["autocast"] = "float16"
    if generator is None:
        inference.ignore(SIZES, "preview_image_size", "preview_lidar_img_size")
        inference.close()
        return {"window": 1, "known": 0, "carried": 0}
    if generator["kind"] == "tokens":
        guided = inference.take_as(bool, "do_classifier_free_guidance", False)
        scale = inference.take_as((int, float), "guidance_scale", 3)
        blank = inference.take_as(bool, "use_blank_code", False)
        if "sample_steps" not in inference:
            inference.ignore(STEPS, "inference_steps")
        generator["sampling"] = {
            "steps": inference.take_as(int, "sample_steps", 30),
            "guidance": scale if guided else None,
            "noise": not inference.take_as(bool, "use_maskgit", False),
            "blank_steps": 10 if blank else 0,
        }
        if not blank:
            generator["blank_codes"] = None
    else:
        generator |= {"text_channels": common["text"], "scale": common["scale"], "bias": common["bias"]}
        generator["pooled_channels"] = common["pooled"]
        generator["sampling"] = {
            "steps": inference.take_as(int, "inference_steps", 50),
            "guidance": inference.take("guidance_scale", None),
            "separate": inference.take_as(bool, "separate_forward", False),
        }
    follows = inference.take_as(bool, "enable_autoregressive_inference", False)
    references = inference.take_as(bool, "use_ground_truth_as_reference", True)
    inference.ignore(UNREAD, *(key for key in UNREAD_SWITCHES if key in inference))
    inference.ignore(WRITTEN, *(f"save_{part}" for part in ("preview", "pred_results", "raw_results", "gt_results")))
    inference.ignore(WRITTEN, "save_vq_results")
    inference.close()
    if not follows:
        inference.ledger.note(
            "OpenDWM draws by chance whether a clip's first sweeps are given; here sampling.known says so (0: none)"
        )
    return {"window": common["frames"] or 8, "known": common["carried"] if follows and references else 0} | {
        "carried": common["carried"]
    }


def _scores(section: Section) -> None:
    scores = section.maybe("metrics")
    if scores is None:
        return
    for name in scores.unread():
        score = scores.section(name)
        score.class_name(SCORES)
        score.ignore(ALL_SCORES, "inner_dist")
        score.close()
    scores.close()


def _data(top: Section, state: State, run: dict[str, Any]) -> None:
    train = _sets(top, "training_dataset", state)
    held_out = _sets(top, "validation_dataset", state, train)
    first = train if train.sources else held_out
    data: dict[str, Any] = {"train": train.sources, "validation": held_out.sources}
    data |= first.common
    if "points" in held_out.common:
        data["held_out_points"] = held_out.common["points"]
    data["birdseye"] = {"left_is_up": False, "pen_width": 4, "fill_map": False, **first.birdseye}
    rows, columns = run["autoencoder"]["encoder"]["size"]
    data["birdseye"].setdefault("size", [columns, rows])
    data["shuffle"] = top.take_as(bool, "data_shuffle", True)
    for key in ("training_dataloader", "validation_dataloader", "preview_dataloader"):
        if (loader := top.maybe(key)) is None:
            continue
        if key == "training_dataloader":
            run["training"]["clips"] = loader.take_as(int, "batch_size", 1)
            data["workers"] = loader.take_as(int, "num_workers", 0)
        else:
            loader.ignore("clips are generated one after another", "batch_size", "num_workers")
        loader.ignore(LOADER, "collate_fn", "prefetch_factor", "persistent_workers", "shuffle", "drop_last")
        loader.close()
    if first.sources:
        run["training"]["frames"] = first.sources[0]["frames"]
    if run["sampling"]["window"] > 1 and first.sources and first.sources[0]["frames"] == 1:
        run["sampling"] |= {"window": 1, "known": 0, "carried": 0}
    run["data"] = data


def _sets(top: Section, key: str, state: State, before: ReadSweeps | None = None) -> ReadSweeps:
    section = top.maybe(key)
    return ReadSweeps() if section is None else read_sweeps(section, state, before)


def _rest(top: Section, state: State, run: dict[str, Any]) -> None:
    device = top.take_as(str, "device", "auto")
    run["device"] = "auto" if device == "cuda" else device
    if device == "cuda":
        top.ledger.note("device cuda is read as auto: CUDA where it is, else an NPU, else the processor")
    for name in state.entries:
        if name not in state.used:
            top.section("global_state").section(name).class_name((MESH, *FILE_SYSTEMS))
            top.ledger.ignored.append(Ignored(f"global_state.{name}", PROCESSES))
    top.ignore(PROCESSES, "ddp_backend")
    top.ignore(RESULTS, "informations")
    top.ignore(WRITTEN, "save_results")
    top.ignore(SIZES, "preview_image_size")
    top.ignore(UNREAD, "depth_sdf_loss_coef")
    top.close()


def _dumped(options: Any) -> dict[str, Any]:
    return options.model_dump(mode="json")


def _at(section: Section, where: str) -> str:
    return f"{section.ledger.source}: {where}"
