"""The older pipeline of UniMLVG (`dwm.pipelines.unimlvg.Unimlvg`), as the fields of a recipe. Builds nothing."""

from __future__ import annotations

from typing import Any

from dwm.opendwm.config.names import DIT
from dwm.opendwm.config.pipeline import CONDITION_KEYS, SCALER, SHARE_KEYS, distribution, metrics, read_network
from dwm.opendwm.config.reader import Section

UNIMLVG = "dwm.pipelines.unimlvg.Unimlvg"
READ_NOT_USED = "OpenDWM reads it and does not use it"
WINDOW_FIELDS = "how many frames are given is told by visible_frame, how many there are by batch_frame"
CLIPPED_AT = 10.0
"""The gradient norm at which this pipeline clips."""


def read_unimlvg(section: Section) -> dict[str, Any]:
    """The fields of a recipe; only the way of training that the published config uses is known."""
    section.class_name((UNIMLVG,))
    common = section.section("common_config")
    training = section.section("training_config")
    window = common.take_as(int, "batch_frame", 6)
    reference_frames = common.take_as(int, "visible_frame", 3)
    recipe: dict[str, Any] = {
        "base_model": section.take_as(str, "pretrained_model_name_or_path"),
        "weights": section.take("DiT_checkpoint_path", None),
        "weights_strict": False,
        "network": read_network(section.section("DiT"), (DIT,)),
        "conditions": _common(common),
        "autoencoder_piece": max(0, common.take_as(int, "memory_efficient_batch", -1)),
        "training": _training(training, reference_frames),
        "sampling": _sampling(section.section("inference_config"), reference_frames),
    }
    layout = recipe["network"].get("condition_image_adapter_config") is not None
    recipe["conditions"] |= {"boxes": layout, "map": layout}
    recipe["preview"] = {"window": window, "given_frames": True, **recipe["sampling"].pop("preview")}
    common.close()
    section.ignore("recomputing is chosen by the network's own options", "checkpointing")
    section.ignore("OpenDWM ignores it", "layout_encoder_config")
    recipe.update(metrics(section))
    section.close()
    return recipe


def _common(common: Section) -> dict[str, Any]:
    kind = common.take("ar_input_type", "pred")
    if kind != "pred":
        raise common.fault("ar_input_type", f"{kind!r} is not known; known: pred")
    distribution(common)
    common.ignore("T5 is used where the base model has it", "enable_T5")
    common.ignore(READ_NOT_USED, "single_frame")
    return {key: common.take(key) for key in CONDITION_KEYS if key in common}


def _training(training: Section, reference_frames: int) -> dict[str, Any]:
    optimizer = training.take("optimizer_name", "torch.optim.AdamW")
    if optimizer != "torch.optim.AdamW":
        raise training.fault("optimizer_name", f"{optimizer!r} is not known; known: torch.optim.AdamW")
    arguments = training.section("optimizer_arguments")
    schedule = training.maybe("optimization_scheduler")
    if schedule is not None and schedule.take("name", "constant") != "constant":
        raise schedule.fault("name", "only a constant rate is known here")
    if schedule is not None:
        schedule.close()
    none, images = training.take("video_gen_ratio", 0), training.take("image_pred_ratio", 0)
    alone = training.take("drop_temporal_ratio", 0)
    if alone > none:
        raise training.fault(
            "drop_temporal_ratio", f"{alone} is more than video_gen_ratio ({none}); at most that is known"
        )
    objective = {
        "style": "ctsd",
        "shift": 3.0,
        "reference_frames": reference_frames,
        "generation_tasks": none,
        "image_tasks": alone / none if none else 0,
        "all_references_visible": 1 - images,
        "reference_visible": 0.5,
        "disable_reference_loss": True,
        **{name: training.take(key) for key, name in SHARE_KEYS.items() if key in training},
    }
    training.ledger.note(
        "this older pipeline draws its tasks in one go; they are told here as shares of the newer one's separate draws"
    )
    clipped = training.take_as(bool, "enable_grad_clip", True)
    loop = {
        "objective": objective,
        "freeze": training.take("freezing_pattern", None),
        "accumulate": training.take_as(int, "gradient_accumulation_steps", 1),
        "clip_norm": CLIPPED_AT if clipped else 0,
        "ema_decay": 0,
        "optimizer": {"lr": arguments.take_as(float, "lr"), "betas": arguments.take("betas", [0.9, 0.999])},
    }
    arguments.close()
    training.ignore(SCALER, "enable_grad_scaler", "use_amp")
    training.ignore(READ_NOT_USED, "latent_sample_method")
    training.close(also=SHARE_KEYS)
    return loop


def _sampling(inference: Section, reference_frames: int) -> dict[str, Any]:
    sampling = {
        "num_inference_steps": inference.take_as(int, "inference_steps"),
        "guidance_scale": inference.take_as((int, float), "guidance_scale", 1),
        "reference_frames": reference_frames,
        "preview": {
            "size": inference.take("preview_image_size", None),
            "score_clips": inference.take("evaluation_item_count", None),
        },
    }
    inference.close()
    return sampling
