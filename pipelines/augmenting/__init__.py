"""Random transforms of images, and of the boxes and masks that belong to them."""
