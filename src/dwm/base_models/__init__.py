"""Base models: folders of SD3, SD 2.1 and video autoencoders; the embedded tiny one is made by `tiny`."""

from dwm.base_models.autoencoder import Autoencoder, Moments, VideoAutoencoder
from dwm.base_models.base import BaseModel
from dwm.base_models.text import StoredText, TextEmbedding, TextEncoder, TextSource

__all__ = [
    "Autoencoder",
    "BaseModel",
    "Moments",
    "StoredText",
    "TextEmbedding",
    "TextEncoder",
    "TextSource",
    "VideoAutoencoder",
]
