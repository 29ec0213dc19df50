"""Options of the SD 2.1 driving network, under the names that published configs use. Holds and checks them; builds nothing."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from dwm.networks.options import AdapterOptions, NetworkOptions

Count = Annotated[int, Field(gt=0, le=100)]
Counts = Count | tuple[Count, ...]
DownBlock = Literal["CrossAttnDownBlockCrossviewTemporal", "DownBlockCrossviewTemporal"]
UpBlock = Literal["CrossAttnUpBlockCrossviewTemporal", "UpBlockCrossviewTemporal"]


class UNetOptions(NetworkOptions):
    """The cross-view temporal U-Net: Stable Diffusion 2.1's, with blocks across views and frames in each transformer."""

    sample_size: int | None = Field(None, description="latent side of the base model; has no effect")
    in_channels: int = Field(4, gt=0, le=65536, description="channels of the latents")
    out_channels: int = Field(4, gt=0, le=65536, description="channels predicted")
    down_block_types: tuple[DownBlock, ...] = Field(
        (*("CrossAttnDownBlockCrossviewTemporal",) * 3, "DownBlockCrossviewTemporal"),
        description="levels on the way down, with or without transformers",
    )
    up_block_types: tuple[UpBlock, ...] = Field(
        ("UpBlockCrossviewTemporal", *("CrossAttnUpBlockCrossviewTemporal",) * 3),
        description="levels on the way up, with or without transformers",
    )
    block_out_channels: tuple[int, ...] = Field((320, 640, 1280, 1280), description="width of each level")
    addition_time_embed_dim: int = Field(256, gt=0, le=65536, description="width of the sinusoid of each camera number")
    projection_class_embeddings_input_dim: int | None = Field(
        768, le=65536, description="width of all sinusoids together; null: no camera numbers"
    )
    layers_per_block: Counts = Field(
        2, description="residual blocks per level on the way down, one more on the way up; a number, or one per level"
    )
    cross_attention_dim: int = Field(1024, gt=0, le=65536, description="width of the text sequence")
    transformer_layers_per_block: Counts = Field(
        1, description="blocks of each transformer; a number, or one per level"
    )
    num_attention_heads: tuple[int, ...] = Field((5, 10, 20, 20), description="heads of each level")
    enable_crossview: bool = Field(True, description="blocks across views")
    enable_temporal: bool = Field(True, description="blocks across frames")
    enable_rowwise_crossview: bool = Field(False, description="see one row of tokens across views instead of one place")
    enable_rowwise_temporal: bool = Field(False, description="see one row of tokens across frames instead of one place")
    merge_factor: float = Field(0.5, description="initial weight of the untouched stream, before the sigmoid")
    condition_image_adapter_config: AdapterOptions | None = Field(None, description="layout adapter; null: no layout")

    @property
    def perspective(self) -> Literal["implicit", "explicit", ""]:
        return "implicit" if self.projection_class_embeddings_input_dim else ""

    @property
    def process(self) -> Literal["flow", "ddpm"]:
        return "ddpm"

    @model_validator(mode="before")
    @classmethod
    def _one_number_for_all_levels(cls, values: object) -> object:
        if not isinstance(values, dict):
            return values
        if isinstance(heads := values.get("num_attention_heads"), int):
            values = {**values, "num_attention_heads": (heads,) * len(values.get("block_out_channels", (0,) * 4))}
        # There is one text, so that all levels must agree on its width.
        if isinstance(widths := values.get("cross_attention_dim"), list | tuple) and len(set(widths)) == 1:
            values = {**values, "cross_attention_dim": widths[0]}
        return values

    def per_level(self, name: Literal["layers_per_block", "transformer_layers_per_block"]) -> tuple[int, ...]:
        """A number of blocks for each level, from the widest picture to the smallest."""
        value = getattr(self, name)
        return (value,) * len(self.block_out_channels) if isinstance(value, int) else value

    @model_validator(mode="after")
    def _agree(self) -> UNetOptions:
        levels = len(self.block_out_channels)
        for name in ("down_block_types", "up_block_types", "num_attention_heads"):
            if len(getattr(self, name)) != levels:
                raise ValueError(f"{name} has {len(getattr(self, name))} levels, block_out_channels {levels}")
        for name in ("layers_per_block", "transformer_layers_per_block"):
            counts = self.per_level(name)
            if len(counts) != levels or min(counts) < 1:
                raise ValueError(f"{name} must be a number from 1 on, or {levels} of them, found {getattr(self, name)}")
        for width, heads in zip(self.block_out_channels, self.num_attention_heads, strict=True):
            if width % heads or width % 32:
                raise ValueError(f"block_out_channels: {width} must divide by 32 and by its {heads} heads")
        adapter = self.condition_image_adapter_config
        expected = (self.block_out_channels[0], *self.block_out_channels)
        if adapter is not None and adapter.channels != expected[: len(adapter.channels)]:
            raise ValueError(f"condition_image_adapter_config.channels must begin {expected}, found {adapter.channels}")
        return self
