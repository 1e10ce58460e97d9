"""The operations in the graph of a SavedModel, looked at before it is loaded.

A graph is a program: loading a SavedModel and asking it runs what it holds, and TensorFlow has operations that read and
write files, open connections and call Python. A model needs none of them.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework import op_def_registry

__all__ = ["check_operations"]

# What has a state is refused, apart from these: variables, tables in memory, calls of functions, and random numbers.
STATEFUL = frozenset(
    (
        *("AssignAddVariableOp", "AssignSubVariableOp", "AssignVariableOp", "DestroyResourceOp", "DisableCopyOnRead"),
        *("ReadVariableOp", "ResourceGather", "ResourceGatherNd", "VarHandleOp", "VarIsInitializedOp", "VariableShape"),
        *("AnonymousHashTable", "HashTableV2", "InitializeTableV2", "LookupTableExportV2", "LookupTableFindV2"),
        *("LookupTableImportV2", "LookupTableSizeV2", "MutableHashTableV2", "AnonymousMutableHashTable"),
        *("Case", "If", "StatefulPartitionedCall", "While"),
        *("Assert", "CheckNumerics", "CheckNumericsV2", "Empty", "GuaranteeConst"),
        *("RandomStandardNormal", "RandomUniform", "RandomUniformInt", "TruncatedNormal"),
        *("TensorArrayV3", "TensorArrayReadV3", "TensorArrayWriteV3", "TensorArrayGatherV3", "TensorArrayScatterV3"),
        *("TensorArraySizeV3", "TensorArrayCloseV3", "TensorArrayConcatV3", "TensorArraySplitV3"),
    )
)
# TensorFlow calls these stateless, though they read or write files, call Python, or end the process.
REACHING_OUT = re.compile(
    r"Dataset|Debug|Proto|PyFunc|Reader|Snapshot|^TPU|"
    r"^(Abort|Copy|CopyHost|GenerateVocabRemapping|ImmutableConst|InitializeTableFromTextFile|MatchingFiles|ReadFile)$"
)
# Every SavedModel has functions that save and restore it. Nothing calls them when it is loaded.
SAVERS = frozenset(("MergeV2Checkpoints", "RestoreV2", "SaveV2"))


def check_operations(folder: Path) -> None:
    """Checks that a SavedModel does nothing but calculate.

    Args:
        folder: The folder of the SavedModel.

    Raises:
        ValueError: Its graph has an operation that does more, or cannot be read.
        OSError: The file cannot be read.
    """
    model = saved_model_pb2.SavedModel()
    try:
        model.ParseFromString((folder / "saved_model.pb").read_bytes())
    except DecodeError as error:
        raise ValueError(f"{folder} cannot be read: its saved_model.pb is damaged") from error
    for graph in model.meta_graphs:
        if not graph.HasField("object_graph_def"):
            raise ValueError(f"{folder} is a SavedModel of TensorFlow 1, which this project does not write")
        called = {*graph.object_graph_def.concrete_functions, *_called(graph)}
        for function in graph.graph_def.library.function:
            allowed = SAVERS if function.signature.name not in called else frozenset()
            _check(folder, (node.op for node in function.node_def), allowed)
        _check(folder, (node.op for node in graph.graph_def.node), frozenset())


def _called(graph: Any) -> Iterator[str]:
    """Yields the names of the functions that the functions of a graph call."""
    for function in graph.graph_def.library.function:
        for node in function.node_def:
            for value in node.attr.values():
                yield value.func.name
                yield from (one.name for one in value.list.func)


def _check(folder: Path, names: Iterator[str], allowed: frozenset[str]) -> None:
    for name in names:
        operation = op_def_registry.get(name)
        harmless = operation is not None and (not operation.is_stateful or name in STATEFUL)
        if name not in allowed and (not harmless or REACHING_OUT.search(name)):
            raise ValueError(
                f"{folder} is refused, and was not loaded: its graph has the operation {name}, and a model needs none "
                "that may read or write files, open connections or call Python"
            )
