"""Numpy arrays or torch tensors: the choice between the two, and functions that take either.

At a few points, a prediction takes as long as its calls of the library, and a call of numpy takes a
fraction of the time of one of torch. Gradients, many points and GPUs need torch. `enter` decides
between the two once, where a public call comes in. The code below is written once, for either; this
module holds the functions that the two libraries name differently.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ContextDecorator, contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias, Union

import numpy as np
from numpy.typing import NDArray

# Functions import torch only when they meet tensors, so that making data sets does not load it.
if TYPE_CHECKING:
    from torch import Tensor

# Functions of either take arrays only or tensors only, and return the same.
ArrayOrTensor: TypeAlias = Union[NDArray[Any], "Tensor"]

# From this number of points on, arithmetic takes longer than the calls of the library.
MANY = 128

# Far outside a domain numbers overflow to inf or NaN, as in torch without a warning; callers reject
# these points. It also keeps the error state from halotools, whose import changes it for good. Only a
# decorator: as one context it cannot be entered twice.
silent = np.errstate(all="ignore")


class unaffected(ContextDecorator):
    """Compute as if the caller had set nothing of numpy and torch, and leave all as it was.

    Within, there is no autocast, numbers that overflow raise and warn of nothing, and tensors are
    made on the CPU and in float32 unless they say otherwise. It decorates functions, too.

    Parameters
    ----------
    gradients : bool
        Gradients are needed, also where the caller has switched them off or infers only; otherwise
        this is as the caller has it.
    """

    def __init__(self, gradients: bool = False) -> None:
        self._gradients = gradients

    def _recreate_cm(self) -> unaffected:
        return unaffected(self._gradients)

    def __enter__(self) -> None:
        self._entered: list[AbstractContextManager[Any]] = [np.errstate(all="ignore")]
        torch = sys.modules.get("torch")
        if torch is not None:
            # A default device is a mode through which all functions of torch go.
            self._entered.append(torch._C.DisableTorchFunction())
            if torch._C._is_any_autocast_enabled():
                devices = ("cpu", "cuda")
                self._entered += [torch.autocast(device, enabled=False) for device in devices]
            if torch.get_default_dtype() != torch.float32:
                self._entered.append(_single_precision())
            if self._gradients:
                self._entered += [torch.inference_mode(False), torch.enable_grad()]
        for context in self._entered:
            context.__enter__()

    def __exit__(self, *error: Any) -> None:
        for context in reversed(self._entered):
            context.__exit__(*error)


@contextmanager
def _single_precision() -> Iterator[None]:
    """Torch's own default precision."""
    import torch

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def enter(*points: Any, device: Any = None) -> tuple[Any, ...]:
    """Convert all to arrays where this is fastest, and all to tensors otherwise.

    Parameters
    ----------
    *points : ndarray or torch.Tensor, shape (n, ...)
        Arguments of a public call; n may be 1 in some of them.
    device : torch.device, optional
        Where the model computes, if it is not where the points are.

    Returns
    -------
    tuple of ndarray or of torch.Tensor
        Arrays if there are few points, the model computes on a CPU, and no gradient is needed.
    """
    many = max(x.shape[0] for x in points) >= MANY
    elsewhere = device is not None and device.type != "cpu"
    if not many and not elsewhere and all(isinstance(x, np.ndarray) for x in points):
        return points
    import torch

    tensors = [torch.as_tensor(x, device=device) for x in points]
    if not many and not any(x.requires_grad or x.device.type != "cpu" for x in tensors):
        return tuple([x.numpy() for x in tensors])
    return tuple(tensors)


def as_array(x: Any) -> NDArray[Any]:
    """Convert to an array; a tensor loses its gradient and device."""
    return x if isinstance(x, np.ndarray) else x.detach().cpu().numpy()


def namespace(x: Any) -> Any:
    """The library whose functions take x: `numpy` or `torch`."""
    if isinstance(x, np.ndarray):
        return np
    import torch

    return torch


def kind(x: Any) -> tuple[Any, Any]:
    """dtype and device, None for an array, as `constant` takes them."""
    return x.dtype, None if isinstance(x, np.ndarray) else x.device


def constant(values: NDArray[Any], dtype: Any, device: Any) -> Any:
    """Values as an array or tensor of some `kind`, for reuse in later calls."""
    if device is None:
        return values.astype(dtype)
    import torch

    with torch.inference_mode(False):  # gradients cannot pass through an inference tensor
        return torch.as_tensor(values).to(device, dtype)


def cast(x: Any, dtype: Any) -> Any:
    """Convert to another precision, a torch.dtype; complex arrays stay as they are."""
    if isinstance(x, np.ndarray):
        if np.iscomplexobj(x):  # the imaginary part carries a derivative
            return x
        return x.astype(str(dtype).removeprefix("torch."), copy=False)
    return x.to(dtype)


def like(tensor: Any, x: Any) -> Any:
    """Convert a tensor to the type of x, without a copy."""
    return tensor.numpy() if isinstance(x, np.ndarray) else tensor


def are_equal(a: Any, b: Any) -> bool:
    """Whether two arrays, or two tensors, hold the same numbers."""
    return a.shape == b.shape and bool((a == b).all())


def at_least(x: Any, low: float) -> Any:
    """x, or low where that is larger."""
    return np.maximum(x, low) if isinstance(x, np.ndarray) else x.clamp(min=low)


def add_product(a: Any, b: Any, c: Any) -> Any:
    """a + b c, element by element."""
    return a + b * c if isinstance(a, np.ndarray) else a.addcmul(b, c)


def unbind(x: Any) -> Sequence[Any]:
    """Split along the second axis, which is dropped."""
    return tuple(x.swapaxes(0, 1)) if isinstance(x, np.ndarray) else x.unbind(1)


def product(a: Any, b: Any) -> Any:
    """Product of large matrices, always by torch, because numpy would use threads of its own."""
    if not isinstance(a, np.ndarray):
        return a @ b
    import torch

    b = b.astype(a.dtype, copy=False)
    return (torch.from_numpy(a) @ torch.from_numpy(b)).numpy()
