"""Asking an exported model about photos, and writing down what it says."""
