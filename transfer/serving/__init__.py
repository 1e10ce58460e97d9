"""A web server for an exported model: TensorFlow Serving's REST paths, plain uploads, and a page to try it on.

The playground is in `transfer.serving.playground`, since it looks into networks, which takes TensorFlow.
"""

from transfer.serving.app import create_app
from transfer.serving.limits import Limits
from transfer.serving.server import make_server, run, serve

__all__ = ["Limits", "create_app", "make_server", "run", "serve"]
