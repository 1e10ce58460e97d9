"""Networks that give every pixel a class, and the losses that they learn by.

The public names are listed in `zoo/segmentation/__init__.pyi`. Each is imported when it is first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
