import keras
import pytest

from pipelines import machine
from transfer.training.memory import available_memory, micro_batches
from zoo.analysis.memory import predict_memory


def network():
    image = keras.Input((96, 64, 3))
    x = keras.layers.Conv2D(16, 3, activation="relu", name="conv")(image)
    x = keras.layers.Conv2D(16, 3, activation="relu", name="conv2")(x)
    return keras.Model(image, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(x)))


def test_the_largest_part_that_divides_the_batch_and_fits():
    model = network()
    room = round(predict_memory(model, 13).total)
    parts = micro_batches(model, 48, memory=room)
    assert (parts.size, parts.steps) == (12, 4)
    assert parts.predicted == pytest.approx(predict_memory(model, 48).total, abs=1)
    assert micro_batches(model, 13, memory=room).steps == 1


def test_what_is_frozen_needs_less():
    model = network()
    room = round(predict_memory(model, 16).total)
    for name in ("conv", "conv2"):
        model.get_layer(name).trainable = False
    assert micro_batches(model, 64, memory=room).size > 16


def test_not_even_one_image():
    with pytest.raises(ValueError, match="with one image takes about"):
        micro_batches(network(), 8, memory="100 MB")


def test_a_container_may_have_less_than_its_machine(tmp_path, monkeypatch):
    (tmp_path / "memory.max").write_text("3000000\n")
    (tmp_path / "memory.current").write_text("1000000\n")
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    assert available_memory() == pytest.approx(2_000_000 + machine._own(), rel=0.2)
    (tmp_path / "memory.max").write_text("max\n")
    assert available_memory() > 10_000_000
