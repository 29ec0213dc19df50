"""Base models: folders of SD3, SD 2.1 and video autoencoders; the embedded tiny one is made by `tiny`."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
