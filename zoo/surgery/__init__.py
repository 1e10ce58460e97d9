"""Taking a model's graph apart and putting it together again; each function returns a new model."""
