"""The networks of the zoo. `list_models` lists their names, and `create_model` builds one of them.

A family of networks is one file of this folder, which has the name of the network in its paper. Its docstring begins
with a line "NAMES: idea", and the paper and the notes follow; `zoo.info` shows them. The file contains:

* a frozen dataclass (a `Variant`), whose fields are the columns of the table in the paper;
* `VARIANTS`, which maps the name of each variant to its row of the table;
* `trunk(image, variant)`, which builds the network from RGB in 0..255 to the last feature map, including the
  normalisation of the image. Where the head needs more tensors, it returns a dict with the map as "feature_map";
* `head(x, variant, num_classes, activation)`, which builds the layers from there to the probabilities of the classes;
* where files with weights exist, functions that tell how these files name the layers: `torch_modules(model)` returns
  a dict from the names of the layers to the names of PyTorch's modules, and `keras_layer(name)` returns the name of a
  layer in `keras.applications`.

A network that is not in a table is a new row, which `create_model` takes in place of a name:

>>> from dataclasses import replace
>>> from zoo.models import create_model, efficientnet
>>> narrow = replace(efficientnet.VARIANTS["efficientnet_lite0"], width=0.5)
>>> create_model(narrow, input_shape=(64, 96, 3), num_classes=5).output_shape
(None, 5)
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
