"""Text, layout, camera and motion to what a network is told; the guidance copies. It never reads a file."""
