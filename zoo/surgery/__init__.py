"""Surgery on models: where their feature maps are, their graph as a list of calls, and conversions to new models."""
