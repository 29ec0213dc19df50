"""nuScenes folders and archives: tables, splits, maps, pictures, LiDAR → `Scene` → `Clip`."""
