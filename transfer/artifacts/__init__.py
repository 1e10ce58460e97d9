"""Exported models: the writers, the runtimes that read them back, and the proof that they agree."""
