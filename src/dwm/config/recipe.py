"""`Recipe`: everything that decides a training run, composed of the rooms' own options. Touches no device and reads no file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, Union

from pydantic import Discriminator, Field, Tag

from dwm.base_models.options import TinyOptions
from dwm.checkpoints import SamplingOptions
from dwm.conditions import ConditionOptions
from dwm.config.data import DataOptions
from dwm.evaluation.options import EvaluationOptions
from dwm.networks import NetworkOptions
from dwm.networks.kinds import KINDS, USUAL, kind_of, kind_of_values
from dwm.options import Options
from dwm.training.loop.options import LoopOptions
from dwm.training.objectives.options import ObjectiveOptions
from dwm.training.stages.options import AutoencoderStage, BatchOptions, DistillationOptions, DrivingStage


def _kind_name(values: Any) -> str:
    """Of which kind values are options; what is neither options nor an object is told by the usual kind's faults."""
    if isinstance(values, NetworkOptions):
        return kind_of(values).name
    return kind_of_values(values if isinstance(values, dict) else {}).name


if TYPE_CHECKING:
    Network = NetworkOptions
else:
    # One of the table's kinds: what a type checker cannot read from a table.
    Network = Annotated[
        Union[tuple(Annotated[kind.options, Tag(kind.name)] for kind in KINDS.values())],  # noqa: UP007
        Discriminator(_kind_name),
    ]
Stage = TypeVar("Stage", AutoencoderStage, DrivingStage)
Dtype = Literal["float32", "bfloat16", "float16"]


class PreviewOptions(Options):
    """What is looked at while training, and how often."""

    every: int = Field(500, ge=0, description="steps between two preview videos; 0: none")
    size: tuple[int, int] | None = Field(None, description="width and height of a shown picture; none: as generated")
    window: int | None = Field(None, ge=1, description="frames generated in one pass; none: all of a clip")
    given_frames: bool = Field(False, description="whether the first window starts from the clip's own first frames")
    score_every: int = Field(
        0, ge=0, description="steps between two scores of held-out clips while a base model's run trains; 0: none"
    )
    score_clips: int | None = Field(None, ge=1, description="validation clips that are scored; none: all")


class StreamOptions(Options):
    """Live generation, frame by frame."""

    latent_size: tuple[int, int] | None = Field(None, description="rows and columns of latents")
    fps: float | None = Field(None, gt=0, description="frames a second that leave")
    show_layout: bool = Field(False, description="blend the layout into the pictures")
    encoder: dict[str, str] = Field({}, description="settings of the video encoder")
    container: dict[str, str] = Field({}, description="settings of the stream's protocol")
    simulator: str | None = Field(None, description="address of the simulator (host:port) that the frames come from")
    description: str | None = Field(None, description="what is said of the simulated place")


class TrainingOptions(LoopOptions):
    """The (last) stage of training the driving network: the loop, what a batch is, and what is asked of it."""

    epochs: int | None = Field(None, ge=1, description="end after so many passes over the data, if `steps` come later")
    freeze: str | None = Field(None, description="pattern that module names begin with: those stay as they are")
    references_alone: int = Field(
        0, ge=0, description="first frames that a video autoencoder also encodes by themselves, to be given"
    )
    distillation: DistillationOptions | None = Field(
        None,
        description="what a copy of the network that the run starts from learns from it; none: it learns from data",
    )
    batch: BatchOptions = Field(BatchOptions(), description="what a micro-batch is made of")
    objective: ObjectiveOptions = Field(ObjectiveOptions(), description="the mix of tasks, and what is dropped")

    def stage(self, name: str) -> DrivingStage:
        loop = {key: getattr(self, key) for key in LoopOptions.model_fields}
        return DrivingStage(name=name, loop=LoopOptions(**loop), batch=self.batch, objective=self.objective)


class Recipe(Options):
    """A named, typed run. The resolved JSON of one, saved beside each result, starts it again."""

    name: str = Field("", description="the recipe's name; also the default folder below runs/")
    verb: Literal["train"] = Field("train", description="what this file runs")
    compatibility: Literal["ours", "reference"] = Field(
        "ours", description="reference: keep OpenDWM's oddities, so that its users get their numbers"
    )
    base_model: str | None = Field(
        None,
        description="folder of the base model (autoencoder, text encoders, tokenizers); none: a tiny one is trained",
    )
    autoencoder_folder: str | None = Field(None, description="folder of another autoencoder than the base model's")
    autoencoder_piece: int = Field(0, ge=0, description="pictures that the autoencoder takes at once; 0: all")
    text_dtype: Dtype = Field("float32", description="numbers of the text encoders")
    weights: str | None = Field(
        None,
        description="weights of the driving network to start from; none: random numbers. Where the autoencoder is trained "
        "as well: a whole folder (town: the built-in one), whose parts all go on",
    )
    weights_strict: bool = Field(False, description="refuse weights that lack some of the network's keys")
    weights_dtype: Dtype = Field("float32", description="numbers of the driving network's weights")
    autocast: Dtype | None = Field(None, description="numbers of matrix products; none: the device's best")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1 or npu")
    data: DataOptions = Field(DataOptions(), description="what is read, and in which windows and sizes")
    conditions: ConditionOptions = Field(ConditionOptions(), description="what the network is told")
    network: Network = Field(USUAL.options(), description="the driving network")
    tiny: TinyOptions = Field(TinyOptions(), description="sizes of the base model where none is given")
    autoencoder: tuple[AutoencoderStage, ...] = Field((), description="stages of its autoencoder, one after another")
    warmup: tuple[DrivingStage, ...] = Field((), description="stages of the driving network before `training`")
    training: TrainingOptions = Field(TrainingOptions(), description="how the driving network is trained")
    sampling: SamplingOptions = Field(
        SamplingOptions(), description="how previews are sampled, and later videos by default"
    )
    preview: PreviewOptions = Field(PreviewOptions(), description="what is looked at and scored on the way")
    stream: StreamOptions | None = Field(None, description="live generation; none: not this run")
    evaluation: EvaluationOptions = Field(EvaluationOptions(), description="what is measured")

    @property
    def has_own_base(self) -> bool:
        """Whether a base model of its own is made, or copied from the weights, with the clips and latents beside it."""
        return self.base_model is None and bool(self.autoencoder or self.training.distillation)

    def autoencoder_stages(self) -> tuple[AutoencoderStage, ...]:
        """The stages of an autoencoder of its own, one after another."""
        return tuple(map(self._placed, self.autoencoder))

    def driving_stages(self) -> tuple[DrivingStage, ...]:
        """The stages of the driving network, one after another."""
        return (*map(self._placed, self.warmup), self.training.stage("driving"))

    def _placed(self, stage: Stage) -> Stage:
        """A stage that says nothing of processes or trackers follows `training`."""
        plain = LoopOptions()
        own = {name: getattr(stage.loop, name) for name in ("parallel", "watch")}
        follow = {name: getattr(self.training, name) for name in own if own[name] == getattr(plain, name)}
        return stage.with_(loop=stage.loop.with_(**follow))

    def driving_network(self) -> NetworkOptions:
        """The driving network's options, with this run's compatibility."""
        return self.network.with_compatibility(self.compatibility)
