"""Diffusion: rectified flow (`flow`) and DDPM (`ddpm`): noising, time sampling, solvers."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
