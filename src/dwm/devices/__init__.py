"""CPU, CUDA and NPU behind one face; the only room that names a vendor."""

from dwm.devices.attention import attention, rms_norm

__all__ = ["attention", "rms_norm"]
