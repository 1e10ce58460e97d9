"""The memory of a training step: what TensorFlow keeps of the forward pass until the backward pass has used it.

The output of a layer is kept only if some gradient reads it. The gradient of a convolution's kernel reads the input of
the convolution, the gradient of a ReLU reads its output, the gradient of an addition reads nothing. So a tensor is kept
once, however many gradients read it, and not at all if none does; behind frozen layers nothing is kept. The rules are
those of TensorFlow's gradient functions, and the tests compare each rule with the graph that TensorFlow makes. The
training step is then followed layer by layer, forwards and backwards, and the moment with the most memory counts.

    zoo.predict_memory(model, 32)               # in a notebook or a rich console: a table
    zoo.predict_memory(model, 32).total         # bytes
    zoo.largest_batch(model, "8 GB")
"""

import re
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import keras

from zoo.analysis.costs import check_sizes, readable, tensor_bytes
from zoo.analysis.gradients import Kept, kept_for_gradient
from zoo.analysis.optimizers import slot_bytes
from zoo.surgery.graph import Call, Graph, graph_of

if TYPE_CHECKING:
    import rich.table

__all__ = ["Memory", "largest_batch", "predict_memory"]

# Measured with TensorFlow 2.21 and Keras 3.15 on Linux (`python -m benchmarks.memory`): the memory of the process after
# importing them, and what tracing the training step adds per layer.
RUNTIME_BYTES = 735e6
GRAPH_BYTES = 1.4e6
# TensorFlow's allocator answers a request with a free chunk of up to twice its size, and returns nothing to the system.
# So it has touched this factor of the memory that was ever in use. The factor is the same for all models.
ALLOCATOR = 1.06
# While a variable is updated, there are the step that is computed from its gradient, and a copy of it, since other
# operations may still read the old value.
UPDATE_COPIES = 2
# While a variable gets its first value, there are the random numbers, and the scaled ones.
INITIAL_COPIES = 2


@dataclass(frozen=True)
class Moment:
    """The memory at one moment of the training step.

    Attributes:
        name: "forward NAME" or "backward NAME" of a layer.
        fixed: Bytes that do not depend on the batch: gradients of weights, and copies during their update.
        kept: Bytes per image that wait for their gradients, or for a later layer.
        working: Bytes per image that are being computed: gradients of activations, and temporary tensors.
    """

    name: str
    fixed: int
    kept: int
    working: int

    def bytes(self, batch_size: int) -> int:
        return self.fixed + batch_size * (self.kept + self.working)


@dataclass(frozen=True)
class Memory:
    """The result of `predict_memory`, in bytes, at the moment of the step when most memory is held.

    Attributes:
        name: Name of the model.
        batch_size: Number of images in a step.
        moment: The moment: "backward NAME" of a layer.
        weights: All parameters, and their copies in the compute dtype under mixed precision.
        optimizer: The slots of the optimizer.
        gradients: The gradients of weights, with the copies that are made while weights are updated.
        images: The batch, twice: the caller's and TensorFlow's.
        activations: The activations that are kept for gradients.
        working: Gradients of activations, and temporary tensors.
        allocator: What the allocator has touched beyond that.
        runtime: Python, TensorFlow and the traced step.
        unknown: "name (type)" of the layers whose gradient is not known. They count as keeping their inputs and
            outputs.
    """

    name: str
    batch_size: int
    moment: str
    weights: int
    optimizer: int
    gradients: int
    images: int
    activations: int
    working: int
    allocator: int
    runtime: int
    unknown: tuple[str, ...]

    PARTS = ("weights", "optimizer", "gradients", "images", "activations", "working", "allocator", "runtime")

    @property
    def total(self) -> int:
        """The predicted peak of the resident memory of the process."""
        return sum(getattr(self, part) for part in self.PARTS)

    def table(self) -> "rich.table.Table":
        """Returns the parts and their sum as a table for `rich.print`."""
        from rich.table import Table

        caption = f"The peak is at: {self.moment}."
        if self.unknown:
            caption += f"\nWithout a rule, taken to keep inputs and outputs: {', '.join(self.unknown)}."
        table = Table("part", title=f"{self.name}, a training step of {self.batch_size} images", caption=caption)
        table.add_column("memory", justify="right")
        for part in self.PARTS:
            table.add_row(part, readable(getattr(self, part), "B"))
        table.add_section()
        table.add_row("total", readable(self.total, "B"), style="bold")
        return table

    def __rich__(self) -> "rich.table.Table":
        return self.table()


def predict_memory(
    model: keras.Model,
    batch_size: int = 32,
    optimizer: str | keras.Optimizer = "adam",
    dtype: str | None = None,
    *,
    input_shape: Any = None,
) -> Memory:
    """Predicts the peak of the memory of a process that trains a model on a CPU. Nothing is executed.

    Args:
        model: A functional or sequential model. Its frozen layers matter: behind a frozen trunk nothing is kept.
        batch_size: Number of images in a step. Defaults to 32.
        optimizer: A name that Keras knows, or an optimizer. Defaults to "adam".
        dtype: The dtype policy to train with, such as "mixed_bfloat16". Defaults to the model's own.
        input_shape: `(height, width, channels)` of one image, if the model leaves sizes open.

    Raises:
        ValueError: If the model has no graph, if sizes stay open or do not work, or if the batch size is below 1.

    Example, where the gradient of the kernel reads the image, and that of the ReLU its output:

    >>> image = keras.Input((32, 48, 3))
    >>> model = keras.Model(image, keras.layers.Conv2D(8, 3, padding="same", activation="relu")(image))
    >>> memory = predict_memory(model, 10, "sgd")
    >>> memory.activations == 10 * 32 * 48 * (3 + 8) * 4
    True
    """
    if batch_size < 1:
        raise ValueError(f"expected a batch_size of at least 1, got {batch_size}")
    return _plan(model, optimizer, dtype, input_shape).memory(batch_size)


def largest_batch(
    model: keras.Model,
    memory: int | str,
    *,
    optimizer: str | keras.Optimizer = "adam",
    dtype: str | None = None,
    input_shape: Any = None,
) -> int:
    """Finds the largest number of images in a training step that fits into a given memory, by `predict_memory`.

    Args:
        model: A functional or sequential model.
        memory: Memory of the process, in bytes, or a string such as "8 GB" (10**9 bytes) or "8 GiB" (2**30 bytes).
        optimizer: A name that Keras knows, or an optimizer. Defaults to "adam".
        dtype: The dtype policy to train with, such as "mixed_bfloat16". Defaults to the model's own.
        input_shape: `(height, width, channels)` of one image, if the model leaves sizes open.

    Raises:
        ValueError: If not even one image fits, if the memory cannot be read, or if `predict_memory` refuses the model.

    Example:

    >>> image = keras.Input((32, 48, 3))
    >>> model = keras.Model(image, keras.layers.Conv2D(8, 3, activation="relu")(image))
    >>> fits = largest_batch(model, "2 GB")
    >>> predict_memory(model, fits).total <= 2e9 < predict_memory(model, fits + 1).total
    True
    """
    available = _bytes_of(memory)
    plan = _plan(model, optimizer, dtype, input_shape)
    fits = bisect_right(range(1, 2**30), available, key=lambda batch_size: plan.memory(batch_size).total)
    if fits == 0:
        raise ValueError(
            f"a training step of {model.name} with one image takes about {readable(plan.memory(1).total, 'B')}, and "
            f"there are {readable(available, 'B')}: use a smaller input_shape, freeze layers, or take an optimizer "
            "with fewer slots"
        )
    return fits


@dataclass(frozen=True)
class _Plan:
    """Everything that a training step holds, as a function of the batch size."""

    name: str
    weights: int
    optimizer: int
    image: int
    moments: tuple[Moment, ...]
    runtime: int
    unknown: tuple[str, ...]

    def memory(self, batch_size: int) -> Memory:
        moment = max(self.moments, key=lambda moment: moment.bytes(batch_size))
        parts = {
            "weights": self.weights,
            "optimizer": self.optimizer,
            "gradients": moment.fixed,
            "images": batch_size * self.image,
            "activations": batch_size * moment.kept,
            "working": batch_size * moment.working,
        }
        return Memory(
            name=self.name,
            batch_size=batch_size,
            moment=moment.name,
            **parts,
            allocator=round((ALLOCATOR - 1) * sum(parts.values())),
            runtime=self.runtime,
            unknown=self.unknown,
        )


def _plan(model: keras.Model, optimizer: str | keras.Optimizer, dtype: str | None, input_shape: Any) -> _Plan:
    policy = None if dtype is None else keras.DTypePolicy(dtype)
    graph = graph_of(model, input_shape=input_shape, batch_size=1)
    check_sizes(graph)
    operations = {id(call.operation): call.operation for call in graph.calls}.values()
    layers = [operation for operation in operations if isinstance(operation, keras.layers.Layer)]
    weights = {id(weight): weight for layer in layers for weight in layer.weights}.values()
    # Under mixed precision a layer computes with a copy of its weights.
    copies = sum(
        prod(weight.shape) * 2
        for layer in layers
        for weight in layer.weights
        if _is_half((policy or layer.dtype_policy).compute_dtype) and len(weight.shape) > 1
    )
    step = TrainingStep(graph, policy, optimizer)
    largest = max((tensor_bytes(weight) for weight in weights), default=0)
    return _Plan(
        name=model.name,
        weights=sum(map(tensor_bytes, weights)) + copies,
        optimizer=slot_bytes(optimizer, [weight for weight in weights if weight.trainable]),
        image=sum(map(tensor_bytes, graph.inputs)),
        moments=(Moment("building", INITIAL_COPIES * largest, 0, 0), *step.forward(), *step.backward()),
        runtime=round(RUNTIME_BYTES + GRAPH_BYTES * len(graph.calls)),
        unknown=tuple(step.unknown),
    )


class TrainingStep:
    """A training step on one image, followed call by call.

    The constructor determines what each call keeps. `forward` and then `backward` follow which tensors live.

    Attributes:
        kept: Bytes that wait for the backward pass when it begins.
        unknown: "name (type)" of the layers without a rule.
    """

    def __init__(self, graph: Graph, policy: keras.DTypePolicy | None, optimizer: str | keras.Optimizer):
        self.graph = graph
        self.policy = policy
        self.waits = _needs_all_gradients(optimizer, policy)
        self.buffers: dict[int, int] = {}  # id of a tensor -> id of the tensor whose memory it shares
        self.sizes: dict[int, int] = {}
        self.unknown: list[str] = []
        self.rules: list[Kept] = []
        self.needs: set[int] = set()  # ids of the tensors to which a gradient flows
        self.keepers: Counter[int] = Counter()  # buffer -> number of calls whose gradient reads it
        for tensor in graph.inputs:
            self._allocate(tensor)
        for call in graph.calls:
            self._look_at(call)
        self.live = sum(self.sizes[id(tensor)] for tensor in graph.inputs)

    @classmethod
    def of(cls, model: keras.Model) -> "TrainingStep":
        """Returns the step of a model in its own sizes and dtypes."""
        return cls(graph_of(model, batch_size=1), None, "sgd")

    @property
    def kept(self) -> int:
        read = [buffer for buffer, keepers in self.keepers.items() if keepers]
        return sum(self.sizes[buffer] for buffer in read) + sum(rule.internal for rule in self.rules)

    def _look_at(self, call: Call) -> None:
        rule = kept_for_gradient(call.operation, call, compute_dtype=self.policy and self.policy.compute_dtype)
        trained = bool(getattr(call.operation, "trainable_weights", None))
        flows = any(id(tensor) in self.needs for tensor in call.inputs)
        for tensor in call.outputs:
            if rule.is_view and call.inputs:
                self.buffers[id(tensor)] = self.buffers[id(call.inputs[0])]
            else:
                self._allocate(tensor)
            if trained or flows:
                self.needs.add(id(tensor))
        if not rule.known and (trained or flows):
            self.unknown.append(f"{call.name} ({type(call.operation).__name__})")
        if not (flows or trained):
            rule = rule.nothing()
        self.rules.append(rule)
        self.keepers.update({self.buffers[id(tensor)] for tensor in rule.tensors})

    def _allocate(self, tensor: keras.KerasTensor) -> None:
        self.buffers[id(tensor)] = id(tensor)
        dtype = keras.backend.standardize_dtype(tensor.dtype)
        if self.policy is not None and "float" in dtype and tensor not in self.graph.inputs:
            dtype = self.policy.compute_dtype
        self.sizes[id(tensor)] = tensor_bytes(keras.KerasTensor(tensor.shape, dtype))

    def forward(self):
        """Yields what lives while each layer computes its output."""
        uses = Counter(self.buffers[id(tensor)] for call in self.graph.calls for tensor in call.inputs)
        uses.update(self.buffers[id(tensor)] for tensor in self.graph.outputs)
        for call, rule in zip(self.graph.calls, self.rules, strict=True):
            new = sum(self.sizes.get(id(tensor), 0) for tensor in call.outputs)
            self.live += new + rule.internal
            yield Moment(f"forward {call.name}", 0, self.live - new, new)
            for buffer in [self.buffers[id(tensor)] for tensor in call.inputs]:
                uses[buffer] -= 1
                if not uses[buffer] and not self.keepers[buffer]:
                    self.live -= self.sizes[buffer]

    def backward(self):
        """Yields what lives while each layer computes the gradients of its inputs and weights."""
        gradients = {self.buffers[id(tensor)] for tensor in self.graph.outputs}
        waiting = 0
        for call, rule in zip(reversed(self.graph.calls), reversed(self.rules), strict=True):
            own = {self.buffers[id(tensor)] for tensor in call.outputs}
            if not (own & gradients and self.needs & {id(tensor) for tensor in call.outputs}):
                continue
            inputs = [self.buffers[id(tensor)] for tensor in call.inputs if id(tensor) in self.needs]
            if rule.in_place and inputs:
                gradients -= own
            gradients |= set(inputs)
            weights = [tensor_bytes(weight) for weight in getattr(call.operation, "trainable_weights", [])]
            waiting += sum(weights) if self.waits else 0
            fixed = waiting if self.waits else sum(weights) + UPDATE_COPIES * max(weights, default=0)
            working = sum(self.sizes[buffer] for buffer in gradients | (set() if rule.in_place else own))
            yield Moment(f"backward {call.name}", fixed, self.live, working + rule.temporary)
            gradients -= own - set(inputs)
            self.live -= rule.internal
            for buffer in {self.buffers[id(tensor)] for tensor in rule.tensors}:
                self.keepers[buffer] -= 1
                if not self.keepers[buffer]:
                    self.live -= self.sizes[buffer]
        if self.waits:
            largest = max((tensor_bytes(w) for c in self.graph.calls for w in _trainable(c)), default=0)
            yield Moment("update of the weights", waiting + UPDATE_COPIES * largest, self.live, 0)


def _trainable(call: Call) -> list:
    return getattr(call.operation, "trainable_weights", [])


def _needs_all_gradients(optimizer: str | keras.Optimizer, policy: keras.DTypePolicy | None) -> bool:
    """Tells whether no weight is updated before the last gradient is known.

    That is so for a norm over all gradients, and for a check for overflow.
    """
    optimizer = keras.optimizers.get(optimizer)
    checks = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    return checks or bool(optimizer.global_clipnorm) or (policy is not None and policy.compute_dtype == "float16")


def _is_half(dtype: str) -> bool:
    return dtype in ("float16", "bfloat16")


UNITS = {"B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}


def _bytes_of(memory: int | float | str) -> float:
    if not isinstance(memory, str):
        return memory
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([A-Za-z]*)\s*", memory)
    unit = match and UNITS.get(match[2].upper() or "B")
    if match is None or unit is None:
        raise ValueError(f'expected memory in bytes, or as a string such as "8 GB" or "512 MiB"; got {memory!r}')
    return float(match[1]) * unit
