from .creation import create_model as create_model
from .families import FAMILIES as FAMILIES
from .families import family_of as family_of
from .families import list_models as list_models
from .variants import Variant as Variant
