"""What a network costs and how it compares with others; these tools work on any `keras.Model`."""
