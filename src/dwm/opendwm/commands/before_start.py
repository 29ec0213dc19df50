"""What is looked at before a run's processes are started: devices, files, memory. Starts and changes nothing."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch

from dwm.config import Recipe, read_json
from dwm.config.cost import parameters
from dwm.devices import device_count, memory, usable_cores
from dwm.errors import DwmError
from dwm.opendwm.config.port_paths import check_paths
from dwm.runs.clips import training_readers, validation_clips
from dwm.runs.fetch import require_networks

FLOAT32 = 4
GB = 1e9


def check_devices(kind: str, processes: int, script: str, alone: bool) -> None:
    """Raises DwmError where there are fewer devices than processes of this machine (NPROC), with what to type instead.

    `alone`: whether the processor may compute, with as many processes as it has cores.
    """
    count = device_count(kind)
    if kind == "cpu":
        count = max(2, usable_cores()) if alone else 1
        if not alone and processes > 1:
            raise DwmError(
                f"{processes} processes need {processes} devices, and this machine has none (no CUDA device, no NPU): on "
                f"its processor, slowly: DEVICE=cpu NPROC=1 {script}; the tiny twin: TINY=1 {script}"
            )
    if processes <= count:
        return
    name = {"cpu": "core", "cuda": "CUDA device", "npu": "NPU"}[kind] + "s" * (count > 1)
    raise DwmError(
        f"{processes} processes need {processes} devices, and this machine has {count} {name}: NPROC={count} {script}, or "
        f"with more machines NNODES=… NODE_RANK=… NPROC={count} {script} ADDRESS; the tiny twin: TINY=1 {script}"
    )


def check_files(run: Recipe, config: Path | None = None) -> None:
    """Looks for the run's base model and weights, and opens its data sets. Raises DwmError for the first that is missing.

    `config` is the file that the run was read from, if there is one.
    """
    name = str(config or run.name or "config")
    check_paths(run, {} if config is None else read_json(config), name)
    require_networks(run, name)
    if any(source.kind != "town" for source in run.data.train):
        training_readers(run.data)
    if run.preview.every and any(source.kind != "town" for source in run.data.validation):
        validation_clips(run.data)


def check_memory(run: Recipe, device: torch.device, processes: int, shards: int) -> None:
    """Raises DwmError where a device has less memory free than weights, gradients and the optimizer's state alone take.

    `processes` of this machine, of which `shards` (on all machines) hold one copy.
    """
    moments = 1 if run.training.optimizer.kind == "muon" else 2
    numbers = sum(parameters(run.network).values()) * (2 + moments + (run.training.ema_decay > 0))
    needed = FLOAT32 * numbers / shards
    if device.type == "cpu":
        _compare(
            needed * processes, memory(device).free, f"{processes} processes on this machine need", "its memory has"
        )
        return
    # In a process of its own: whoever asks a device for its memory holds some of it from then on.
    with ProcessPoolExecutor(1, get_context("spawn")) as other:
        free = other.submit(free_memory, device.type, processes).result()
    for index, bytes_free in enumerate(free):
        _compare(needed, bytes_free, "each process needs", f"{device.type}:{index} has")


def free_memory(kind: str, count: int) -> list[int]:
    """Bytes that are free on each of the first `count` devices of a kind."""
    return [memory(torch.device(kind, index)).free for index in range(count)]


def _compare(needed: float, free: float, who: str, where: str) -> None:
    if needed > free:
        raise DwmError(
            f"{who} {needed / GB:.1f} GB for weights, gradients and the optimizer alone, and {where} {free / GB:.1f} GB free: "
            "end what holds the rest, or share the network over more devices (MESH=1,N: N shards)"
        )
