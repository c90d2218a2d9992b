"""The number density of galaxies as a datum, beside their correlation functions.

A halo occupation that is fitted to correlation functions alone may hold any number of galaxies. The
measured number density is compared with the exact mean of the model, as a Gaussian of its own: it is
independent of the correlation functions, and corrections for an estimated covariance do not apply.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf, log, pi
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Tensor

_KEYS = ("value", "error")
_FORM = "{value: 0.0133, error: 0.0007}, both in (h/Mpc)^3"


class NumberDensities:
    """Measured number densities of some samples.

    Parameters
    ----------
    given : mapping
        ``value`` and ``error`` of the only sample, in (h/Mpc)^3; or for each of several, by its label,
        a mapping with these two. Samples may be left out.
    samples : sequence of str or None
        Labels of the samples.
    normalized : bool
        Whether log-likelihoods are those of a normalised density of the data; otherwise they are 0
        where data and model agree.

    Attributes
    ----------
    samples : tuple of str or None
        Those whose number density is known.
    values, errors : ndarray, shape (n_samples,)
        (h/Mpc)^3.

    Raises
    ------
    ValueError
        If it is anything else, a sample is unknown, or a number is not positive and finite; the
        message says which.
    """

    def __init__(
        self, given: Mapping[str, Any], samples: Sequence[str | None], normalized: bool = False
    ) -> None:
        each: Mapping[Any, Any] = given
        if isinstance(given, Mapping) and set(given) & set(_KEYS):
            if len(samples) > 1:
                raise ValueError(
                    "number_density is one density, but there are the samples "
                    f"{', '.join(map(str, samples))}; give each its own, as in "
                    f"{{{samples[0]}: {_FORM.partition(',')[0]}, ...}}."
                )
            each = {samples[0]: given}
        if not isinstance(given, Mapping) or not given:
            raise ValueError(f"number_density is {given!r}; expected {_FORM}.")
        unknown = [label for label in each if label not in samples]
        if unknown:
            labels = ", ".join(str(x) for x in samples if x is not None)
            among = f"by the labels of the samples, {labels}" if labels else "of the one sample"
            raise ValueError(
                f"number_density has the key {unknown[0]!r}; expected {_FORM}, {among}."
            )
        self.samples = tuple(label for label in samples if label in each)
        numbers = [[_number(each[label], key, label) for key in _KEYS] for label in self.samples]
        self.values, self.errors = np.array(numbers).T
        self._values, self._errors = torch.as_tensor(self.values), torch.as_tensor(self.errors)
        self._constant = 0.0
        if normalized:
            self._constant = -sum(log(error) + log(2 * pi) / 2 for error in self.errors.tolist())

    def __call__(self, predicted: Tensor) -> tuple[Tensor, Tensor]:
        """Log-likelihood and chi^2, differentiably.

        Parameters
        ----------
        predicted : torch.Tensor, shape (..., n_samples), float64
            (h/Mpc)^3.

        Returns
        -------
        log_likelihood, chi2 : torch.Tensor, shape (...)
        """
        chi2 = ((predicted - self._values) / self._errors).square().sum(-1)
        return self._constant - chi2 / 2, chi2

    def describe(self) -> list[str]:
        """A sentence for each sample."""
        rows = zip(self.samples, self.values.tolist(), self.errors.tolist(), strict=True)
        return [
            f"Number density{f' of {sample}' if sample else ''}: {value:.4g} ± {error:.2g} (h/Mpc)^3."
            for sample, value, error in rows
        ]


def _number(density: Any, key: str, sample: str | None) -> float:
    of_sample = f" of {sample}" if sample else ""
    if not isinstance(density, Mapping) or set(density) != set(_KEYS):
        raise ValueError(f"number_density{of_sample} is {density!r}; expected {_FORM}.")
    value = density[key]
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not is_number or not 0 < float(value) < inf:
        raise ValueError(
            f"number_density{of_sample}: {key} is {value!r}; expected a positive, finite number of "
            "(h/Mpc)^3."
        )
    return float(value)
