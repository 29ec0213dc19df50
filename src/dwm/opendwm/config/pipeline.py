"""The pipeline sections of OpenDWM's video runs, as the fields of a recipe. Builds nothing."""

from __future__ import annotations

from typing import Any

from dwm.errors import nearest
from dwm.evaluation.options import DEFAULT_OPTIONAL
from dwm.opendwm.config.names import DIT, UNET
from dwm.opendwm.config.reader import CLASS, Section

CTSD = "dwm.pipelines.ctsd.CrossviewTemporalSD"
STREAMING = "dwm.pipelines.ctsd.StreamingCrossviewTemporalSD"
QUANTIZATION = "diffusers.quantizers.quantization_config.BitsAndBytesConfig"
FID = "torchmetrics.image.fid.FrechetInceptionDistance"
QUICK = ("layout_retrieval", "box_pixels")
FVD = "dwm.metrics.fvd.FrechetVideoDistance"
WORDS = {
    "temporal_attention_type": ("full", "rowwise", "pointwise"),
    "perspective_modeling_type": ("implicit", "explicit", ""),
    "mixer_type": ("AlphaBlender", "Mixer"),
}
"""Arguments of the transformer that are one of a few words."""
DTYPES = {"torch.float16": "float16", "torch.bfloat16": "bfloat16", "torch.float32": "float32"}
FORCING_SOLVER = "dwm.schedulers.temporal_independent.FlowMatchEulerDiscreteScheduler"
MULTISTEP_SOLVER = "diffusers.DPMSolverMultistepScheduler"
SOLVERS = (
    FORCING_SOLVER,
    MULTISTEP_SOLVER,
    "dwm.schedulers.temporal_independent.DDIMScheduler",
    "diffusers.DDIMScheduler",
    "diffusers.FlowMatchEulerDiscreteScheduler",
)
NOISES = ("diffusers.DDPMScheduler", "dwm.schedulers.temporal_independent.DDPMScheduler")
VIDEO_VAE = "diffusers.AutoencoderKLCogVideoX"

SPREAD = "how a run is spread over devices is chosen when it is started, not in its config"
UNREAD = "OpenDWM reads this key nowhere"
MISSPELT = "OpenDWM reads action_condition_ratio; this key had no effect there"
SCALER = "float16 gradients are scaled wherever they are computed in float16"
VARIANT = "the files that are there decide"
QUANTIZED = "text encoders run in text_dtype; each distinct prompt is encoded once, so quantization saves nothing"
TYPED_TIME = "typed batches and conditions know which of their fields have a time axis"
FACTOR = "the autoencoder itself says how it compresses time"
SOLVER = "the network's own kind of noise decides the solver; for SD 2.1 that is DDIM"
NOISE = "noise is drawn for each frame or each clip as the network asks for it; both classes add the same"
NORMALIZED = "pictures are floats in 0 … 1 here, as `normalize` says"
PRINTED = "missing and unexpected keys are always told"
DEPTH = "no depth is predicted"
DETAIL = "extra log entries; the curves have what is computed"
SHARE_KEYS = {
    "text_prompt_condition_ratio": "keep_text",
    "3dbox_condition_ratio": "keep_boxes",
    "hdmap_condition_ratio": "keep_map",
    "action_condition_ratio": "keep_action",
    "explicit_view_modeling_ratio": "keep_explicit_view",
    "generation_task_ratio": "generation_tasks",
    "image_generation_ratio": "image_tasks",
    "all_reference_visible_ratio": "all_references_visible",
    "reference_visible_rate": "reference_visible",
    "reference_frame_scale_std": "reference_scale_std",
    "reference_frame_offset_std": "reference_offset_std",
    "disable_reference_frame_loss": "disable_reference_loss",
    "weighting_scheme": "times",
}
CONDITION_KEYS = (
    "condition_on_all_frames",
    "uncondition_image_color",
    "added_time_ids",
    "camera_intrinsic_embedding_indices",
    "camera_intrinsic_denom_embedding_indices",
    "camera_transform_embedding_indices",
    "explicit_view_modeling",
    "disable_crossview",
    "disable_temporal",
)
SENSORS = "poses are those of the cameras, whatever other sensors a set lists"


def read_pipeline(section: Section) -> dict[str, Any]:
    """The fields of a recipe that the sections common_config, training_config, inference_config and model decide."""
    streaming = section.class_name((CTSD, STREAMING)) == STREAMING
    recipe = _weights(section)
    recipe["network"] = read_network(section.section("model"), (DIT, UNET))
    layout = recipe["network"].get("condition_image_adapter_config") is not None
    common = _common(section.section("common_config"), recipe)
    recipe["conditions"] = {"condition_on_all_frames": False, **common, "boxes": layout, "map": layout}
    recipe["training"] = read_training(section.section("training_config"), recipe.pop("style"))
    _inference(section.section("inference_config"), recipe, streaming)
    recipe.update(metrics(section))
    section.close()
    return recipe


def read_network(section: Section, names: tuple[str, ...]) -> dict[str, Any]:
    """The network's class and arguments. OpenDWM takes any other word for the last of `WORDS`; here that would hide a typo."""
    name = section.class_name(names)
    for key, words in WORDS.items():
        value = section.take(key, None)
        if name == DIT and value is not None and value not in words:
            raise section.fault(key, f"{value!r} is not known{nearest(str(value), words)}; known: {', '.join(words)}")
    return {CLASS: name, **{key: section.take(key) for key in WORDS if key in section}, **section.rest()}


def _weights(section: Section) -> dict[str, Any]:
    loading = section.maybe("model_load_state_args")
    strict = True if loading is None else bool(loading.take("strict", True))
    if loading is not None:
        loading.close()
    return {
        "base_model": section.take_as(str, "pretrained_model_name_or_path"),
        "weights": section.take("model_checkpoint_path", None),
        "weights_strict": strict,
        "weights_dtype": dtype(section, "model_dtype"),
    }


def _common(common: Section, recipe: dict[str, Any]) -> dict[str, Any]:
    """The conditions; what else stands there goes straight into the recipe."""
    recipe["style"] = common.take("frame_prediction_style", None)
    recipe["autoencoder_piece"] = max(0, common.take_as(int, "memory_efficient_batch", -1))
    text = common.maybe("text_encoder_load_args")
    recipe["text_dtype"] = "float32" if text is None else dtype(text, "torch_dtype")
    if text is not None:
        text.ignore(VARIANT, "variant")
        quantization = text.maybe("quantization_config")
        if quantization is not None:
            quantization.class_name((QUANTIZATION,))
            text.ignore(QUANTIZED, "quantization_config")
        text.close()
    autocast = common.maybe("autocast")
    if autocast is not None:
        recipe["autocast"] = "float16"
        autocast.ignore("the device is chosen once, in `device`", "device_type")
        autocast.close()
    kind = common.take("vae", None)
    folder = common.take("vae_pretrained_model_name_or_path", None)
    if kind not in (None, VIDEO_VAE, "diffusers.AutoencoderKL"):
        raise common.fault("vae", f"{kind!r} is not known; known: diffusers.AutoencoderKL, {VIDEO_VAE}")
    recipe["autoencoder_folder"] = folder
    distribution(common)
    common.ignore(UNREAD, "cat_condition", "cond_with_action")
    common.ignore(PRINTED, "print_load_state_info")
    common.ignore(DETAIL, "report_detail")
    common.ignore(SENSORS, "camera_ego_sensor_indices")
    conditions = {key: common.take(key) for key in CONDITION_KEYS if key in common}
    common.close(also=CONDITION_KEYS)
    return conditions


def distribution(common: Section) -> None:
    common.ignore(
        SPREAD,
        "distribution_framework",
        "ddp_wrapper_settings",
        "t5_fsdp_wrapper_settings",
        "fsdp_ignored_module_pattern",
    )


def read_training(training: Section, style: str | None) -> dict[str, Any]:
    """The training options that `training_config` decides; `style` is common_config's frame_prediction_style."""
    objective: dict[str, Any] = {"style": style, "shift": 3.0}
    for key, name in SHARE_KEYS.items():
        if key in training:
            objective[name] = training.take(key)
    if (count := training.take("reference_frame_count", None)) is not None:
        objective["reference_frames"] = count
    if objective.get("times", "mode") not in ("logit_normal", "mode"):
        training.ledger.note(
            f"weighting_scheme {objective['times']!r}: OpenDWM draws even noise levels for it; so do we"
        )
        objective["times"] = "uniform"
    if (coefficients := training.maybe("loss_coef_dict")) is not None:
        objective["loss_scale"] = coefficients.take("sd", 1)
        coefficients.ignore(DEPTH, "d")
        coefficients.close()
    alone = training.take_as(int, "extra_reference_infer", 0)
    loop = {
        "objective": objective,
        "freeze": training.take("freezing_pattern", None),
        "accumulate": training.take_as(int, "gradient_accumulation_steps", 1),
        "clip_norm": training.take_as((int, float), "max_norm_for_grad_clip", 0),
        "ema_decay": 0,
        "references_alone": alone,
    }
    training.ignore(SCALER, "enable_grad_scaler")
    training.ignore(MISSPELT, "action_condition_mask")
    if (scheduler := training.take("scheduler", None)) not in (None, *NOISES):
        raise training.fault("scheduler", f"{str(scheduler)[:80]!r} is not known; known: {', '.join(NOISES)}")
    if scheduler is not None:
        training.ignore(NOISE, "scheduler")
    training.close(also=SHARE_KEYS)
    return loop


def _inference(inference: Section, recipe: dict[str, Any], streaming: bool) -> None:
    solver = inference.take("scheduler", None)
    if solver not in (None, *SOLVERS):
        raise inference.fault("scheduler", f"{str(solver)[:80]!r} is not known; known: {', '.join(SOLVERS)}")
    multistep = solver == MULTISTEP_SOLVER and recipe["network"][CLASS] == UNET
    if solver is not None and not multistep:
        inference.ignore(SOLVER, "scheduler")
    forcing = recipe["training"]["objective"]["style"] == "diffusion_forcing"
    recipe["sampling"] = {
        "num_inference_steps": inference.take_as(int, "inference_steps"),
        "guidance_scale": inference.take_as((int, float), "guidance_scale", 1),
        "solver": "multistep" if multistep else "usual",
        "style": "stream" if streaming else "forcing" if forcing else "windows",
        "text_every": inference.take_as(int, "text_prompt_interval", 1),
        "reference_frames": inference.take_as(int, "reference_frame_count", 1),
        "finished_frames": inference.take_as(int, "clear_reference_frame_count", 0),
    }
    window = inference.take("sequence_length_per_iteration", None)
    recipe["preview"] = {
        "window": window,
        "size": inference.take("preview_image_size", None),
        "given_frames": not inference.take_as(bool, "generate_frames_for_reference", True),
        "score_clips": inference.take("evaluation_item_count", None),
    }
    if window is None:
        recipe["sampling"]["reference_frames"] = 0
    inference.ignore(
        TYPED_TIME,
        "autoregression_data_exception_for_take_sequence",
        "autoregression_condition_exception_for_take_sequence",
    )
    inference.ignore(FACTOR, "vae_pre", "vae_stride")
    inference.ignore("one preview is written for a run, whichever process makes it", "all_rank_preview")
    if streaming:
        recipe["stream"] = {}
    inference.close()


def metrics(section: Section) -> dict[str, Any]:
    """FID and FVD beside those of our scores that generate nothing more; computed where their feature files are here."""
    scores = section.maybe("metrics")
    if scores is None:
        return {}
    values: dict[str, Any] = {"scores": list(QUICK), "optional": list(DEFAULT_OPTIONAL)}
    for name in scores.unread():
        score = scores.section(name)
        if score.class_name((FID, FVD)) == FID:
            values["optional"].append("fid")
            score.ignore(NORMALIZED, "normalize")
        else:
            values["optional"].append("fvd")
            frames = score.take_as(int, "sequence_count", -1)
            values["fvd_frames"] = frames if frames >= 0 else None
            values["i3d_file"] = score.take_as(str, "inception_3d_checkpoint_path")
        score.close()
    scores.close()
    return {"evaluation": values}


def dtype(section: Section, key: str, default: str = "float32") -> str:
    """A number type that is written as `{"_class_name": "get_class", "class_name": "torch.float16"}`."""
    part = section.maybe(key)
    if part is None:
        return default
    part.class_name(("get_class",))
    name = part.take("class_name")
    if name not in DTYPES:
        raise part.fault("class_name", f"{str(name)[:80]!r} is not known; known: {', '.join(DTYPES)}")
    part.close()
    return DTYPES[name]
