"""A web server for an exported model: TensorFlow Serving's REST paths, plain uploads, and a page to try it on."""

from transfer.serving.app import create_app
from transfer.serving.limits import Limits
from transfer.serving.playground import create_playground
from transfer.serving.server import make_playground, make_server, run, serve

__all__ = ["Limits", "create_app", "create_playground", "make_playground", "make_server", "run", "serve"]
