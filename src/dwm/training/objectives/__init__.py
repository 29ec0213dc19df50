"""What a training step asks of a network: draws, noise, targets and losses."""
