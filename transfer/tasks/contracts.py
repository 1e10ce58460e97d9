"""Reading the contract of a model of whatever task it is."""

from typing import Any

from transfer.contract import Contract, parse_contract
from transfer.tasks import task_of

__all__ = ["read_contract"]


def read_contract(text: str | bytes) -> Any:
    """Makes the contract of a JSON document, of whatever task it is; format version 1 is read, too.

    Raises:
        ValueError: The text is not a contract, one of an unknown task, or one of a newer format version.
    """
    document = parse_contract(text)
    kind: type[Contract] = task_of(document.get("task", "classify")).contract
    try:
        return kind.from_version_1(document) if document["format_version"] == 1 else kind.from_document(document)
    except (KeyError, TypeError, AttributeError, IndexError, OverflowError) as error:
        raise ValueError(f"expected a contract as transfer.export writes it, got one without {error}") from error
