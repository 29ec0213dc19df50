"""KITTI-360: sweeps, poses and boxes of drives, with the pictures of its two forward cameras, read without its scripts."""
