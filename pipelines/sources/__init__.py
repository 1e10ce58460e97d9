"""Where labelled images come from, and how they are divided into splits."""
