"""Tracking the objects of videos with any detector, drawing what was tracked, and measuring it."""
