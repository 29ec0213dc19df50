"""Mosaic, video, contact sheet, curves, report.html. It never loads a network."""
