"""Networks that make images: DCGAN, its conditional and its Wasserstein version, an autoencoder, and style transfer.

The public names are listed in `zoo/generative/__init__.pyi`. Each is imported when it is first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
