"""Check devices and number types, and resolve them by name.

Torch takes longer to load than a sweep on a CPU takes to run: it is imported where a GPU or a type of torch is asked for.
"""

from typing import TYPE_CHECKING

from quadsim.simulator.support.checks import check_choice

if TYPE_CHECKING:
    import torch

__all__ = ["DTYPES", "check_device", "dtype_name", "resolve_dtype"]

DTYPES = ("float32", "float64")
"""Names of the number types that a run may have."""


def dtype_name(dtype: "torch.dtype | str") -> str:
    """Return "float32" or "float64", from a type of torch or its name.

    Raises:
        ValueError: any other type.
    """
    return check_choice("dtype", str(dtype).removeprefix("torch."), DTYPES)


def resolve_dtype(dtype: "torch.dtype | str") -> "torch.dtype":
    """Return torch.float32 or torch.float64, from the type itself or its name.

    Raises:
        ValueError: any other type.
    """
    import torch

    return {"float32": torch.float32, "float64": torch.float64}[dtype_name(dtype)]


def check_device(device: str) -> str:
    """Return the name of a device if torch can use it on this machine.

    Raises:
        ValueError: an unknown name, or a GPU that this machine does not have.
    """
    device = str(device)
    kind, _, number = device.partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdigit()):
        raise ValueError(f"device must be cpu, cuda or cuda:N, got {device!r}; choose one of these.")
    if kind == "cuda":
        import torch

        # Once CUDA is initialised it is available; a query would take a fifth of a millisecond.
        present = torch.cuda.is_initialized() or torch.cuda.is_available()  # type: ignore[no-untyped-call]
        available = torch.cuda.device_count() if present else 0
        if int(number or 0) >= available:
            raise ValueError(
                f"device {device} must exist, got a machine on which torch sees {available} GPUs; use device cpu, or "
                "install a torch built for your GPU."
            )
    return device
