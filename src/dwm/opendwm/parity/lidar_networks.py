"""Cases of one LiDAR network each: its results, gradients of the stated loss, values on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from dwm.networks.lidar.swin import COMPUTED
from dwm.networks.lidar.tokens import TokenNetwork
from dwm.networks.lidar.vae import VaeDecoder, VaeEncoder, Variational
from dwm.networks.lidar.vq import VqDecoder, VqEncoder
from dwm.opendwm.config.lidar_networks import token_options, vae_decoder_options, vae_encoder_options, vq_options
from dwm.opendwm.parity.cases import Case, Setup
from dwm.opendwm.parity.networks import Net, build, gradient

Tensors = Mapping[str, Tensor]


def run_vq_encoder(case: Case, setup: Setup) -> Tensors:
    net = load(case, setup, VqEncoder(vq_options(case.config, case.name)))
    cells = case.input("voxels").to(setup.device, setup.dtype)
    return record(net, lambda _: {"features": net(cells)}, case, setup)


def run_vq_decoder(case: Case, setup: Setup) -> Tensors:
    net = load(case, setup, VqDecoder(vq_options(case.config, case.name)))

    def call(tensors: Tensors) -> Tensors:
        density, logits = net(tensors["quantized"])
        return {"density": density, "voxel_logits": logits}

    return record(net, call, case, setup)


def run_vae_encoder(case: Case, setup: Setup) -> Tensors:
    net = load(case, setup, VaeEncoder(vae_encoder_options(case.config, case.name)))
    cells = case.input("voxels").to(setup.device, setup.dtype)
    return record(net, lambda _: {"features": net(cells)}, case, setup)


def run_variational(case: Case, setup: Setup) -> Tensors:
    sizes = case.config["variational_model_config"]
    net = load(case, setup, Variational(sizes["encoder_out_channels"], sizes["decoder_in_channels"]))

    def call(tensors: Tensors) -> Tensors:
        latent = net(tensors["features"], seeded(case))
        return {"z": latent.sample, "mu": latent.mean, "log_var": latent.log_variance, "kl_loss": latent.divergence()}

    return record(net, call, case, setup)


def run_vae_decoder(case: Case, setup: Setup) -> Tensors:
    net = load(case, setup, VaeDecoder(vae_decoder_options(case.config, case.name)))

    def call(tensors: Tensors) -> Tensors:
        logits, features = net(tensors["latent"])
        return {"pred_voxel": logits} if features is None else {"pred_voxel": logits, "grid": features}

    return record(net, call, case, setup)


def run_maskgit(case: Case, setup: Setup) -> Tensors:
    options = token_options(case.config, case.name)
    net = load(case, setup, TokenNetwork(options))
    layout = None
    if options.adapter is not None:
        rows, columns = (side * options.adapter.downscale_factor for side in options.size)
        layout = case.input("context").to(setup.device, setup.dtype).transpose(1, 2).unflatten(2, (rows, columns))
    frames = int(case.input("batch_and_frames")[1])

    def call(tensors: Tensors) -> Tensors:
        return {"logits": net(tensors["x_id"].long(), tensors.get("x"), layout, frames, seeded(case))}

    return record(net, call, case, setup)


def seeded(case: Case) -> torch.Generator | None:
    """A generator that gives what the global one gave."""
    seed = case.data.get("global_seed")
    return None if seed is None else torch.Generator().manual_seed(int(seed))


def load(case: Case, setup: Setup, net: Net) -> Net:
    """The network with the case's weights, which may lack what is computed from the sizes, and nothing else."""
    computed = {name: value for name, value in net.state_dict().items() if name.split(".")[-1] in COMPUTED}
    case.weights.update({name: value for name, value in computed.items() if name not in case.weights})
    return build(case, setup, net)


def record(net: nn.Module, call: Callable[[Tensors], Tensors], case: Case, setup: Setup) -> Tensors:
    """Results of `call`, thinned where the record is, with the gradients of the stated loss."""
    tensors = {name: _to(tensor, setup) for name, tensor in case.inputs.items()}
    for name in case.call.get("gradient_inputs", ()):
        tensors[name].requires_grad_()
    weights = {
        name.removeprefix("loss_weight/"): value for name, value in tensors.items() if name.startswith("loss_weight/")
    }
    if "global_seed" in case.data:
        torch.manual_seed(int(case.data["global_seed"]))  # a library drops branches by the global numbers
    with torch.set_grad_enabled(bool(weights)), intermediates(net, case.call.get("intermediate", ())) as activations:
        results = dict(call(tensors))
        if weights:
            parts = [(results[name] * weight).sum() / results[name].numel() ** 0.5 for name, weight in weights.items()]
            loss = torch.stack([*parts, *(results[name] for name in case.call.get("loss_adds", ()))]).sum()
            loss.backward()
            results["loss"] = loss
    results |= activations
    results |= {f"grad/input/{name}": gradient(tensors[name]) for name in case.call.get("gradient_inputs", ())}
    parameters = dict(net.named_parameters())
    results |= {f"grad/param/{name}": gradient(parameters[name]) for name in case.call.get("gradient_parameters", ())}
    return thinned(results, case)


def thinned(results: Tensors, case: Case) -> dict[str, Tensor]:
    """Of results that the case stores in part that part."""
    steps: Mapping[str, Any] = case.data.get("reduced_outputs", {})
    result = {}
    for name, tensor in results.items():
        step = steps.get(
            name, steps.get(name.rpartition(".")[2]) if name.startswith(("step", "call", "decode")) else None
        )
        result[name] = tensor if step is None else tensor[tuple(slice(None, None, each) for each in step)]
    return result


@contextmanager
def intermediates(net: nn.Module, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """The first result of each submodule of these names."""
    activations: dict[str, Tensor] = {}
    modules = dict(net.named_modules())

    def keep(name: str, result: Any) -> None:
        result = result if isinstance(result, Tensor) else result[0]
        activations.setdefault(f"intermediate/{name}", result.detach())

    handles = [
        modules[name].register_forward_hook(lambda _module, _inputs, result, name=name: keep(name, result))
        for name in names
    ]
    try:
        yield activations
    finally:
        for handle in handles:
            handle.remove()


def _to(tensor: Tensor, setup: Setup) -> Tensor:
    return tensor.to(setup.device, setup.dtype if tensor.is_floating_point() else tensor.dtype)
