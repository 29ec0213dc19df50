"""Settings of a LiDAR run that only make sense together, checked before any weight is loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from dwm.config.lidar import AUTOENCODER, LatentGenerator, LidarRecipe, TokenGenerator
from dwm.errors import DwmError
from dwm.networks.lidar.options import RayCodecOptions, VaeOptions, VqOptions


def check_lidar(run: LidarRecipe, source: str) -> None:
    """Raises DwmError, naming `source` and the keys, for the first settings that contradict each other."""
    for faults in CHECKS:
        for fault in faults(run):
            raise DwmError(f"{source}: {fault}")


def _autoencoder(run: LidarRecipe) -> Iterator[str]:
    options = run.autoencoder
    if isinstance(options, RayCodecOptions):
        return
    shape = options.grid.shape
    for part in ("encoder", "decoder"):
        sizes = getattr(options, part)
        if (sizes.layers, *sizes.size) != shape:
            cells = " x ".join(map(str, (*sizes.size, sizes.layers)))
            yield (
                f"autoencoder.{part} is for {cells} cells (rows, columns, layers), autoencoder.grid has "
                f"{shape[1]} x {shape[2]} x {shape[0]}"
            )
    if isinstance(options, VqOptions):
        widths = {options.encoder.code_channels, options.decoder.code_channels, options.quantizer.channels}
        if len(widths) > 1:
            yield f"autoencoder: encoder, quantizer and decoder have codes of {sorted(widths)} channels; give all the same"
    if isinstance(options, VaeOptions) and options.encoder.tokens != options.decoder.coarse:
        yield f"autoencoder: the encoder gives {options.encoder.tokens} latents, the decoder takes {options.decoder.coarse}"


def _generator(run: LidarRecipe) -> Iterator[str]:
    generator, autoencoder = run.generator, run.autoencoder
    if isinstance(generator, TokenGenerator):
        if not isinstance(autoencoder, VqOptions):
            yield "generator.kind is tokens, which needs an autoencoder of kind codes"
            return
        for name, ours, theirs in (
            ("codes", generator.network.codes, autoencoder.quantizer.codes),
            ("code_channels", generator.network.code_channels, autoencoder.quantizer.channels),
            ("size", generator.network.size, autoencoder.encoder.coarse),
        ):
            if ours != theirs:
                yield f"generator.network.{name} is {ours}, the autoencoder's is {theirs}; they must be equal"
    if isinstance(generator, LatentGenerator):
        if isinstance(autoencoder, VqOptions):
            yield "generator.kind is latents, which needs an autoencoder of kind distribution or rays"
            return
        channels = autoencoder.decoder.latent_channels if isinstance(autoencoder, VaeOptions) else autoencoder.channels
        if generator.network.in_channels != channels:
            yield f"generator.network.in_channels is {generator.network.in_channels}, latents have {channels}"


def _rays(run: LidarRecipe) -> Iterator[str]:
    """Images along rays have no weights, are made one by one, and are cut into whole tokens."""
    if not isinstance(run.autoencoder, RayCodecOptions):
        return
    if run.generator is None or run.autoencoder_training is not None or run.autoencoder_weights is not None:
        yield "autoencoder.kind is rays, which has no weights; give a generator, and neither weights nor training for it"
        return
    if isinstance(run.generator, LatentGenerator):
        multiple = run.generator.network.latent_multiple
        if any(side % multiple for side in run.autoencoder.rays.shape):
            yield f"autoencoder.rays are {run.autoencoder.rays.shape}, which is no multiple of the network's {multiple}"
    if run.sampling.known or run.training.objective.generation < 1 or run.training.objective.single < 1:
        yield (
            "autoencoder.kind is rays, whose sweeps are made one by one; set sampling.known to 0, and generation and single of "
            "training.objective to 1"
        )


def _layout(run: LidarRecipe) -> Iterator[str]:
    generator, channels = run.generator, run.data.layout_channels
    if isinstance(generator, TokenGenerator):
        adapter, where = generator.network.adapter, "generator.network.adapter"
    elif isinstance(generator, LatentGenerator):
        adapter, where = (
            generator.network.condition_image_adapter_config,
            "generator.network.condition_image_adapter_config",
        )
    else:
        return
    if adapter is None and channels:
        yield f"data.boxes and data.map need {where}; or set both to false"
    if adapter is not None and adapter.in_channels != channels:
        yield f"{where}.in_channels is {adapter.in_channels}, but data.boxes and data.map give {channels} (3 each)"
    if isinstance(run.autoencoder, RayCodecOptions):
        return
    rows, columns = run.autoencoder.encoder.size
    if adapter is not None and run.data.birdseye.size != (columns, rows):
        width, height = run.data.birdseye.size
        yield f"data.birdseye.size is {width} x {height}, the grid has {columns} x {rows} cells; they must be equal"


def _frames(run: LidarRecipe) -> Iterator[str]:
    sampling = run.sampling
    for group in ("train", "validation"):
        for index, source in enumerate(getattr(run.data, group)):
            if group == "train" and max(stage.frames for stage in run.stages().values()) > source.frames:
                yield f"training.frames is {run.training.frames}, but clips have data.train.{index}.frames = {source.frames}"
            if source.made_up_layout is not None or source.clips_as_views is not None:
                yield f"data.{group}.{index}: made_up_layout and clips_as_views are for pictures"
    for name in ("known", "carried"):
        if getattr(sampling, name) >= sampling.window > 1:
            yield f"sampling.{name} is {getattr(sampling, name)}, which leaves nothing to make in a window of {sampling.window}"


def _parallel(run: LidarRecipe) -> Iterator[str]:
    stage = run.stages().get(AUTOENCODER)
    if stage is not None and isinstance(run.autoencoder, VqOptions) and stage.parallel.mode == "fsdp":
        yield "parallel.mode is fsdp, but a table of codes is placed as a whole; use ddp for the autoencoder with codes"


CHECKS: tuple[Callable[[LidarRecipe], Iterator[str]], ...] = (
    _autoencoder,
    _generator,
    _rays,
    _layout,
    _frames,
    _parallel,
)
