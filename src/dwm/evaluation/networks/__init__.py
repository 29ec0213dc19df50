"""The networks whose features Fréchet scores compare, under the names of their published files. Nothing here downloads."""
