"""The recipes of the embedded weights: a base model and a driving network from nothing, small enough for two cores."""

from __future__ import annotations

from dwm.base_models.options import TinyOptions
from dwm.checkpoints import SamplingOptions
from dwm.conditions import ConditionOptions
from dwm.config.data import DataOptions, SourceOptions
from dwm.config.recipe import Recipe, TrainingOptions
from dwm.config.registry import recipe
from dwm.networks import AdapterOptions, DiTOptions
from dwm.training.loop.options import LoopOptions, OptimizerOptions, ScheduleOptions
from dwm.training.objectives.options import ObjectiveOptions
from dwm.training.stages.options import (
    AutoencoderLossOptions,
    AutoencoderStage,
    AutoencoderStageOptions,
    BatchOptions,
    BatchShape,
    DistillationOptions,
    DrivingStage,
)

WIDTH = 128
FEW = 240
"""Steps of finetuning: with eight frames of six views some 2 s each on two cores."""
MUON = OptimizerOptions(kind="muon", lr=1e-3, muon_lr=3e-3, betas=(0.9, 0.97), weight_decay=0)
PICTURES_MUON = OptimizerOptions(kind="muon", lr=1e-3, muon_lr=3e-3, muon_except="judge", weight_decay=0)
TASKS = ObjectiveOptions(shift=1.5, weighting="velocity", drop_all=0.12, box_weight=2)
GIVEN_FRAMES = TASKS.with_(
    style="ctsd",
    generation_tasks=0.75,
    image_tasks=0.13,
    reference_frames={1: 0.5, 2: 0.2, 3: 0.3},
    all_references_visible=1,
    disable_reference_loss=True,
)


LESS = GIVEN_FRAMES.with_(drop_all=0.1, keep_text=0.85, keep_boxes=0.85, keep_map=0.85)
"""Boxes, map and words are also left out one by one, so that each is known to be missing."""

SEEING = AutoencoderLossOptions(features=1, judged_features=True, adversarial=0.03, latent_noise=0.15)
CRISP = SEEING.with_(contrast=2, adversarial=0.01)
"""ImageNet features say whether windows, lines and wheels are there, but blur what is uncertain; contrast and judge answer that."""

SCENES = SourceOptions(kind="town", seed=1000, split="train", frames=8, rates=((4, 0.5),))


def town_network() -> DiTOptions:
    """Few parameters and many steps: 128 wide, eight blocks, cameras as numbers."""
    return DiTOptions(
        num_layers=8,
        attention_head_dim=WIDTH // 4,
        num_attention_heads=4,
        sample_size=24,
        in_channels=8,
        out_channels=8,
        joint_attention_dim=96,
        caption_projection_dim=WIDTH,
        pooled_projection_dim=96,
        pos_embed_max_size=12,
        qk_norm="rms_norm",
        qk_norm_on_additional_modules="rms_norm",
        perspective_modeling_type="implicit",
        projection_class_embeddings_input_dim=2816,
        # Folding 16 pixels at once puts the layout on the grid of tokens without a loss of place.
        condition_image_adapter_config=AdapterOptions(
            in_channels=6,
            channels=(WIDTH,) * 3,
            is_downblocks=(False,) * 3,
            num_res_blocks=1,
            downscale_factor=16,
            use_zero_convs=True,
            gradient_checkpointing=False,
        ),
        enable_crossview=True,
        crossview_attention_type="rowwise",
        crossview_block_layers=(2, 5),
        enable_temporal=True,
        temporal_attention_type="pointwise",
        temporal_block_layers=(3, 6),
        merge_factor=0,
    )


def loop(steps: int, seed: int, accumulate: int = 2, decay: float = 0) -> LoopOptions:
    """A stage of the driving network."""
    schedule = ScheduleOptions(warmup=30, decay=decay)
    return LoopOptions(
        steps=steps,
        seed=seed,
        accumulate=accumulate,
        ema_decay=0.998,
        save_every=100,
        optimizer=MUON,
        schedule=schedule,
    )


def pictures(steps: int, optimizer: OptimizerOptions, decay: float) -> LoopOptions:
    """A stage of the autoencoder."""
    schedule = ScheduleOptions(warmup=20, decay=decay)
    return LoopOptions(steps=steps, ema_decay=0.995, save_every=250, optimizer=optimizer, schedule=schedule)


def decoder(name: str, steps: int, muon_lr: float, decay: float, loss: AutoencoderLossOptions) -> AutoencoderStage:
    """A stage of the decoder alone, on whole pictures."""
    return AutoencoderStage(
        name=name,
        loop=pictures(steps, PICTURES_MUON.with_(lr=5e-4, muon_lr=muon_lr), decay),
        pictures=AutoencoderStageOptions(decoder_only=True, crop=(160, 96), batch=1, loss=loss),
    )


@recipe("town")
def town() -> Recipe:
    """The embedded weights from nothing: autoencoder, then single pictures, six views, four frames, eight frames."""
    last = loop(480, seed=3, decay=0.6)
    return Recipe(
        data=DataOptions(
            train=(SCENES,), validation=(SCENES.with_(split="val"),), size=(160, 96), clips=336, workers=2
        ),
        conditions=ConditionOptions(uncondition_image_color=0.125, added_time_ids="fps_camera_transforms"),
        network=town_network(),
        # A caption of the town has up to 18 words and stops; the T5 part only has to be there.
        tiny=TinyOptions(clip_tokens=20, t5_tokens=4),
        autoencoder=(
            AutoencoderStage(name="autoencoder", loop=pictures(2000, PICTURES_MUON, 0.15)),
            decoder("decoder", 2100, 2e-3, 0.25, AutoencoderLossOptions()),
        ),
        warmup=(
            DrivingStage(
                name="pictures",
                loop=loop(1150, seed=0, accumulate=1),
                batch=BatchOptions(clips=24, frames=1, views=1, train_text=True, sample_latents=False),
                objective=TASKS,
            ),
            DrivingStage(
                name="rigs",
                loop=loop(600, seed=1),
                batch=BatchOptions(clips=3, frames=1, sample_latents=False),
                objective=TASKS,
            ),
            DrivingStage(
                name="short",
                loop=loop(500, seed=2),
                batch=BatchOptions(clips=1, frames=4, sample_latents=False),
                objective=GIVEN_FRAMES,
            ),
        ),
        training=TrainingOptions(
            **{name: getattr(last, name) for name in LoopOptions.model_fields},
            batch=BatchOptions(clips=1, frames=8, sample_latents=False),
            objective=GIVEN_FRAMES,
        ),
        sampling=SamplingOptions(num_inference_steps=16, guidance_scale=2.0, reference_frames=2),
    )


@recipe("town-more")
def town_more() -> Recipe:
    """Goes on from the embedded weights: the decoder by features, then fewer views, shorter clips and less of the layout."""
    base = town()
    last = loop(2000, seed=4, decay=0.5).with_(optimizer=MUON.with_(lr=5e-4, muon_lr=1e-3))
    shapes = (
        BatchShape(share=0.2, clips=2, frames=4),
        BatchShape(share=0.15, clips=4, frames=8, views=1),
        BatchShape(share=0.15, clips=2, frames=8, views=3),
    )
    return base.with_(
        weights="town",
        data=base.data.with_(clips=720),
        autoencoder=(decoder("features", 350, 5e-4, 0, SEEING), decoder("contrast", 700, 5e-4, 1, CRISP)),
        warmup=(),
        training=TrainingOptions(
            **{name: getattr(last, name) for name in LoopOptions.model_fields},
            batch=BatchOptions(clips=1, frames=8, mix=shapes, sample_latents=False),
            objective=LESS,
        ),
    )


@recipe("town-fast")
def town_fast() -> Recipe:
    """Few steps: a copy of the embedded network learns to draw in four steps without guidance as that does in eight with it."""
    base = town_more()
    last = loop(500, seed=6, accumulate=1, decay=0.5).with_(
        ema_decay=0.99, optimizer=MUON.with_(lr=2.5e-4, muon_lr=5e-4)
    )
    # Its targets say the same of every clip, so that small batches and few clips will do.
    shapes = (
        BatchShape(share=0.3, frames=4),
        BatchShape(share=0.2, clips=2, frames=8, views=1),
        BatchShape(share=0.2, frames=8, views=3),
    )
    return base.with_(
        data=base.data.with_(clips=64),
        autoencoder=(),
        training=TrainingOptions(
            **{name: getattr(last, name) for name in LoopOptions.model_fields},
            distillation=DistillationOptions(),
            batch=BatchOptions(clips=1, frames=8, mix=shapes, sample_latents=False),
            objective=LESS.with_(drop_all=0.05),
        ),
        preview=base.preview.with_(every=200),
    )


@recipe("town-finetune")
def town_finetune() -> Recipe:
    """Ten minutes that give the embedded weights the look of another data set: the decoder, then the driving network."""
    base = town_more()
    last = loop(FEW, seed=5, accumulate=1, decay=0.6).with_(
        ema_decay=0.98, optimizer=MUON.with_(lr=5e-4, muon_lr=1e-3), log_every=10
    )
    look = decoder("decoder", 400, 1.5e-3, 0.4, AutoencoderLossOptions(adversarial=0.02))
    return base.with_(
        data=base.data.with_(clips=None),
        autoencoder=(look.with_(loop=look.loop.with_(ema_decay=0.98)),),
        training=TrainingOptions(
            **{name: getattr(last, name) for name in LoopOptions.model_fields},
            batch=BatchOptions(clips=1, frames=8, sample_latents=False),
            objective=LESS,
        ),
        preview=base.preview.with_(every=0),
    )


@recipe("town-smoke")
def town_smoke() -> Recipe:
    """Every part of `town` for a moment: a few steps on a few clips, to see that all works."""
    base = town()

    def short(stage: LoopOptions) -> LoopOptions:
        return stage.with_(steps=2, save_every=1, log_every=1)

    one_reference = GIVEN_FRAMES.with_(reference_frames=1)
    return base.with_(
        data=base.data.with_(train=(SCENES.with_(frames=2),), clips=2, workers=1),
        autoencoder=tuple(stage.with_(loop=short(stage.loop)) for stage in base.autoencoder),
        warmup=tuple(
            stage.with_(
                loop=short(stage.loop),
                batch=stage.batch.with_(clips=1, frames=min(2, stage.batch.frames)),
                objective=one_reference if stage.batch.frames > 1 else TASKS,
            )
            for stage in base.warmup
        ),
        training=base.training.with_(
            steps=2, save_every=1, log_every=1, batch=base.training.batch.with_(frames=2), objective=one_reference
        ),
        sampling=base.sampling.with_(num_inference_steps=2, reference_frames=1),
        preview=base.preview.with_(every=2),
    )
