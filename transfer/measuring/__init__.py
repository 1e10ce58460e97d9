"""How good a model is: classes, labels, numbers and boxes, with intervals."""
