"""What the options of all driving networks have in common, and the layout adapter's. Holds and checks them; builds nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeVar

from pydantic import Field, model_validator

from dwm.options import Options

Self = TypeVar("Self", bound="NetworkOptions")
Compatibility = Literal["ours", "reference"]


class NetworkOptions(Options):
    """A driving network's options, as far as other rooms ask. What a kind of network does differently it says here."""

    if TYPE_CHECKING:  # fields that every kind has, each with its own default
        in_channels: int = 4
        projection_class_embeddings_input_dim: int | None = None
        condition_image_adapter_config: AdapterOptions | None = None
        enable_crossview: bool = False
        enable_temporal: bool = False

    @property
    def latent_multiple(self) -> int:
        """Rows and columns of latents must divide by this."""
        return 1

    @property
    def largest_side(self) -> int | None:
        """Tokens in a side of the largest picture; None: any."""
        return None

    @property
    def perspective(self) -> Literal["implicit", "explicit", ""]:
        """Cameras as numbers, as rays of each token, or not at all."""
        raise NotImplementedError

    @property
    def process(self) -> Literal["flow", "ddpm"]:
        """The noise process that it is trained in."""
        return "flow"

    @property
    def tokens_follow_layout(self) -> bool:
        """Whether the layout adapter's features must lie where the tokens lie; a U-Net's lie where its levels do."""
        return self.process == "flow"

    @property
    def recomputes(self) -> bool:
        """Whether the options themselves ask for recomputation in the backward pass."""
        return False

    def with_compatibility(self: Self, compatibility: Compatibility) -> Self:
        """The same with OpenDWM's oddities kept or not, where this kind has any."""
        return self

    def without_recomputation(self: Self) -> Self:
        """The same, keeping what the backward pass needs."""
        adapter = getattr(self, "condition_image_adapter_config", None)
        if adapter is None:
            return self
        return self.with_(condition_image_adapter_config=adapter.with_(gradient_checkpointing=False))

    def without_switches(self: Self, frames: int, views: int) -> Self:
        """The same arithmetic without per-item switches, whose values a network without numbers cannot ask for; and without
        the blocks that a single frame or a single view has no use for."""
        return self


class AdapterOptions(Options):
    """The layout adapter: pictures of boxes and maps to residuals of the transformer's blocks."""

    in_channels: int = Field(3, le=65536, description="channels of the layout, 3 per picture (6 = boxes and map)")
    channels: tuple[int, ...] = Field((320, 320, 640, 1280, 1280), description="width of each level, one residual each")
    is_downblocks: tuple[bool, ...] = Field(
        (False, True, True, True, False), description="levels that halve the size first"
    )
    num_res_blocks: int = Field(2, le=100, description="residual units per level")
    downscale_factor: int = Field(8, le=1024, description="pixels per side folded into channels before the first level")
    use_zero_convs: bool = Field(False, description="a 1×1 convolution, zero at first, after each level")
    zero_gate_coef: float | None = Field(None, description="outputs are scaled by tanh(coef · learned gate); null: not")
    gradient_checkpointing: bool = Field(True, description="recompute levels in the backward pass")

    @model_validator(mode="after")
    def _levels(self) -> AdapterOptions:
        if len(self.channels) != len(self.is_downblocks):
            raise ValueError(f"channels has {len(self.channels)} levels, is_downblocks {len(self.is_downblocks)}")
        return self
