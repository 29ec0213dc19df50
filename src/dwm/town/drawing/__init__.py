"""How the town looks: meshes, textures, light, the renderer, and what its LiDAR meets."""
