"""Frames of videos as data."""
