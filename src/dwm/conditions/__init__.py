"""Conditions: captions, layout, cameras and motion of a batch as a driving network reads them, with the guidance copies."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
