"""Scores over real and generated clips. It never trains."""
