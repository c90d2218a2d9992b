"""Numpy's arrays or torch's tensors: which of the two a call takes, and functions of either.

A prediction at a few points takes as long as calling the library so many times does, and numpy's
calls take a fraction of torch's; gradients, many points and GPUs are torch's. `enter` decides between
them once, where a public call comes in. Everything below is written once, for either: what the two
have under different names is here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, Union

import numpy as np
from numpy.typing import NDArray

# torch is imported where there are tensors, so that it is there already: what makes data sets does
# without it.
if TYPE_CHECKING:
    from torch import Tensor

# What functions of either take and give: the same of all arguments.
ArrayOrTensor: TypeAlias = Union[NDArray[Any], "Tensor"]

# Points from which on arithmetic counts, and not the number of operations.
MANY = 128

# For functions of either: what overflows far outside a domain becomes inf or NaN without a warning, as
# torch has it, and is rejected by whoever asked for it.
silent = np.errstate(all="ignore")


def enter(*points: Any) -> tuple[Any, ...]:
    """All as arrays where this is the fastest, and all as tensors otherwise.

    Parameters
    ----------
    *points : ndarray or torch.Tensor, shape (n, ...)
        What a public call was given; n may be 1 in some of them.

    Returns
    -------
    tuple of ndarray or of torch.Tensor
        Arrays of a few points on a CPU of which no gradient is wanted.
    """
    many = max(x.shape[0] for x in points) >= MANY
    if not many and all(isinstance(x, np.ndarray) for x in points):
        return points
    import torch

    tensors = [torch.as_tensor(x) for x in points]
    if not many and not any(x.requires_grad or x.device.type != "cpu" for x in tensors):
        return tuple([x.numpy() for x in tensors])
    return tuple(tensors)


def as_array(x: Any) -> NDArray[Any]:
    """An array, or a tensor of any device without its gradient, as an array."""
    return x if isinstance(x, np.ndarray) else x.detach().cpu().numpy()


def namespace(x: Any) -> Any:
    """The module whose functions take x: `numpy` or `torch`."""
    if isinstance(x, np.ndarray):
        return np
    import torch

    return torch


def kind(x: Any) -> tuple[Any, Any]:
    """dtype, and device of a tensor, for `constant`."""
    return x.dtype, None if isinstance(x, np.ndarray) else x.device


def constant(values: NDArray[Any], dtype: Any, device: Any) -> Any:
    """Values as an array or tensor of some `kind`, to be kept for later calls."""
    if device is None:
        return values.astype(dtype)
    import torch

    with torch.inference_mode(False):  # or gradients could not go through it
        return torch.as_tensor(values).to(device, dtype)


def cast(x: Any, dtype: Any) -> Any:
    """In another precision, given as torch's."""
    if isinstance(x, np.ndarray):
        return x.astype(str(dtype).removeprefix("torch."), copy=False)
    return x.to(dtype)


def like(tensor: Any, x: Any) -> Any:
    """A tensor as what x is: as a view that is an array, or as it is."""
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
    """Slices along the second axis."""
    return tuple(x.swapaxes(0, 1)) if isinstance(x, np.ndarray) else x.unbind(1)


def product(a: Any, b: Any) -> Any:
    """Product of large matrices, always by torch: numpy's would use threads of its own."""
    if not isinstance(a, np.ndarray):
        return a @ b
    import torch

    return (torch.from_numpy(a) @ torch.from_numpy(b)).numpy()
