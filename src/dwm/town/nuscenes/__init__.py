"""The town as a nuScenes data set: its pictures, sweeps, tables and map. The format's own words lie in `data/nuscenes/write`."""
