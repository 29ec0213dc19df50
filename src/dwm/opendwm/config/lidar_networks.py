"""OpenDWM's LiDAR network sections as options of ours, by explicit tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dwm.errors import DwmError, nearest
from dwm.networks.lidar.options import (
    GridOptions,
    QuantizerOptions,
    RenderOptions,
    TokenNetworkOptions,
    VaeDecoderOptions,
    VaeEncoderOptions,
    VaeOptions,
    VqNetworkOptions,
    VqOptions,
)
from dwm.opendwm.config.networks import adapter_options, checked

if TYPE_CHECKING:  # a config is read without PyTorch
    from dwm.networks.lidar.vae import VaeAutoencoder
    from dwm.networks.lidar.voxels import VoxelGrid
    from dwm.networks.lidar.vq import VqAutoencoder

Config = Mapping[str, Any]

VQ = {
    "img_size": "size",
    "patch_size": "patch",
    "in_chans": "layers",
    "embed_dim": "width",
    "num_heads": "heads",
    "depth": "depth",
    "codebook_dim": "code_channels",
    "normalized_attn": "guarded",
    "use_checkpoint": "recompute",
    "upsample_style": "upsample",
    "bias_init": "bias",
    "num_patches": "",
}
VAE_ENCODER = {
    "img_size": "size",
    "depths": "depths",
    "num_heads": "heads",
    "window_size": "window",
    "patch_size": "patch",
    "embed_dim": "width",
    "num_channels": "layers",
    "use_checkpoint": "recompute",
}
VAE_DECODER = {
    "lidar_size": "size",
    "patch_size": "patch",
    "voxel_depth": "layers",
    "feature_depth": "feature_layers",
    "embed_dim": "width",
    "num_heads": "heads",
    "in_channels": "latent_channels",
    "depth": "depth",
    "use_render_decoder": "rendered",
    "visual_grid_feat_dim": "feature_channels",
    "use_checkpoint": "recompute",
    "upsample_style": "",
    "bias_init": "",
    "use_gt_voxel": "",
    "downsample_voxel": "",
    "grid_size_offset": "",
    "render_config": "",
    "upcast": "",
    "grid_size": "",
}
"""What has no effect, and what says how rendering is done rather than what the network is, has no field."""

TOKENS = {
    "n_e": "codes",
    "e_dim": "code_channels",
    "img_size": "size",
    "hidden_dim": "width",
    "depth": "depth",
    "num_heads": "heads",
    "use_extra_embedding": "own_table",
    "enable_temporal": "temporal",
    "condition_adapter": "adapter",
    "use_checkpoint": "recompute",
    "enable_perturbation": "",
    "perturbation_ratio": "perturbed",
    "perturbation_topk": "perturbed_among",
    "enable_precomputed_pos_embed": "",
}
QUANTIZER = {
    "n_e": "codes",
    "e_dim": "channels",
    "beta": "beta",
    "cosine_similarity": "cosine",
    "dead_limit": "dead_limit",
}
VAE_UNREAD = ("grid_size", "grid_size_offset", "render_config", "bias_init")
TOKEN_DEFAULTS = {"own_table": False, "temporal": False}
PERTURBED = 0.1
GRID = ("x_min", "x_max", "y_min", "y_max", "step", "z_min", "z_max", "z_step")


def voxel_grid(config: Config, where: str) -> VoxelGrid:
    from dwm.networks.lidar.voxels import VoxelGrid

    return VoxelGrid(**renamed(config, {name: name for name in GRID}, where))


def vq_options(config: Config, where: str) -> VqNetworkOptions:
    """The encoder's or decoder's constructor arguments."""
    return checked(VqNetworkOptions, _sized(renamed(config, VQ, where)), where)


def vae_encoder_options(config: Config, where: str) -> VaeEncoderOptions:
    return checked(VaeEncoderOptions, _sized(renamed(config, VAE_ENCODER, where)), where)


def vae_decoder_options(config: Config, where: str) -> VaeDecoderOptions:
    if config.get("upsample_style", "pixel_shuffle") != "pixel_shuffle":
        raise DwmError(f"{where}.upsample_style: {config['upsample_style']!r} cannot work; use pixel_shuffle")
    return checked(VaeDecoderOptions, _sized(renamed(config, VAE_DECODER, where)), where)


def token_options(config: Config, where: str) -> TokenNetworkOptions:
    values: dict[str, Any] = TOKEN_DEFAULTS | _sized(renamed(config, TOKENS, where))
    if values.get("adapter") is not None:
        values["adapter"] = adapter_options(values["adapter"], f"{where}.condition_adapter")
    values["perturbed"] = values.get("perturbed", PERTURBED) if config.get("enable_perturbation") else 0.0
    return checked(TokenNetworkOptions, values, where)


def renamed(config: Config, table: Mapping[str, str], where: str) -> dict[str, Any]:
    """The arguments under our names; one that is not known is refused."""
    values = {}
    for name, value in config.items():
        if name == "_class_name":
            continue
        if name not in table:
            raise DwmError(f"{where}.{name}: not known{nearest(name, table)}; known: {', '.join(table)}")
        if table[name]:
            values[table[name]] = value
    return values


def _sized(values: dict[str, Any]) -> dict[str, Any]:
    """A size of one number is that of both sides."""
    size = values.get("size")
    return values | ({"size": (size, size)} if isinstance(size, int) else {})


def vq_autoencoder(config: Config, where: str) -> VqAutoencoder:
    """The autoencoder with codes of a section `vq_point_cloud`, with weights of chance."""
    from dwm.networks.lidar.build import vq_of

    return vq_of(vq_autoencoder_options(config, where))


def vae_autoencoder(config: Config, where: str) -> VaeAutoencoder:
    """The autoencoder with a distribution of a section `lidar_vae` or `autoencoder`, with weights of chance."""
    from dwm.networks.lidar.build import vae_of

    return vae_of(vae_autoencoder_options(config, where))


def vq_autoencoder_options(config: Config, where: str) -> VqOptions:
    parts = _parts(config, ("lidar_encoder", "lidar_decoder", "vector_quantizer"), ("bias_init",), where)
    return VqOptions(
        grid=_grid(config, where),
        encoder=vq_options(parts["lidar_encoder"], f"{where}.lidar_encoder"),
        decoder=vq_options(parts["lidar_decoder"], f"{where}.lidar_decoder"),
        quantizer=checked(
            QuantizerOptions,
            renamed(parts["vector_quantizer"], QUANTIZER, f"{where}.vector_quantizer"),
            f"{where}.vector_quantizer",
        ),
        density_bias=config.get("bias_init", -5.0),
    )


def vae_autoencoder_options(config: Config, where: str) -> VaeOptions:
    parts = _parts(config, ("lidar_encoder", "lidar_decoder"), ("variational_model", *VAE_UNREAD), where)
    decoder = parts["lidar_decoder"]
    return VaeOptions(
        grid=_grid(config, where),
        encoder=vae_encoder_options(parts["lidar_encoder"], f"{where}.lidar_encoder"),
        decoder=vae_decoder_options(decoder, f"{where}.lidar_decoder"),
        render=_render(decoder, f"{where}.lidar_decoder"),
    )


def _grid(config: Config, where: str) -> GridOptions:
    if "voxelizer" not in config:
        return GridOptions()
    values = renamed(config["voxelizer"], {name: name for name in GRID}, f"{where}.voxelizer")
    return checked(GridOptions, values, f"{where}.voxelizer")


def _render(decoder: Config, where: str) -> RenderOptions:
    """How rays are followed; without a word each sample lies 0.15 m from the last, as published."""
    values = renamed(
        decoder.get("render_config") or {}, {"near": "near", "far": "far", "stepsize": "step"}, f"{where}.render_config"
    )
    lower, upper = decoder.get("grid_size_offset") or ((0, 0, 0), (0, 0, 0))
    return checked(RenderOptions, {"step": 0.15, **values, "lower": lower, "upper": upper}, where)


def _parts(config: Config, needed: tuple[str, ...], also: tuple[str, ...], where: str) -> Mapping[str, Config]:
    for name in config:
        if name not in (*needed, *also, "_class_name", "voxelizer"):
            raise DwmError(f"{where}.{name}: not known{nearest(name, (*needed, *also, 'voxelizer'))}")
    for name in needed:
        if not isinstance(config.get(name), Mapping):
            raise DwmError(f"{where}.{name}: expected an object {{…}}, found {type(config.get(name)).__name__}")
    return {name: config[name] for name in needed}
