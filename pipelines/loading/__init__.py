"""From images that are not decoded yet to batches of tensors."""
