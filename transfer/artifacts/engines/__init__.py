"""Runtimes that answer for an exported model, all with one interface (`transfer.artifacts.engines.base.Engine`).

Each is imported when an artifact is opened with it, and only TensorFlow's and Keras' own import TensorFlow.
"""
