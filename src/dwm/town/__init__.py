"""The embedded world: streets, traffic, cameras, LiDAR, and its nuScenes writer."""
