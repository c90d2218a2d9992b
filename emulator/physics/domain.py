"""The region of parameter space in which an emulator is valid, and designs that fill it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from iaemu_likelihood.emulator.backend import constant, kind
from iaemu_likelihood.emulator.physics.occupations import Bands
from iaemu_likelihood.emulator.physics.points import is_number
from iaemu_likelihood.emulator.physics.space import DEFAULT_SPACE, ParameterSpace
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from torch import Tensor

Array = NDArray[np.float64]
DESIGNS = ("sobol", "paper")
# In a design: scipy's Sobol sequence has no more.
MOST_POINTS = 2**30


def _warp(share: Array, density: tuple[float, ...]) -> Array:
    """Map numbers, uniform in [0, 1], to numbers with a polynomial density in x = 2 share - 1."""
    x = np.linspace(-1, 1, 4097)
    integral = np.polynomial.Polynomial(density).integ()(x)
    cumulative = (integral - integral[0]) / (integral[-1] - integral[0])
    return (np.interp(share, cumulative, x) + 1) / 2


def _is_like(value: Any, default: Any) -> bool:
    """Whether a value is a finite number, or as many as there are in a default."""
    if isinstance(default, tuple):
        several = isinstance(value, list | tuple) and len(value) == len(default)
        return several and all(map(_is_like, value, default))
    return is_number(value) and bool(np.isfinite(value))


@dataclass(frozen=True)
class Domain:
    """The region of parameter space on which an emulator was trained.

    Alignment parameters lie within the limits of the alignment, occupation parameters within the
    bands of the occupation, which follow its first parameter.

    Attributes
    ----------
    bands : Bands
    space : ParameterSpace
    """

    bands: Bands
    space: ParameterSpace = DEFAULT_SPACE

    def __post_init__(self) -> None:
        first, *others = self.space.occupation.parameters
        low, high = self.bands.first
        if not -np.inf < low < high < np.inf:
            raise ValueError(
                f"The domain has {first.name} from {low} to {high}; it takes two finite numbers, the "
                "smaller one first."
            )
        # Bands are cut from above and below, so they are narrowest at one of the ends.
        for end in self.bands.first:
            lower, upper = self.occupation_limits(np.array(end))
            for parameter, least, most in zip(others, lower, upper, strict=True):
                if not -np.inf < least < most < np.inf or (parameter.positive and least <= 0):
                    raise ValueError(
                        f"The domain has {parameter.name} from {least:g} to {most:g} at "
                        f"{first.name} = {end:g}; it takes a lower limit"
                        + (" above zero" if parameter.positive else "")
                        + " and a higher upper one."
                    )

    @classmethod
    def of(cls, space: ParameterSpace = DEFAULT_SPACE, **limits: Any) -> Domain:
        """The domain of a space, with the limits of its occupation.

        Parameters
        ----------
        space : ParameterSpace
        **limits
            Arguments of `Occupation.bands`.

        Raises
        ------
        TypeError
            If there is no such argument, or one is no finite number, or not two of them where its
            default is.
        ValueError
            If no region is left between the limits.
        """
        known = inspect.signature(space.occupation.bands).parameters
        for name, value in limits.items():
            if name not in known:
                raise TypeError(
                    f"domain has {name}; it is a mapping with some of {', '.join(known)}."
                )
            default = known[name].default
            if not _is_like(value, default):
                from iaemu_likelihood.emulator.fields import number_hint  # which loads pydantic

                raise TypeError(
                    f"domain: {name} is {value!r}; it should be like {default!r}, of finite numbers"
                    f"{number_hint(value)}."
                )
        return cls(space.occupation.bands(**limits), space)

    @property
    def _first(self) -> int:
        """Column of the occupation parameter that the bands follow."""
        return self.space.n_alignment

    def occupation_limits(self, first: Any) -> tuple[Any, Any]:
        """Lower and upper limits of the other occupation parameters at given values of the first.

        Parameters
        ----------
        first : ndarray or torch.Tensor, shape (...)

        Returns
        -------
        lower, upper : ndarray or torch.Tensor, shape (..., n_occupation - 1)
        """
        lower, upper = self._limits(first[..., None])
        others = slice(self._first + 1, None)
        return lower[..., others], upper[..., others]

    def _limits(self, first: Any) -> tuple[Any, Any]:
        """As `limits`, from values of the first occupation parameter, shape (..., 1)."""
        arrays = isinstance(first, np.ndarray)
        centre, slope, half_width, minimum, maximum = (
            self._bands if arrays else self._tensors(first)
        )
        middle = centre + slope * first
        low, high = middle - half_width, middle + half_width
        if arrays:
            return np.maximum(low, minimum), np.minimum(high, maximum)
        return low.clamp(min=minimum), high.clamp(max=maximum)

    def _tensors(self, first: Tensor) -> Sequence[Tensor]:
        """`_bands` on the device of a tensor, and in its precision."""
        key = kind(first)
        if key not in self._of_kind:
            self._of_kind[key] = constant(self._bands, *key).unbind(0)
        return self._of_kind[key]

    @cached_property
    def _of_kind(self) -> dict[Any, Sequence[Tensor]]:
        return {}

    @cached_property
    def _bands(self) -> Array:
        """Intercept, slope, half width, minimum and maximum of all parameters."""
        b = self.bands
        alone = [self.space.alignment.limits] * self.space.n_alignment + [b.first]
        columns = [(0.0, 0.0, np.inf, *limits) for limits in alone]
        others = np.array((b.intercept, b.slope, b.half_width, b.minimum, b.maximum))
        return np.column_stack([*columns, others])

    def to_unit(self, parameters: Any) -> Any:
        """Map parameters so that the domain becomes the cube [-1, 1]^d.

        Parameters
        ----------
        parameters : ndarray or torch.Tensor, shape (..., n_occupation) or (..., n_parameters)
            The parameters of the occupation, or all.

        Returns
        -------
        ndarray or torch.Tensor, of the same shape
        """
        skipped = len(self.space) - parameters.shape[-1]
        at = self._first - skipped
        limits = self._limits(parameters[..., at : at + 1])
        lower, upper = (x[..., skipped:] for x in limits) if skipped else limits
        return (2 * parameters - (lower + upper)) / (upper - lower)

    def from_unit(self, unit: Array) -> Array:
        """Inverse of `to_unit` for occupation parameters, shape (..., n_occupation)."""
        low, high = self.bands.first
        hod = np.empty_like(unit)
        hod[..., 0] = (low + high + unit[..., 0] * (high - low)) / 2
        lower, upper = self.occupation_limits(hod[..., 0])
        hod[..., 1:] = (lower + upper + unit[..., 1:] * (upper - lower)) / 2
        return hod

    def limits(self, theta: Array) -> tuple[Array, Array]:
        """Lower and upper limit of each parameter at the points `theta`.

        Parameters
        ----------
        theta : ndarray, shape (n, n_parameters)

        Returns
        -------
        lower, upper : ndarray, shape (n, n_parameters)
        """
        return self._limits(theta[..., self._first : self._first + 1])

    def outer_limits(self) -> tuple[Array, Array]:
        """The smallest box that holds the domain, shape (n_parameters,) each."""
        # The bands are monotonic in the first parameter.
        lower, upper = self._limits(np.array(self.bands.first)[:, None])
        return lower.min(axis=0), upper.max(axis=0)

    def contains(self, theta: ArrayLike) -> NDArray[np.bool_]:
        """Whether points lie in the domain, shape (..., n_parameters) to (...)."""
        points = np.asarray(theta, float)
        lower, upper = self.limits(points)
        return np.asarray(((points >= lower) & (points <= upper)).all(axis=-1))

    def check(self, theta: Array) -> None:
        """Raise a ValueError that names the first parameter outside the domain and its range.

        Parameters
        ----------
        theta : ndarray, shape (n_parameters,) or (n, n_parameters)
        """
        points = np.atleast_2d(theta)
        lower, upper = self.limits(points)
        outside = ~((points >= lower) & (points <= upper))
        if not outside.any():
            return
        row, column = np.argwhere(outside)[0]
        value, low, up = points[row, column], lower[row, column], upper[row, column]
        where = f" (row {row} of {len(points)})" if len(points) > 1 else ""
        first, names = self._first, self.space.names
        at = f" at {names[first]} = {points[row, first]:g}" if column > first else ""
        raise ValueError(
            f"{names[column]} = {value:g}{where} is outside the emulator's domain "
            f"[{low:.6g}, {up:.6g}]{at}."
            + (" Choose extrapolate to evaluate there all the same." if column >= first else "")
        )

    def rounded(self, theta: Array, rounding: Array | float) -> Array:
        """Points that rounding has moved out of the domain, moved to its edge; others as they are.

        Parameters
        ----------
        theta : ndarray, shape (n, n_parameters)
        rounding : ndarray, broadcast to the same shape, or float
            Largest rounding error of each number.
        """
        points, slope = theta.copy(), self._bands[1]
        errors = np.broadcast_to(rounding, theta.shape)
        first = slice(self._first, self._first + 1)
        # The limits of the others follow the first, and are as uncertain as it is.
        errors = errors + np.abs(slope) * errors[:, first]
        for columns in (first, slice(None)):
            inside = np.clip(points, *self.limits(points))
            near = np.abs(inside - points) <= errors
            points[:, columns] = np.where(near, inside, points)[:, columns]
        return points

    def sample(self, n: int, seed: int, design: str = "sobol") -> Array:
        """Points that fill the domain.

        Parameters
        ----------
        n : int
        seed : int
        design : str
            ``sobol``: a scrambled Sobol sequence, somewhat denser where the templates bend (see
            `Occupation.design_density`), alignment parameters uniform. ``paper``: the first
            occupation parameter evenly spaced, the others drawn uniformly (IAEmu,
            arXiv:2504.05235).

        Returns
        -------
        ndarray, shape (n, n_parameters)
            A shorter ``sobol`` design is the beginning of a longer one with the same seed.
        """
        from scipy.stats import qmc

        if design not in DESIGNS:
            raise ValueError(f"design must be one of {', '.join(DESIGNS)}; got {design!r}.")
        occupation, n_occupation = self.space.occupation, self.space.n_occupation
        rng = np.random.default_rng(seed)
        if design == "paper":
            share = rng.random((n, len(self.space)))
            share[:, 0] = (np.arange(n) + 0.5) / n
        else:
            # The sequence is balanced only at powers of two.
            sobol = qmc.Sobol(len(self.space), rng=rng)
            share = sobol.random_base2(int(np.ceil(np.log2(max(n, 2)))))[:n]
            for name, density in occupation.design_density.items():
                column = occupation.names.index(name)
                share[:, column] = _warp(share[:, column], density)
        # Occupation parameters come first, so that the less even later dimensions of the sequence
        # go to the alignment.
        unit = 2 * share - 1
        low, high = self.space.alignment.limits
        mu = (low + high + unit[:, n_occupation:] * (high - low)) / 2
        return np.asarray(self.space.join(mu, self.from_unit(unit[:, :n_occupation])))

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and numbers, for a card or a file's attributes."""
        content = {k: list(v) for k, v in asdict(self.bands).items()}
        return {self.space.occupation.names[0]: content.pop("first"), **content}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], space: ParameterSpace = DEFAULT_SPACE) -> Domain:
        """Inverse of `to_dict`.

        Raises
        ------
        ValueError
            If a key is missing, unknown, or holds anything but as many numbers as it takes.
        """
        first, *others = space.occupation.names
        sizes = {first: 2} | {f.name: len(others) for f in fields(Bands) if f.name != "first"}
        if set(content) != set(sizes):
            raise ValueError(
                f"A domain has {', '.join(sizes)}; got {', '.join(map(str, content))}."
            )
        for key, size in sizes.items():
            given = content[key]
            several = isinstance(given, list | tuple) and len(given) == size
            if not (several and all(map(is_number, given))):
                raise ValueError(f"{key} is {given!r}; it must be a list of {size} numbers.")
        values = {key: tuple(map(float, content[key])) for key in sizes}
        low, high = values.pop(first)
        return cls(Bands((low, high), **values), space)
