"""Writes the small PyTorch checkpoints beside this file, and what is in them.

    python make_torch_checkpoints.py     # in an environment with PyTorch; made with 2.13.0

`torch_zip.pth` and `torch_old.pth` hold the same dictionary in PyTorch's two layouts, `torch_zip_new_types.pth` the
types that only its newest rebuild function knows, `torch_module.pth` a module's own `state_dict()` wrapped as training
scripts do, `torch_protocol4.pth` the same with a newer pickle protocol, and `torch_whole_model.pth` a pickled module,
which is code. `torch_expected.npz` holds every tensor as NumPy sees it.
"""

from collections import OrderedDict
from pathlib import Path

HERE = Path(__file__).parent


def tensors() -> dict:
    import torch

    base = torch.arange(24, dtype=torch.float32).reshape(2, 3, 4) / 7 - 1
    numbers = torch.arange(-3, 5)
    types = {
        str(dtype).removeprefix("torch."): numbers.abs().to(dtype) if dtype == torch.uint8 else numbers.to(dtype)
        for dtype in (
            *(torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.complex128),
            *(torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool),
        )
    }
    return {
        **types,
        "base": base,
        "transposed": base.permute(2, 0, 1),
        "offset": base[1, 1:, ::2],
        "expanded": base[0, 0, 1].expand(3, 5),
        "bfloat16_view": (base * 100).to(torch.bfloat16).permute(1, 2, 0)[1:],
        "scalar": torch.tensor(3.25),
        "empty": torch.empty(0, 4),
        "parameter": torch.nn.Parameter(base[0] * 2),
        "name.with.dots": torch.tensor([True, False]),
    }


def main() -> None:
    import numpy as np
    import torch

    torch.manual_seed(0)
    values = tensors()
    checkpoint = OrderedDict(values, epoch=7, note="left out")
    torch.save(checkpoint, HERE / "torch_zip.pth")
    torch.save(checkpoint, HERE / "torch_old.pth", _use_new_zipfile_serialization=False)

    new_types = {name: torch.arange(5).to(getattr(torch, name)) for name in ("uint16", "uint32", "uint64")}
    torch.save(new_types, HERE / "torch_zip_new_types.pth")

    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    wrapped = {"epoch": 3, "state_dict": module.state_dict(), "optimizer": optimizer.state_dict()}
    torch.save(wrapped, HERE / "torch_module.pth")
    torch.save(wrapped, HERE / "torch_protocol4.pth", pickle_protocol=4)
    torch.save(module, HERE / "torch_whole_model.pth")

    def array(tensor):
        tensor = tensor.detach()
        return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()

    expected = {f"same/{name}": array(tensor) for name, tensor in values.items()}
    expected |= {f"new_types/{name}": array(tensor) for name, tensor in new_types.items()}
    expected |= {f"module/{name}": array(tensor) for name, tensor in module.state_dict().items()}
    np.savez_compressed(HERE / "torch_expected.npz", **expected)


if __name__ == "__main__":
    main()
