"""What a run says where its head cannot be solved: which photos spoil it."""

from collections.abc import Iterator
from contextlib import contextmanager

from pipelines import Data
from transfer.tasks.learning import Learning
from transfer.tasks.settings import Settings
from transfer.training.readout import NotFinite

__all__ = ["photos_named"]


@contextmanager
def photos_named(learning: Learning, data: Data, settings: Settings) -> Iterator[None]:
    """Says of which photos the features are no numbers.

    Raises:
        ValueError: There are such photos; the message names them.
    """
    try:
        yield
    except NotFinite as error:
        first = 1 if settings.batch_norms == "re-estimated" else 0  # The pass before that looked at batch norms.
        order = learning.order(data, settings, first)
        if order is None:
            raise
        epoch, row = divmod(int(error.rows[0]), len(order))
        of_epoch = learning.order(data, settings, first + epoch)
        order = order if of_epoch is None else of_epoch
        photo = data.train.images[order[row]]
        photo = photo if isinstance(photo, str) else f"number {order[row]}"
        raise ValueError(
            f"the features of {len(error.rows)} training photos are NaN or infinite, the first of {photo}. Look at it, "
            "and at the weights of the backbone"
        ) from error
