"""Where pretrained weights come from, and how files of weights are read without executing anything."""
