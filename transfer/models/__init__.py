"""Pretrained trunks from several places, and the heads that are put on them."""
