"""A SavedModel is a program: operations that do more than calculate are refused before anything is loaded."""

import shutil
from pathlib import Path

import pytest

tf = pytest.importorskip("tensorflow")

from tensorflow.core.protobuf import saved_model_pb2  # noqa: E402

from transfer.artifacts.engines.operations import check_operations  # noqa: E402
from transfer.artifacts.engines.table import open_artifact  # noqa: E402

OURS = Path(__file__).parent.parent / "transfer" / "data" / "version_1" / "classifier" / "saved_model"


def change(tmp_path, edit):
    """A copy of a model of ours whose graph is changed."""
    folder = shutil.copytree(OURS, tmp_path / "saved_model")
    model = saved_model_pb2.SavedModel()
    model.ParseFromString((folder / "saved_model.pb").read_bytes())
    edit(model.meta_graphs[0])
    (folder / "saved_model.pb").write_bytes(model.SerializeToString())
    return folder


def test_our_own_models_are_allowed():
    check_operations(OURS)


@pytest.mark.parametrize(
    "name",
    [
        *("ReadFile", "WriteFile", "MatchingFiles", "PyFunc", "EagerPyFunc", "PyFuncStateless", "PrintV2", "SaveV2"),
        *(
            "RestoreV2",
            "TextLineDataset",
            "DecodeProtoV2",
            "DebugIdentity",
            "ImmutableConst",
            "Abort",
            "NoSuchOperation",
        ),
        *("InitializeTableFromTextFileV2", "CreateSummaryFileWriter", "RemoteCall", "Recv"),
    ],
)
@pytest.mark.parametrize("deep", [True, False])
def test_operations_that_reach_out_are_refused_by_name(tmp_path, name, deep):
    def edit(graph):
        called = next(f for f in graph.graph_def.library.function if f.signature.name.startswith("__inference_images"))
        node = called.node_def.add() if deep else graph.graph_def.node.add()
        node.name, node.op = "harm", name

    folder = change(tmp_path, edit)
    with pytest.raises(ValueError, match=f"was not loaded: its graph has the operation {name}, and"):
        open_artifact(folder)


def test_the_functions_that_save_a_model_may_not_be_called(tmp_path):
    def edit(graph):
        functions = {function.signature.name: function for function in graph.graph_def.library.function}
        save = next(name for name in functions if "traced_save" in name)
        images = next(name for name in functions if name.startswith("__inference_images"))
        node = functions[images].node_def.add()
        node.name, node.op = "harm", "StatefulPartitionedCall"
        node.attr["f"].func.name = save

    with pytest.raises(ValueError, match=r"the operation (SaveV2|MergeV2Checkpoints)"):
        check_operations(change(tmp_path, edit))


def test_a_file_that_is_no_graph_is_named(tmp_path):
    folder = shutil.copytree(OURS, tmp_path / "saved_model")
    (folder / "saved_model.pb").write_bytes(b"\xff" * 100)
    with pytest.raises(ValueError, match=r"saved_model cannot be read: its saved_model\.pb is damaged"):
        open_artifact(folder)


def test_what_it_holds_is_not_run(tmp_path):
    """A real model that would write a file when it is asked."""

    class Harmful(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([], tf.float32)])
        def images(self, x):
            tf.io.write_file(str(tmp_path / "written"), "harm")
            return x

    tf.saved_model.save(Harmful(), str(tmp_path / "saved_model"))
    with pytest.raises(ValueError, match="has the operation WriteFile"):
        open_artifact(tmp_path / "saved_model")
    assert not (tmp_path / "written").exists()
