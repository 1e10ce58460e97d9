"""Layers and activations that Keras lacks. They import nothing else of the zoo; `zoo.layers` shows all of them."""
