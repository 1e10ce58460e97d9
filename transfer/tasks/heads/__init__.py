"""Several answers for each image, from one trunk."""
