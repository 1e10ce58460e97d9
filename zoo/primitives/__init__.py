"""The layers and activations of the zoo that Keras lacks. They import nothing else of the zoo."""
