"""`LidarRecipe`: everything that decides a run of sweeps, composed of the rooms' own options. Touches no device, reads no file."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from dwm.config.data import SourceOptions
from dwm.config.recipe import Dtype, Network
from dwm.data.birdseye import BirdseyeOptions
from dwm.diffusion.options import TokenSampling
from dwm.networks.dit.options import DiTOptions
from dwm.networks.lidar.options import SweepAutoencoderOptions, TokenNetworkOptions, VqOptions
from dwm.options import Options
from dwm.training.loop.options import LoopOptions
from dwm.training.objectives.options import SweepObjective

AUTOENCODER, GENERATOR = "autoencoder", "generator"
"""Names of the stages, and of the files in a folder of weights."""

SWEEPS_OF_NUSCENES = SourceOptions(split="train", views=(), frames=1, rates=((0.0, 1.0),), key_frames_only=True)


class LidarData(Options):
    """Which sweeps are read, and what of them."""

    train: tuple[SourceOptions, ...] = Field((SWEEPS_OF_NUSCENES,), description="what is trained on, set after set")
    validation: tuple[SourceOptions, ...] = Field(
        (SWEEPS_OF_NUSCENES.with_(split="val"),),
        description="what is previewed, generated and scored; training never sees it",
    )
    nearest: float = Field(2.4, ge=0, description="metres around the LiDAR whose points are left out")
    farthest: float = Field(72.0, gt=0, description="metres around the LiDAR beyond which points are left out")
    points: int = Field(24_000, gt=0, le=1 << 24, description="points of a training sweep at most, drawn at random")
    held_out_points: int = Field(32_768, gt=0, le=1 << 24, description="points of a held-out sweep at most")
    boxes: bool = Field(False, description="whether boxes are told")
    map: bool = Field(False, description="whether the map is told")
    birdseye: BirdseyeOptions = Field(
        BirdseyeOptions(left_is_up=False, pen_width=4, fill_map=False), description="how these are drawn"
    )
    clips: int | None = Field(None, ge=1, description="training clips of a world that is drawn; none: 1000")
    in_memory: bool = Field(
        False, description="whether prepared clips stay in memory (a sweep along 32 x 512 rays: 0.4 MB)"
    )
    shuffle: bool = Field(True, description="training clips in random order")
    fixed_order: bool = Field(False, description="the same order in every epoch")
    workers: int = Field(0, ge=0, description="processes that prepare clips; 0: the training process does")

    @property
    def layout_channels(self) -> int:
        return 3 * (self.boxes + self.map)


class TokenGenerator(Options):
    """Sweeps as codes of which hidden ones are drawn."""

    kind: Literal["tokens"] = Field("tokens", description="which generator")
    network: TokenNetworkOptions = Field(TokenNetworkOptions(), description="which codes hidden tokens may have")
    sampling: TokenSampling = Field(TokenSampling(), description="how they are drawn")
    blank_codes: str | None = Field(
        None,
        description="file with the codes of empty space (JSON, or a pickled list of numbers); none: sampling.blank",
    )


class LatentSampling(Options):
    """How latents are denoised."""

    steps: int = Field(5, gt=0, le=100_000, description="steps from noise to latents")
    guidance: float | None = Field(3.0, description="how far to follow the layout; null: without guidance")
    separate: bool = Field(False, description="the halves of guidance one after the other: half the memory")


class LatentGenerator(Options):
    """Sweeps as latents from above that are denoised by a network of the cameras' kinds, which sees one view."""

    kind: Literal["latents"] = Field("latents", description="which generator")
    network: Network = Field(DiTOptions(), description="the network")
    prediction: Literal["flow", "clean", "epsilon", "v_prediction"] = Field(
        "flow", description="what it answers with; clean: the flow's latents without noise"
    )
    scheduler: dict[str, Any] = Field({"shift": 3.0}, description="settings of the noise, as a scheduler has them")
    text_channels: int = Field(1024, gt=0, le=65536, description="channels of the words, of which there are none")
    pooled_channels: int | None = Field(None, gt=0, le=65536, description="channels of the pooled words; null: none")
    scale: float = Field(1.0, gt=0, description="latents are divided by this")
    bias: float = Field(0.0, description="after this is taken from them")
    sampling: LatentSampling = Field(LatentSampling(), description="how latents are denoised")


Generator = Annotated[TokenGenerator | LatentGenerator, Field(discriminator="kind")]


class LidarTraining(LoopOptions):
    """How the (last) network learns: the loop, what a micro-batch is, and what is asked."""

    epochs: int | None = Field(None, ge=1, description="end after so many passes over the data, if `steps` come later")
    clips: int = Field(1, gt=0, le=1024, description="clips in a micro-batch")
    frames: int = Field(1, gt=0, le=1024, description="consecutive sweeps of each")
    losses: dict[str, float] = Field({}, description="weights of an autoencoder's losses; none: as published")
    objective: SweepObjective = Field(SweepObjective(), description="what a generator is told, and how often")

    def loop(self) -> LoopOptions:
        return LoopOptions(**{key: getattr(self, key) for key in LoopOptions.model_fields})


class LidarSampling(Options):
    """How the sweeps of a clip follow one another."""

    window: int = Field(8, gt=0, le=1024, description="sweeps that one pass of the generator sees")
    known: int = Field(0, ge=0, description="first sweeps of a clip that are given")
    carried: int = Field(3, ge=0, description="last sweeps of a window that begin the next one")


class LidarPreview(Options):
    """What is looked at while training."""

    every: int = Field(500, ge=0, description="steps between two pictures of a held-out clip; 0: none")


class LidarScores(Options):
    """What is measured."""

    clips: int = Field(16, gt=0, description="held-out clips that are scored, spread over the sets")
    reaches: tuple[float, ...] = Field((30.0, 40.0), description="metres of the cropped Chamfer distances")
    seed: int = Field(0, ge=0, description="noise of the first clip")


class LidarRecipe(Options):
    """A named, typed run of sweeps: an autoencoder, or a generator beside one."""

    name: str = Field("", description="the recipe's name; also the default folder below runs/")
    verb: Literal["lidar"] = Field("lidar", description="what this file runs")
    compatibility: Literal["ours", "reference"] = Field(
        "ours", description="reference: keep OpenDWM's oddities, so that its users get their numbers"
    )
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1 or npu")
    autocast: Dtype | None = Field(None, description="numbers of matrix products; none: the device's best")
    data: LidarData = Field(LidarData(), description="which sweeps are read, and what of them")
    centre: tuple[float, float, float] = Field(
        (1.0, 0.0, 2.0), description="where rays start, in metres in the vehicle's frame"
    )
    autoencoder: SweepAutoencoderOptions = Field(VqOptions(), description="sweeps to codes or latents and back")
    autoencoder_weights: str | None = Field(
        None, description="its weights: a file, or a folder that holds one; none: they are trained, or there are none"
    )
    generator: Generator | None = Field(None, description="what makes sweeps; null: the autoencoder alone")
    weights: str | None = Field(None, description="the generator's weights; none: random numbers")
    autoencoder_training: LidarTraining | None = Field(
        None, description="the autoencoder's stage before the generator's; null: it comes from its weights"
    )
    training: LidarTraining = Field(LidarTraining(), description="how the generator (or the autoencoder alone) learns")
    sampling: LidarSampling = Field(LidarSampling(), description="how the sweeps of a clip follow one another")
    preview: LidarPreview = Field(LidarPreview(), description="what is looked at on the way")
    scores: LidarScores = Field(LidarScores(), description="what is measured")

    @property
    def published(self) -> bool:
        """Whether OpenDWM's oddities are kept."""
        return self.compatibility == "reference"

    def stages(self) -> dict[str, LidarTraining]:
        """What is trained, by name, in order."""
        if self.generator is None:
            return {AUTOENCODER: self.training}
        first = {} if self.autoencoder_training is None else {AUTOENCODER: self.autoencoder_training}
        return {**first, GENERATOR: self.training}
