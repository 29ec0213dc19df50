"""CPU, CUDA and NPU behind one face: kernels, precision, memory, speed. No other room names a vendor or asks where it runs."""

from dwm.devices.ahead import ahead
from dwm.devices.attention import attention, rms_norm
from dwm.devices.compiling import Compiler, compile_blocks
from dwm.devices.copies import send, send_numbers, send_together
from dwm.devices.linear import has_linear_kernel, linear, linear_geglu, linear_gelu
from dwm.devices.machine import (
    autocast,
    default_dtype,
    describe,
    device_count,
    full_float32,
    group_backend,
    has_fused_adamw,
    mark,
    memory,
    peak_memory,
    pick_device,
    reproducible,
    reset_peak_memory,
    supports_bf16,
    synchronize,
    usable_cores,
)
from dwm.devices.precision import processor_rates
from dwm.devices.rate import peak_rate
from dwm.devices.threads import use_free_cores

__all__ = [
    "Compiler",
    "ahead",
    "attention",
    "autocast",
    "compile_blocks",
    "default_dtype",
    "describe",
    "device_count",
    "full_float32",
    "group_backend",
    "has_fused_adamw",
    "has_linear_kernel",
    "linear",
    "linear_geglu",
    "linear_gelu",
    "mark",
    "memory",
    "peak_memory",
    "peak_rate",
    "pick_device",
    "processor_rates",
    "reproducible",
    "reset_peak_memory",
    "rms_norm",
    "send",
    "send_numbers",
    "send_together",
    "supports_bf16",
    "synchronize",
    "usable_cores",
    "use_free_cores",
]
