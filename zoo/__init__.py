"""Readable convolutional networks in Keras, and tools that work on any of them.

>>> import zoo
>>> zoo.list_models("efficientnet_lite*")
['efficientnet_lite0', 'efficientnet_lite1', 'efficientnet_lite2', 'efficientnet_lite3', 'efficientnet_lite4']

The public names are listed in `zoo/__init__.pyi`. Each is imported when it is first used, so that `import zoo` loads no
TensorFlow. Files of models that contain classes of the zoo open once this package is imported, before or after Keras.
"""

import lazy_loader
import wrapt

from zoo.registration import register

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

wrapt.register_post_import_hook(register, "keras")
