"""The package shows its public names, and imports each of them when it is first used."""

import subprocess
import sys

import pytest

import zoo
import zoo.detection
import zoo.models


@pytest.mark.parametrize("package", [zoo, zoo.models, zoo.detection], ids=lambda package: package.__name__)
def test_every_public_name_can_be_imported(package):
    assert package.__all__
    for name in package.__all__:
        assert name in dir(package)
        assert getattr(package, name) is not None, name


@pytest.mark.parametrize("package", [zoo, zoo.models, zoo.detection], ids=lambda package: package.__name__)
def test_an_unknown_name_is_refused(package):
    with pytest.raises(AttributeError, match=f"{package.__name__} attribute nonsense"):
        package.nonsense  # noqa: B018
    with pytest.raises(ImportError, match="nonsense"):
        exec(f"from {package.__name__} import nonsense")


def test_tables_and_names_load_no_tensorflow():
    code = (
        "import sys, zoo, zoo.models, zoo.weights.pretrained as pretrained; "
        "assert zoo.list_models('resnet50') == ['resnet50']; assert len(zoo.imagenet_classes()) == 1000; "
        "zoo.models.FAMILIES, zoo.models.Variant, pretrained.PRETRAINED; "
        "print([name for name in ('keras', 'tensorflow') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_a_subpackage_is_there_after_importing_the_package_alone():
    code = "import zoo; print(zoo.layers.ResidualUnit.__name__, zoo.blocks.conv_bn.__name__)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "ResidualUnit conv_bn"
