"""How good predictions are: pure functions on arrays, and the Keras objects that call them while training."""
