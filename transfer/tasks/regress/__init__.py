"""One or more numbers for each image."""
