"""Writing results: one process at a time, and whole after a power cut."""
