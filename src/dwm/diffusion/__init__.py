"""Diffusion: rectified flow and DDPM, each with what training draws, adds and asks for, and the solvers that go back."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
