"""From a photo of any size to the network's canvas, and from answers on the canvas back to the photo."""
