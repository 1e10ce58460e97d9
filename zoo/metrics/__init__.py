"""Measures of the quality of predictions: functions on arrays, and Keras objects that call them during training."""
