"""All parameters of a model: those of the alignment first, then those of the occupation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from iaemu_likelihood.emulator.backend import namespace
from iaemu_likelihood.emulator.physics.alignment import ALIGNMENTS, WATSON, Alignment
from iaemu_likelihood.emulator.physics.occupations import OCCUPATIONS, ZHENG07, Occupation
from iaemu_likelihood.emulator.physics.parameters import Parameter
from iaemu_likelihood.emulator.physics.points import by_name, columns_of, half_spacing, numbers
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class ParameterSpace:
    """The parameters of an alignment and of an occupation, in this order in every array.

    Attributes
    ----------
    alignment : Alignment
    occupation : Occupation
    """

    alignment: Alignment = WATSON
    occupation: Occupation = ZHENG07

    @classmethod
    def named(cls, occupation: str = ZHENG07.name, alignment: str = WATSON.name) -> ParameterSpace:
        """The space of an occupation and an alignment, given by their names.

        Raises
        ------
        ValueError
            If there is no such occupation or alignment.
        """
        for kind, name, known in (
            ("occupation", occupation, OCCUPATIONS),
            ("alignment", alignment, ALIGNMENTS),
        ):
            if name not in known:
                raise ValueError(f"No {kind} {name!r}; there are {', '.join(known)}.")
        return cls(ALIGNMENTS[alignment], OCCUPATIONS[occupation])

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """All parameters, in the order of every array."""
        return (*self.alignment.parameters, *self.occupation.parameters)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of all parameters, in their order."""
        return tuple(parameter.name for parameter in self.parameters)

    @cached_property
    def n_alignment(self) -> int:
        """Number of parameters of the alignment."""
        return len(self.alignment.parameters)

    @cached_property
    def n_occupation(self) -> int:
        """Number of parameters of the occupation."""
        return len(self.occupation.parameters)

    def __len__(self) -> int:
        return self.n_alignment + self.n_occupation

    def split(self, theta: Any) -> tuple[Any, Any]:
        """Parameters of the alignment and of the occupation, along the last axis.

        Parameters
        ----------
        theta : ndarray, torch.Tensor or sequence, shape (..., n_parameters)
        """
        n = self.n_alignment
        if isinstance(theta, list | tuple):
            return theta[:n], theta[n:]
        return theta[..., :n], theta[..., n:]

    def join(self, mu: Any, hod: Any) -> Any:
        """Inverse of `split`; one of the two may have a single row for all rows of the other.

        Parameters
        ----------
        mu : ndarray or torch.Tensor, shape (..., n_alignment)
        hod : ndarray or torch.Tensor, shape (..., n_occupation)
        """
        xp = namespace(mu)
        if mu.shape[:-1] == hod.shape[:-1]:
            return xp.concatenate((mu, hod), axis=-1)
        rows = np.broadcast_shapes(tuple(mu.shape[:-1]), tuple(hod.shape[:-1]))
        parts = [xp.broadcast_to(x, (*rows, x.shape[-1])) for x in (mu, hod)]
        return xp.concatenate(parts, axis=-1)

    def named_values(self, theta: Any) -> dict[str, float]:
        """One point as numbers by their names."""
        return dict(zip(self.names, (float(x) for x in theta), strict=True))

    def array(self, parameters: Any = None, **named: ArrayLike) -> NDArray[np.float64]:
        """Put parameters given in any of the accepted forms into one array.

        Parameters
        ----------
        parameters : array_like, shape (n_parameters,) or (n, n_parameters), or table, optional
            Values in the order of `names`; or by name: a mapping from name to value(s), a table, a
            row, or a list of mappings or rows.
        **named : float or array_like, shape (n,)
            The values by name, instead of `parameters`.

        Returns
        -------
        ndarray, shape (n_parameters,) or (n, n_parameters), float64
            A new array.

        Raises
        ------
        TypeError
            If a name is missing or unknown, both forms are given, or a value is no real number, is
            masked, or has a unit.
        ValueError
            If the last axis has another length, there is no point, or a value is not finite.
        """
        return self.read(parameters, **named)[0]

    def read(
        self, parameters: Any = None, **named: ArrayLike
    ) -> tuple[NDArray[np.float64], NDArray[np.float64] | float]:
        """As `array`, and the rounding errors of the numbers as they were given.

        Returns
        -------
        theta : ndarray, shape (n_parameters,) or (n, n_parameters), float64
        rounding : ndarray of the same shape, or float
            0 where the numbers were given in double precision.
        """
        rounding: NDArray[np.float64] | float
        columns = by_name(parameters, self.names)
        if columns is not None:
            named, parameters = {**columns, **named}, None
        if parameters is not None and named:
            raise TypeError("Give the parameters either as one array or by name, not both.")
        if parameters is None:
            self._refuse_other_occupation(named)
            each = columns_of(named, self.names)
            theta = np.stack([x.astype(np.float64) for x in each], axis=-1)
            rounding = np.stack(np.broadcast_arrays(*map(half_spacing, each)), axis=-1)
        else:
            given = numbers(parameters, "The parameters")
            theta, rounding = np.array(given, np.float64, order="C"), half_spacing(given)
        if theta.ndim not in (1, 2) or theta.shape[-1] != len(self.names) or not theta.size:
            raise ValueError(
                f"Expected shape ({len(self)},) or (n, {len(self)}), n at least 1, in the order "
                f"{', '.join(self.names)}; got {theta.shape}."
            )
        if not np.isfinite(theta).all():
            *row, column = np.argwhere(~np.isfinite(theta))[0]
            where = f" in row {row[0]}" if row else ""
            raise ValueError(
                f"{self.names[column]}{where} is {theta[(*row, column)]}, not a finite number."
            )
        return theta, rounding

    def _refuse_other_occupation(self, named: Mapping[str, Any]) -> None:
        """Say so if the parameters that are given are those of another occupation."""
        if set(self.occupation.names) <= set(named):
            return
        for other in OCCUPATIONS.values():
            if set(other.names) <= set(named):
                raise TypeError(
                    f"{', '.join(other.names)} are the parameters of the occupation {other.name}; "
                    f"here it is {self.occupation.name}, with {', '.join(self.occupation.names)}. "
                    "Weights know the one occupation that they were trained on: train others with "
                    f"'occupation_model: {other.name}' in a configuration (iaemu train), or take the "
                    "templates of a tabulation, which knows them all."
                )


# The parameters of the paper.
DEFAULT_SPACE = ParameterSpace()
