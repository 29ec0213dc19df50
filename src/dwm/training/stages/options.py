"""Options of the stages of training. Trains nothing."""

from __future__ import annotations

from pydantic import Field

from dwm.options import Options
from dwm.training.loop.options import LoopOptions
from dwm.training.objectives.options import ObjectiveOptions


class AutoencoderLossOptions(Options):
    gradient: float = Field(1.0, ge=0, description="weight of the picture gradients' L1 at scales 1, 2 and 4")
    quarter: float = Field(1.0, ge=0, description="weight of the L1 of pictures halved twice")
    chroma: float = Field(1.0, ge=0, description="weight of the L1 of (R−G, B−G) at half size: else colours come last")
    kl: float = Field(1e-5, ge=0, description="weight of the divergence from a unit Gaussian, per latent value")
    adversarial: float = Field(0.05, ge=0, description="weight of the discriminator's verdict, decoder stage only")
    latent_noise: float = Field(0.1, ge=0, description="noise on the latents in the decoder stage, in their deviations")


class AutoencoderStageOptions(Options):
    """One stage: the whole autoencoder on crops, or its decoder alone against a discriminator."""

    decoder_only: bool = Field(False, description="freeze the encoder, noise the latents, judge with a discriminator")
    crop: tuple[int, int] = Field((64, 64), description="width and height of the crops in pixels")
    batch: int = Field(4, gt=0, description="crops a step")
    loss: AutoencoderLossOptions = AutoencoderLossOptions()


class BatchOptions(Options):
    """What a micro-batch is made of."""

    clips: int = Field(1, gt=0, description="clips, or parts of clips, in a micro-batch")
    frames: int = Field(1, gt=0, description="consecutive frames of each")
    views: int | None = Field(None, description="views of each, drawn at random; null: all")
    train_text: bool = Field(False, description="train the text encoders with the network")
    share: float = Field(1.0, gt=0, le=1, description="share of the clips that is used")
    sample_latents: bool = Field(
        True, description="latents are sampled anew each time, as published; false: always their mean"
    )


class AutoencoderStage(Options):
    name: str = Field(..., description="name of the stage's folder")
    loop: LoopOptions = LoopOptions()
    pictures: AutoencoderStageOptions = AutoencoderStageOptions()


class DrivingStage(Options):
    name: str = Field(..., description="name of the stage's folder")
    loop: LoopOptions = LoopOptions()
    batch: BatchOptions = BatchOptions()
    objective: ObjectiveOptions = ObjectiveOptions()
