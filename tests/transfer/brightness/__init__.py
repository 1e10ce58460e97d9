"""A seventh task, for a test: the mean brightness of an image, learned from folders of photos without any labels."""
