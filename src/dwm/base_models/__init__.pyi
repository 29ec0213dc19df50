from .autoencoder import Autoencoder as Autoencoder
from .autoencoder import Moments as Moments
from .autoencoder import VideoAutoencoder as VideoAutoencoder
from .base import BaseModel as BaseModel
from .text import StoredText as StoredText
from .text import TextEmbedding as TextEmbedding
from .text import TextEncoder as TextEncoder
from .text import TextSource as TextSource
