"""Detectors, and the parts they are made of.

The public names are listed in `zoo/detection/__init__.pyi`. Each is imported when it is first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
