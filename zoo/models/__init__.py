"""The table of families, and the two functions that most people need: `list_models` and `create_model`.

A family is one file of this folder, named after its paper's network, and holds

* a frozen dataclass (a `Variant`) whose fields are the columns of the paper's table;
* `VARIANTS`, its rows by name;
* `trunk(image, variant)`, from RGB in 0..255 to the last feature map, normalisation included; where the head needs
  more than that, a dict that has it as "feature_map";
* `head(x, variant, num_classes, activation)`, from there to the class probabilities.

So a network that is not in a table is a row of one's own:

>>> from dataclasses import replace
>>> from zoo.models import create_model, efficientnet
>>> narrow = replace(efficientnet.VARIANTS["efficientnet_lite0"], width=0.5)
>>> create_model(narrow, input_shape=(64, 96, 3), num_classes=5).output_shape
(None, 5)
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
