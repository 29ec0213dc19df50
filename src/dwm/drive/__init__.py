"""A world that answers to steering: sources of what is where, the session that draws it frame by frame, the page, the records."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
