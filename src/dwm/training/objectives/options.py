"""The mix of tasks that a training step asks of the driving network, as options. Draws no numbers."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from dwm.checkpoints.card import Optional
from dwm.diffusion.options import Weighting
from dwm.errors import DwmError
from dwm.options import Options


class ObjectiveOptions(Options):
    """The task mix: generation from noise, single images, or prediction from given first frames."""

    shift: float = Field(3.0, gt=0, description="shift of the noise levels towards noise")
    times: Weighting = Field("logit_normal", description="how often each noise level is trained")
    weighting: Literal["sigma_squared", "velocity"] = Field(
        "sigma_squared",
        description="sigma_squared: error of the clean latents, as published; velocity: of the velocity",
    )
    style: Literal["ctsd", "diffusion_forcing"] | None = Field(
        None, description="ctsd: first frames may be given; diffusion_forcing: a noise level per frame; null: neither"
    )
    keep_text: float = Field(1.0, ge=0, le=1, description="share of clips that keep their captions")
    keep_boxes: float = Field(1.0, ge=0, le=1, description="share of clips that keep their box pictures")
    keep_map: float = Field(1.0, ge=0, le=1, description="share of clips that keep their map pictures")
    keep_action: float = Field(1.0, ge=0, le=1, description="share of clips that keep speed and steering")
    keep_explicit_view: float = Field(1.0, ge=0, le=1, description="share of clips that keep their cameras' matrices")
    drop_all: float = Field(0.0, ge=0, le=1, description="share of clips that lose captions, boxes and map together")
    generation_tasks: float = Field(0.0, ge=0, le=1, description="ctsd: share of clips without given frames")
    image_tasks: float = Field(
        0.0, ge=0, le=1, description="share of generation clips whose frames do not see each other"
    )
    all_references_visible: float = Field(
        0.0, ge=0, le=1, description="ctsd: share of clips with all given frames shown"
    )
    reference_visible: float = Field(1.0, ge=0, le=1, description="ctsd: else, share of given frames and views shown")
    reference_frames: int | dict[int, float] = Field(0, description="ctsd: given frames, a number or number → share")
    reference_scale_std: float | None = Field(None, ge=0, description="deviation of a random scale of given latents")
    reference_offset_std: float | None = Field(None, ge=0, description="deviation of a random offset of given latents")
    disable_reference_loss: bool = Field(False, description="given frames do not count in the loss")
    loss_scale: float = Field(
        1.0, gt=0, description="what the loss is multiplied by; matters where gradients are clipped"
    )
    rising: float = Field(
        0.0,
        ge=0,
        le=1,
        description="ctsd: share of clips whose noise rises from frame to frame, the first of them finished, as in a stream",
    )
    box_weight: float = Field(1.0, ge=1, description="weight of the latents under drawn boxes; 1: like all others")

    @model_validator(mode="after")
    def _shares(self) -> ObjectiveOptions:
        if isinstance(self.reference_frames, dict) and abs(sum(self.reference_frames.values()) - 1) > 1e-3:
            raise ValueError(f"reference_frames: the shares must sum to 1, found {sum(self.reference_frames.values())}")
        if self.rising and self.style != "ctsd":
            raise ValueError(f"rising: {self.rising:g} is for style ctsd; diffusion_forcing draws every frame's noise")
        return self

    @property
    def optional(self) -> tuple[Optional, ...]:
        """Conditions that some clips lose, by themselves or (`layout`: boxes and map) together: weights can do without them."""
        shares: dict[Optional, float] = {"text": self.keep_text, "boxes": self.keep_boxes, "map": self.keep_map}
        together: tuple[Optional, ...] = ("text", "layout") if self.drop_all else ()
        return tuple(dict.fromkeys((*(name for name, share in shares.items() if share < 1), *together)))

    def share(self, condition: str) -> float:
        """The share of clips that keep a condition."""
        return getattr(self, f"keep_{condition}") if f"keep_{condition}" in type(self).model_fields else 1.0

    def in_latents(self, frames_per_latent: int) -> ObjectiveOptions:
        """The same with given frames counted in latents, of which the first holds one frame and the others so many."""

        def latents(frames: int) -> int:
            if frames_per_latent > 1 and frames and frames % frames_per_latent != 1:
                raise DwmError(
                    f"training.objective.reference_frames: {frames} frames are not whole latents of {frames_per_latent} "
                    f"frames after a first one; give 1, {1 + frames_per_latent}, {1 + 2 * frames_per_latent}, … frames"
                )
            return (frames - 1) // frames_per_latent + 1

        reference = self.reference_frames
        counts = (
            latents(reference) if isinstance(reference, int) else {latents(n): share for n, share in reference.items()}
        )
        return self.with_(reference_frames=counts)


class SweepObjective(Options):
    """How often a generator of sweeps is told what."""

    keep_boxes: float = Field(0.8, ge=0, le=1, description="share of clips that keep the boxes")
    keep_map: float = Field(0.8, ge=0, le=1, description="share of clips that keep the map")
    prediction: float = Field(0.0, ge=0, le=1, description="share of clips with known first frames (tokens)")
    generation: float = Field(0.6, ge=0, le=1, description="share of clips that may have no known frame (latents)")
    single: float = Field(0.3, ge=0, le=1, description="of those, share whose frames are pictures on their own")
    most_known: int = Field(3, gt=0, description="known frames at most")
