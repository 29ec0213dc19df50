"""The driving networks: the DiT, the UNet, their blocks and adapters. They know no files, devices, parallelism or training."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
