"""Fine-tuning: phases, freezing, stored activations, checkpoints, optimisers and objectives."""
