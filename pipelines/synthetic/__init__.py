"""Synthetic scenes and clips, whose annotations are exact."""
