"""Carries out the opcodes of a pickle that make containers, numbers and strings, and refuses the others."""

import pickletools
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from zoo.weights.torch_checkpoint.descriptions import MAX_OPCODES, UnsafeCheckpoint
from zoo.weights.torch_checkpoint.rebuilding import admitted_name, expect, rebuild, set_items, storage_of

__all__ = ["Description", "interpret"]

# The opcodes whose argument is the value itself.
# fmt: off
VALUES = frozenset([
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
    "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
])
# fmt: on
# The opcodes that always put the same value on the stack.
CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
}
# The opcodes that make a container of everything above the last mark.
CONTAINERS: dict[str, Callable[[list], Any]] = {
    "TUPLE": tuple,
    "LIST": lambda items: items,
    "DICT": lambda items: set_items({}, items),
}


@dataclass(frozen=True)
class Description:
    """What a pickle describes.

    Attributes:
        root: The object.
        storages: The storages that it refers to: key -> (type, number of elements).
    """

    root: Any
    storages: dict[str, tuple[str, int]]


def interpret(stream: Any) -> Description:
    """Carries out the opcodes of one pickle up to its STOP.

    Args:
        stream: A binary file, or another object with `read`, `readline` and `tell`.

    Raises:
        UnsafeCheckpoint: The pickle asks for more than containers, numbers, strings and tensors.
        ValueError: The pickle is malformed or too long.
    """
    machine = _Machine()
    try:
        for count, (opcode, argument, _) in enumerate(_opcodes(stream)):
            if count == MAX_OPCODES:
                raise ValueError(f"its pickle has more than {MAX_OPCODES:,} opcodes")
            if opcode.name == "STOP":
                return Description(machine.stack.pop(), machine.storages)
            machine.step(opcode.name, argument)
    except (IndexError, KeyError, TypeError) as error:
        # The stack is empty, an entry of the memo was never written, or a constructor has too few arguments.
        raise ValueError(f"its pickle is malformed ({type(error).__name__}: {error})") from error
    raise ValueError("its pickle does not end")


def _opcodes(stream: Any) -> Iterator[tuple]:
    try:
        yield from pickletools.genops(stream)
    except (ValueError, OverflowError, struct.error) as error:
        raise ValueError(f"its pickle is malformed ({error})") from error


class _Machine:
    """A stack of values, the stacks below each mark, a memo of values by number, and the storages described so far."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, tuple[str, int]] = {}

    def step(self, name: str, argument: Any) -> None:
        """Carries out one opcode."""
        if name in VALUES:
            self.stack.append(argument)
        elif name in CONSTANTS:
            self.stack.append(CONSTANTS[name]())
        elif name in CONTAINERS:
            items = self._to_mark()
            self.stack.append(CONTAINERS[name](items))
        else:
            self._step_on_stack(name, argument)

    def _step_on_stack(self, name: str, argument: Any) -> None:
        stack = self.stack
        match name:
            case "PROTO" | "FRAME":
                pass
            case "MARK":
                self.below.append(stack)
                self.stack = []
            case "POP":
                stack.pop()
            case "POP_MARK":
                self._to_mark()
            case "DUP":
                stack.append(stack[-1])
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = stack[-1]
            case "MEMOIZE":
                self.memo[len(self.memo)] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(self.memo[argument])
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack.append(tuple(self._pop(int(name[-1]))))
            case "APPEND":
                (item,) = self._pop(1)
                expect(stack[-1], list).append(item)
            case "APPENDS":
                items = self._to_mark()
                expect(self.stack[-1], list).extend(items)
            case "SETITEM":
                items = self._pop(2)
                set_items(stack[-1], items)
            case "SETITEMS":
                items = self._to_mark()
                set_items(self.stack[-1], items)
            case _:
                self._refer(name, argument)

    def _refer(self, name: str, argument: Any) -> None:
        """Carries out an opcode that names, calls or refers to something: here files ask for code."""
        match name:
            case "GLOBAL" | "INST":
                module, _, attribute = argument.partition(" ")
                self.stack.append(admitted_name(module, attribute))
                if name == "INST":
                    raise UnsafeCheckpoint(f"an instance of {module}.{attribute} (pickle opcode INST)")
            case "STACK_GLOBAL":
                module, attribute = self._pop(2)
                self.stack.append(admitted_name(expect(module, str), expect(attribute, str)))
            case "BINPERSID":
                (description,) = self._pop(1)
                self.stack.append(storage_of(description, self.storages))
            case "REDUCE":
                function, arguments = self._pop(2)
                self.stack.append(rebuild(function, arguments))
            case "BUILD":
                # PyTorch adds the versions of a model's modules to the dictionary of parameters: they are not needed.
                self._pop(1)
                if not isinstance(self.stack[-1], dict):
                    raise UnsafeCheckpoint(f"the state of a {type(self.stack[-1]).__name__} (pickle opcode BUILD)")
            case _:
                raise UnsafeCheckpoint(f"the pickle opcode {name}")

    def _pop(self, count: int) -> list:
        """Removes the last values from the stack and returns them in their order."""
        if len(self.stack) < count:
            raise ValueError("its pickle takes more from the stack than the stack holds")
        values = self.stack[-count:]
        del self.stack[-count:]
        return values

    def _to_mark(self) -> list:
        """Returns everything above the last mark, and goes back to the stack below it."""
        values, self.stack = self.stack, self.below.pop()
        return values
