"""Options of the stages of training. Trains nothing."""

from __future__ import annotations

from pydantic import Field, model_validator

from dwm.options import Options
from dwm.training.loop.options import LoopOptions
from dwm.training.objectives.options import ObjectiveOptions


class AutoencoderLossOptions(Options):
    pixels: float = Field(
        1.0, gt=0, description="weight of all that compares pixels: the L1, and the three that follow"
    )
    gradient: float = Field(1.0, ge=0, description="weight of the picture gradients' L1 at scales 1, 2 and 4")
    quarter: float = Field(1.0, ge=0, description="weight of the L1 of pictures halved twice")
    chroma: float = Field(1.0, ge=0, description="weight of the L1 of (R−G, B−G) at half size: else colours come last")
    kl: float = Field(1e-5, ge=0, description="weight of the divergence from a unit Gaussian, per latent value")
    adversarial: float = Field(0.05, ge=0, description="weight of the discriminator's verdict, decoder stage only")
    latent_noise: float = Field(0.1, ge=0, description="noise on the latents in the decoder stage, in their deviations")
    features: float = Field(
        0.0,
        ge=0,
        description="weight of the distance in EfficientNet-Lite0's ImageNet features, decoder stage only; "
        "needs the extra dwm[scores]",
    )
    contrast: float = Field(
        0.0,
        ge=0,
        description="weight of the difference in contrast, window by window, decoder stage only: how much edge there is, "
        "not where exactly, so that what is uncertain is not drawn blurred",
    )
    judged_features: bool = Field(
        False, description="the discriminator reads those features as well as the pictures; needs the extra dwm[scores]"
    )


class AutoencoderStageOptions(Options):
    """One stage: the whole autoencoder on crops, or its decoder alone against a discriminator."""

    decoder_only: bool = Field(False, description="freeze the encoder, noise the latents, judge with a discriminator")
    crop: tuple[int, int] = Field((64, 64), description="width and height of the crops in pixels")
    batch: int = Field(4, gt=0, description="crops a step")
    loss: AutoencoderLossOptions = AutoencoderLossOptions()

    @property
    def needs_features(self) -> bool:
        """Whether pictures are compared or judged in ImageNet features."""
        return self.decoder_only and (self.loss.features > 0 or self.loss.judged_features)


class BatchShape(Options):
    """A micro-batch of another shape in the same stage, so that one network learns fewer views and shorter clips as well."""

    share: float = Field(..., gt=0, lt=1, description="share of the clips that are seen in this shape")
    clips: int = Field(1, gt=0, description="clips, or parts of clips, in a micro-batch")
    frames: int = Field(1, gt=0, description="consecutive frames of each")
    views: int | None = Field(None, gt=0, description="neighbouring views of each, drawn at random; null: all")


class BatchOptions(Options):
    """What a micro-batch is made of."""

    clips: int = Field(1, gt=0, description="clips, or parts of clips, in a micro-batch")
    frames: int = Field(1, gt=0, description="consecutive frames of each")
    views: int | None = Field(None, description="views of each, drawn at random; null: all")
    mix: tuple[BatchShape, ...] = Field(
        (),
        description="other shapes that a share of the clips is seen in; only where the autoencoder is trained as well",
    )
    train_text: bool = Field(False, description="train the text encoders with the network")
    share: float = Field(1.0, gt=0, le=1, description="share of the clips that is used")
    sample_latents: bool = Field(
        True, description="latents are sampled anew each time, as published; false: always their mean"
    )

    @model_validator(mode="after")
    def _shares(self) -> BatchOptions:
        if (total := sum(shape.share for shape in self.mix)) >= 1:
            raise ValueError(f"mix: the shares must leave some clips for the batch itself, but they sum to {total:g}")
        return self

    @property
    def lengths(self) -> tuple[int, ...]:
        """Numbers of frames that are seen."""
        return tuple(sorted({self.frames, *(shape.frames for shape in self.mix)}))


class AutoencoderStage(Options):
    name: str = Field(..., description="name of the stage's folder")
    loop: LoopOptions = LoopOptions()
    pictures: AutoencoderStageOptions = AutoencoderStageOptions()


class DistillationOptions(Options):
    """What a copy of the network learns instead of data: to come as far in one step as the network itself in several."""

    steps: int = Field(4, ge=1, le=100, description="sampling steps of the copy, without guidance")
    substeps: int = Field(2, ge=1, le=100, description="guided steps of the network that one of them stands for")
    guidance: float = Field(2.0, ge=0, description="guidance of these")


class DrivingStage(Options):
    name: str = Field(..., description="name of the stage's folder")
    loop: LoopOptions = LoopOptions()
    batch: BatchOptions = BatchOptions()
    objective: ObjectiveOptions = ObjectiveOptions()
