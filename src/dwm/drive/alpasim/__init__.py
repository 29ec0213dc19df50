"""AlpaSim's video-model service: a simulator sends map, cameras, poses and traffic, and gets the network's pictures."""
