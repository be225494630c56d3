"""Switch off the caller's modes (autocast, inference mode, ...) during a call, so that results depend on arguments alone.

A library that is not loaded has no modes: neither torch nor SymPy is imported here.
"""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar

import numpy as np

__all__ = ["own_modes"]

_AUTOCAST = ("cpu", "cuda")
_SMALLEST = np.array([5e-324])  # positive unless the processor takes subnormal numbers for 0
_USUAL_FLOATS = {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"}

_inside: ContextVar[bool] = ContextVar("inside", default=False)


@contextmanager
def own_modes() -> Iterator[None]:
    """Run the body as in a fresh process, whatever modes the caller has switched on; also a decorator.

    Every public function that computes has it. Switched off and restored afterwards are no_grad, inference mode, autocast,
    anomaly detection, a default device, a lower precision of float32 products, deterministic algorithms (torch refuses
    products on a GPU under them; all operations here are deterministic anyway), the flushing of subnormal numbers, NumPy's
    handling of floating-point errors and SymPy's `evaluate`. Only modes that differ from a fresh process are changed, and a
    nested call does nothing. The default dtype is not changed, as every tensor is created with an explicit one.

    Raises:
        ValueError: a call inside a function that torch.func transforms; such a transformation cannot be switched off.
    """
    if _inside.get():
        yield
        return
    torch, sp = sys.modules.get("torch"), sys.modules.get("sympy")
    if torch is not None and torch._C._are_functorch_transforms_active():
        raise ValueError(
            "a call must be outside of the functions that torch.func transforms (grad, vmap, jvp), got one within; compute it "
            "before, and hand in the result."
        )
    token = _inside.set(True)
    try:
        with ExitStack() as stack:
            if torch is not None:
                _of_torch(stack)
            if not _SMALLEST[0] > 0.0:
                _keep_subnormal_numbers(stack)
            stack.enter_context(np.errstate(**_USUAL_FLOATS))  # type: ignore[arg-type]
            if sp is not None and not sp.core.parameters.global_parameters.evaluate:
                stack.enter_context(sp.evaluate(True))
            yield
    finally:
        _inside.reset(token)


def _keep_subnormal_numbers(stack: ExitStack) -> None:
    """Switch the flushing of subnormal numbers off, which any library may have switched on; torch knows how."""
    import torch

    torch.set_flush_denormal(False)
    stack.callback(torch.set_flush_denormal, True)


def _of_torch(stack: ExitStack) -> None:
    import torch

    if torch.is_inference_mode_enabled():
        stack.enter_context(torch.inference_mode(False))
    if not torch.is_grad_enabled():
        stack.enter_context(torch.enable_grad())
    for kind in _AUTOCAST:
        if torch.is_autocast_enabled(kind):
            stack.enter_context(torch.autocast(kind, enabled=False))
    if torch.is_anomaly_enabled():  # it would raise at the first NaN of a run that diverges
        stack.enter_context(torch.autograd.set_detect_anomaly(False))
    if torch.get_default_device().type != "cpu":
        stack.enter_context(torch.device("cpu"))
    if torch.are_deterministic_algorithms_enabled():
        warns = torch.is_deterministic_algorithms_warn_only_enabled()
        torch.use_deterministic_algorithms(False)
        stack.callback(torch.use_deterministic_algorithms, True, warn_only=warns)
    _full_precision(stack)


def _full_precision(stack: ExitStack) -> None:
    """Compute float32 products in float32; the modes `medium` and `high` use bfloat16 or TF32 if the hardware has them."""
    import torch

    try:
        before = torch.get_float32_matmul_precision()
    except RuntimeError:  # torch's way of saying that the newer setting of each backend was used
        for backend in (torch.backends.cuda, torch.backends.mkldnn):
            precision = backend.matmul.fp32_precision
            backend.matmul.fp32_precision = "ieee"
            stack.callback(setattr, backend.matmul, "fp32_precision", precision)
        return
    if before != "highest":
        torch.set_float32_matmul_precision("highest")
        stack.callback(torch.set_float32_matmul_precision, before)
