"""Scenes that are made by the computer, with annotations that are known to be right."""
