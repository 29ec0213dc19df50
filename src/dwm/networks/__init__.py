"""The driving networks: the DiT, the UNet, their blocks and adapters. They know no files, devices, parallelism or training."""
