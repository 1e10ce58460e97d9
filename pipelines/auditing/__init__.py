"""What may be wrong with a data set, and a page that shows it."""
