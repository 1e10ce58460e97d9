"""One class and one box for each image."""
