"""One class for every pixel of an image: semantic segmentation."""
