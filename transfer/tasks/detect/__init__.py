"""Any number of objects for each image, each with a class and a box."""
