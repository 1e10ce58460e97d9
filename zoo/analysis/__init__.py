"""The costs of networks, and comparisons of networks by their costs; the tools work on any `keras.Model`."""
