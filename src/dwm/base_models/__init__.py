"""SD3, SD 2.1 and temporal-VAE folders, and the embedded tiny one: autoencoder, text encoders, tokenizers."""
