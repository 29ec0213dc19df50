"""Scenes: data sets of any format in `open.py` → `Clip`; windows, layout pictures, captions, batches. Knows no network."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
