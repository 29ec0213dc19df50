"""Mosaic, video, contact sheet, curves, report.html. It never loads a network."""

from dwm.report.film import Film, film_writer, read_film
from dwm.report.html import Group, Report, ScoreLine, Shown, Table, write_report
from dwm.report.sheets import comparison, contact_sheet
from dwm.report.video import MOSAIC_ORDER, Video, layout_video, real_video

__all__ = [
    "MOSAIC_ORDER",
    "Film",
    "Group",
    "Report",
    "ScoreLine",
    "Shown",
    "Table",
    "Video",
    "comparison",
    "contact_sheet",
    "film_writer",
    "layout_video",
    "read_film",
    "real_video",
    "write_report",
]
