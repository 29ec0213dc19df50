"""Folders, zips, tars and S3 read as one tree; atomic writes. It never parses what it reads."""
