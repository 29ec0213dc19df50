"""Sizes of the networks for sweeps. Holds and checks them; builds nothing."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from dwm.data.rays import RayOptions
from dwm.networks.options import AdapterOptions
from dwm.options import Options

Size = tuple[int, int]


class VqNetworkOptions(Options):
    """An encoder to codes or a decoder from them."""

    size: Size = Field((640, 640), description="rows and columns of cells")
    layers: int = Field(64, gt=0, le=4096, description="layers of cells")
    patch: int = Field(8, gt=0, description="cells in a side of a token")
    width: int = Field(
        512, gt=0, le=65536, description="channels of a token on the coarser grid, twice those on the finer"
    )
    heads: int = Field(8, gt=0, description="heads of every attention")
    depth: int = Field(
        12, ge=4, le=1000, description="blocks of the encoder; the decoder has as many and two more for a head"
    )
    code_channels: int = Field(1024, gt=0, le=65536, description="channels of a code")
    guarded: bool = Field(False, description="1e-7 is added to the denominators of the attention")
    recompute: bool = Field(False, description="blocks are computed again in the backward pass")
    upsample: Literal["pixel_shuffle", "conv_transpose"] = Field("pixel_shuffle", description="how tokens are parted")
    bias: float = Field(-5.0, description="where the logits of the cells start")

    @model_validator(mode="after")
    def _divides(self) -> VqNetworkOptions:
        if self.patch % 4 or any(cells <= 0 or cells % self.patch for cells in self.size):
            raise ValueError(
                f"patches of {self.patch} cells do not divide {self.size[0]} x {self.size[1]} cells in quarters"
            )
        if self.width % 8:
            raise ValueError(f"a width of {self.width} is no multiple of 8")
        return self

    @property
    def coarse(self) -> Size:
        """Rows and columns of tokens."""
        return self.size[0] // self.patch, self.size[1] // self.patch

    @property
    def fine(self) -> Size:
        """Rows and columns of the tokens before they are merged, and after they are parted again."""
        return 2 * self.coarse[0], 2 * self.coarse[1]


class VaeEncoderOptions(Options):
    """The encoder to a distribution: shifted windows of the second generation."""

    size: Size = Field((640, 640), description="rows and columns of cells")
    layers: int = Field(64, gt=0, le=4096, description="layers of cells")
    depths: tuple[int, ...] = Field((4, 8), description="blocks of each stage; between two of them tokens are merged")
    heads: tuple[int, ...] = Field((16, 16), description="heads of each stage")
    window: int = Field(8, gt=0, description="tokens in a side of a window")
    patch: int = Field(4, gt=0, description="cells in a side of a token of the first stage")
    width: int = Field(256, gt=0, le=65536, description="channels of the first stage, doubled by each merging")
    recompute: bool = Field(False, description="blocks are computed again in the backward pass")

    @property
    def channels(self) -> int:
        return self.width * 2 ** (len(self.depths) - 1)

    @property
    def tokens(self) -> Size:
        factor = self.patch * 2 ** (len(self.depths) - 1)
        return self.size[0] // factor, self.size[1] // factor


class VaeDecoderOptions(Options):
    """The decoder of latents to cells and, with `rendered`, to a grid of features for depths."""

    size: Size = Field((640, 640), description="rows and columns of cells")
    layers: int = Field(64, gt=0, le=4096, description="layers of cells")
    patch: int = Field(4, gt=0, description="cells in a side of a token, once tokens were parted")
    width: int = Field(512, gt=0, le=65536, description="channels of a token")
    heads: int = Field(8, gt=0, description="heads of every attention")
    depth: Size = Field((8, 4), description="blocks before tokens are parted, and of each head")
    latent_channels: int = Field(32, gt=0, le=65536, description="channels of a latent")
    rendered: bool = Field(False, description="has the head for depths")
    feature_layers: int = Field(32, gt=0, le=4096, description="layers of the grid of features")
    feature_channels: int = Field(64, gt=0, le=65536, description="channels of the grid of features")
    recompute: bool = Field(False, description="blocks are computed again in the backward pass")

    @model_validator(mode="after")
    def _divides(self) -> VaeDecoderOptions:
        if any(cells % (2 * self.patch) for cells in self.size):
            raise ValueError(f"patches of {2 * self.patch} cells do not divide {self.size[0]} x {self.size[1]} cells")
        if self.width % 32 or self.width % self.heads:
            raise ValueError(f"a width of {self.width} is no multiple of 32 and of {self.heads} heads")
        return self

    @property
    def coarse(self) -> Size:
        """Rows and columns of latents."""
        return self.size[0] // (2 * self.patch), self.size[1] // (2 * self.patch)


class TokenNetworkOptions(Options):
    """The network that tells which codes hidden tokens have."""

    codes: int = Field(2048, gt=0, le=1 << 24, description="codes of the table")
    code_channels: int = Field(1024, gt=0, le=65536, description="channels of a code")
    size: Size = Field((80, 80), description="rows and columns of tokens")
    width: int = Field(1280, gt=0, le=65536, description="channels of a token")
    depth: int = Field(24, gt=0, le=1000, description="blocks")
    heads: int = Field(40, gt=0, description="heads of every attention")
    own_table: bool = Field(True, description="visible tokens are looked up in a table of its own, not the codes")
    temporal: bool = Field(False, description="after each block tokens see the same place in all frames")
    adapter: AdapterOptions | None = Field(None, description="the layout's adapter; null: no layout")
    recompute: bool = Field(False, description="blocks are computed again in the backward pass")
    perturbed: float = Field(0.0, ge=0, le=1, description="share of visible tokens that training replaces")
    perturbed_among: int = Field(5, gt=0, description="by one of so many nearest codes, the code itself among them")

    @model_validator(mode="after")
    def _divides(self) -> TokenNetworkOptions:
        if self.width % (2 * self.heads) or self.width % 4:
            raise ValueError(f"a width of {self.width} has no {self.heads} heads of an even number of channels")
        return self


class GridOptions(Options):
    """The box of cells around the vehicle (its frame: x forward, y left, z up) and the size of a cell, in metres."""

    x_min: float = Field(-50.0, description="metres")
    x_max: float = Field(50.0, description="metres")
    y_min: float = Field(-50.0, description="metres")
    y_max: float = Field(50.0, description="metres")
    step: float = Field(0.15625, gt=0, description="side of a cell in metres")
    z_min: float = Field(-3.0, description="metres")
    z_max: float = Field(5.0, description="metres")
    z_step: float = Field(0.125, gt=0, description="height of a cell in metres")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Layers (z), rows (y), columns (x), by rounding."""
        return (
            round((self.z_max - self.z_min) / self.z_step),
            round((self.y_max - self.y_min) / self.step),
            round((self.x_max - self.x_min) / self.step),
        )


class QuantizerOptions(Options):
    """The table of codes."""

    codes: int = Field(2048, gt=0, le=1 << 24, description="codes of the table")
    channels: int = Field(1024, gt=0, le=65536, description="channels of a code")
    beta: float = Field(0.25, ge=0, description="weight of the commitment")
    cosine: bool = Field(False, description="codes are compared by angle instead of distance")
    dead_limit: int = Field(256, gt=0, description="steps without use after which a code is dead")


class VqOptions(Options):
    """The autoencoder with a table of codes."""

    kind: Literal["codes"] = Field("codes", description="which autoencoder")
    grid: GridOptions = Field(GridOptions(), description="the cells")
    encoder: VqNetworkOptions = Field(VqNetworkOptions(), description="cells to tokens")
    decoder: VqNetworkOptions = Field(VqNetworkOptions(), description="codes to cells and densities")
    quantizer: QuantizerOptions = Field(QuantizerOptions(), description="tokens to codes")
    density_bias: float = Field(-5.0, description="where the logits of the rendered densities start")


class RenderOptions(Options):
    """How depths are rendered in the box of cells."""

    step: float = Field(0.05, gt=0, description="metres between samples of a ray")
    near: float = Field(0.0, ge=0, description="where rays begin, in units of their length")
    far: float = Field(1e9, gt=0, description="where rays end, in units of their length")
    lower: tuple[float, float, float] = Field((0.0, 0.0, 0.0), description="metres that the box's lower corner moves")
    upper: tuple[float, float, float] = Field((0.0, 0.0, 0.0), description="metres that the box's upper corner moves")


class VaeOptions(Options):
    """The autoencoder with a distribution of latents."""

    kind: Literal["distribution"] = Field("distribution", description="which autoencoder")
    grid: GridOptions = Field(GridOptions(), description="the cells")
    encoder: VaeEncoderOptions = Field(VaeEncoderOptions(), description="cells to features")
    decoder: VaeDecoderOptions = Field(VaeDecoderOptions(), description="latents to cells")
    render: RenderOptions = Field(RenderOptions(step=0.15), description="how depths are rendered")


class RayCodecOptions(Options):
    """No autoencoder: sweeps as images along the LiDAR's rays, which have no weights."""

    kind: Literal["rays"] = Field("rays", description="which autoencoder")
    grid: GridOptions = Field(GridOptions(), description="the cells of scores and of pictures from above")
    rays: RayOptions = Field(RayOptions(), description="the LiDAR")

    @property
    def channels(self) -> int:
        """Of an image: which of two surfaces a ray meets, how far, how bright."""
        return 4


SweepAutoencoderOptions = Annotated[VqOptions | VaeOptions | RayCodecOptions, Field(discriminator="kind")]
