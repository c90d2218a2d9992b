"""The seven parameters of halotools-IA and the domain in which an emulator is valid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
from iaemu_likelihood.emulator.networks.backend import constant, kind
from numpy.typing import ArrayLike, NDArray

ALIGNMENT_PARAMETERS = ("mu_cen", "mu_sat")
HOD_PARAMETERS = ("logMmin", "sigma_logM", "logM0", "logM1", "alpha")
PARAMETERS = ALIGNMENT_PARAMETERS + HOD_PARAMETERS

# Zheng, Coil & Zehavi 2007 (arXiv:astro-ph/0703457), Table 1, SDSS samples, from faint to bright.
ZHENG07 = {
    "logMmin": (11.35, 11.46, 11.60, 11.75, 12.02, 12.30, 12.79, 13.38, 14.22),
    "sigma_logM": (0.25, 0.24, 0.26, 0.28, 0.26, 0.21, 0.39, 0.51, 0.77),
    "logM0": (11.20, 10.59, 11.49, 11.69, 11.38, 11.84, 11.92, 13.94, 14.00),
    "logM1": (12.40, 12.68, 12.83, 13.01, 13.31, 13.58, 13.94, 13.91, 14.69),
    "alpha": (0.83, 0.97, 1.02, 1.06, 1.06, 1.12, 1.15, 1.04, 0.87),
}

DESIGNS = ("sobol", "paper")
# Density of the sobol design along each occupation parameter, mapped to x in [-1, 1]: coefficients
# of 1, x, x^2. Templates bend most at both ends of logMmin, at small sigma_logM and at large logM0
# and alpha. Against uniform points, an interpolation through 8,192 of these has a 3 % larger median
# error, but a 10 % smaller 95th percentile and a 29 % smaller worst one (`benchmarks/design.py`).
DENSITY = {
    "logMmin": (0.85, 0.0, 0.45),
    "sigma_logM": (1.0, -0.2),
    "logM0": (1.0, 0.35),
    "logM1": (1.0,),
    "alpha": (1.0, 0.2),
}


def _warp(share: NDArray[np.float64], density: tuple[float, ...]) -> NDArray[np.float64]:
    """Move numbers uniform in [0, 1] so that they have a polynomial density in 2 share - 1."""
    x = np.linspace(-1, 1, 4097)
    integral = np.polynomial.Polynomial(density).integ()(x)
    cumulative = (integral - integral[0]) / (integral[-1] - integral[0])
    return (np.interp(share, cumulative, x) + 1) / 2


def parameter_array(parameters: Any = None, **named: ArrayLike) -> NDArray[np.float64]:
    """Put parameters given in any of the accepted forms into one array.

    Parameters
    ----------
    parameters : array_like, shape (7,) or (n, 7), or mapping, optional
        Values in the order of `PARAMETERS`, or a mapping from name to value(s).
    **named : float or array_like, shape (n,)
        The seven values by name, instead of `parameters`.

    Returns
    -------
    ndarray, shape (7,) or (n, 7), float64

    Raises
    ------
    TypeError
        If a name is missing or unknown, or both forms are given.
    ValueError
        If the last axis is not 7 long, there is no point, or a value is not finite.
    """
    if isinstance(parameters, Mapping):
        named, parameters = {**parameters, **named}, None
    if parameters is not None and named:
        raise TypeError("Give the parameters either as one array or by name, not both.")
    if parameters is None:
        missing = [p for p in PARAMETERS if p not in named]
        unknown = [p for p in named if p not in PARAMETERS]
        if missing or unknown:
            raise TypeError(
                f"The parameters are {', '.join(PARAMETERS)}; "
                f"missing: {', '.join(missing) or 'none'}; unknown: {', '.join(unknown) or 'none'}."
            )
        columns = np.broadcast_arrays(*[np.asarray(named[p], float) for p in PARAMETERS])
        parameters = np.stack(columns, axis=-1)
    theta = np.asarray(parameters, dtype=np.float64)
    if theta.ndim not in (1, 2) or theta.shape[-1] != len(PARAMETERS) or not theta.size:
        raise ValueError(
            f"Expected shape (7,) or (n, 7), n at least 1, in the order {', '.join(PARAMETERS)}; got {theta.shape}."
        )
    if not np.isfinite(theta).all():
        *row, column = np.argwhere(~np.isfinite(theta))[0]
        where = f" in row {row[0]}" if row else ""
        raise ValueError(
            f"{PARAMETERS[column]}{where} is {theta[(*row, column)]}, not a finite number."
        )
    return theta


@cache
def _bands_in_torch(domain: Domain, *kind: Any) -> Any:
    return constant(domain._bands, *kind).unbind(0)


@dataclass(frozen=True)
class Domain:
    """The region of parameter space on which an emulator was trained.

    `logMmin` has a fixed range. Each other occupation parameter lies within `half_width` of a
    straight line in `logMmin`, further limited by `minimum` and `maximum`; mu_cen and mu_sat lie
    in [-1, 1].

    Attributes
    ----------
    logMmin : tuple of float
        Range of log10 of the minimum host mass, Msun/h.
    slope, intercept, half_width : tuple of float
        Of the bands of sigma_logM, logM0, logM1 and alpha, in this order.
    minimum, maximum : tuple of float
        Limits on the same four, whatever the band says.
    """

    logMmin: tuple[float, float]
    slope: tuple[float, ...]
    intercept: tuple[float, ...]
    half_width: tuple[float, ...]
    minimum: tuple[float, ...]
    maximum: tuple[float, ...]

    @classmethod
    def zheng07(
        cls,
        logMmin: tuple[float, float] = (11.4, 14.0),
        n_rmse: float = 4.0,
        sigma_logM_min: float = 0.05,
        logM0_max: float = 14.0,
    ) -> Domain:
        """The paper's domain: bands of +-4 RMSE around fits to Zheng et al. 2007, Table 1.

        Parameters
        ----------
        logMmin : tuple of float
            Range of logMmin, log10(Msun/h).
        n_rmse : float
            Half-width of the bands in units of the RMSE of each linear fit.
        sigma_logM_min : float
            The band of sigma_logM reaches negative values at small logMmin, where the error
            function would fill light hosts and empty heavy ones; the band is cut here.
        logM0_max : float
            The band of logM0 reaches masses above that of any host in a 250 Mpc/h box, where no
            satellites are left and the small-scale bins have no pairs; the band is cut at the
            largest value of the table it was fitted to.

        Notes
        -----
        Bands: IAEmu, arXiv:2504.05235. The two cuts are ours.
        """
        x = np.array(ZHENG07["logMmin"])
        slope, intercept, half_width = [], [], []
        for name in HOD_PARAMETERS[1:]:
            y = np.array(ZHENG07[name])
            s, i = np.polyfit(x, y, 1)
            slope.append(float(s))
            intercept.append(float(i))
            half_width.append(n_rmse * float(np.sqrt(np.mean((y - i - s * x) ** 2))))
        inf = float("inf")
        return cls(
            logMmin,
            tuple(slope),
            tuple(intercept),
            tuple(half_width),
            (sigma_logM_min, -inf, -inf, -inf),
            (inf, logM0_max, inf, inf),
        )

    def bounds(self, logMmin: Any) -> tuple[Any, Any]:
        """Lower and upper limits of sigma_logM, logM0, logM1, alpha at given logMmin.

        Parameters
        ----------
        logMmin : ndarray or torch.Tensor, shape (...)

        Returns
        -------
        lower, upper : ndarray or torch.Tensor, shape (..., 4)
        """
        lower, upper = self._limits(logMmin[..., None])
        return lower[..., 3:], upper[..., 3:]

    def _limits(self, logMmin: Any) -> tuple[Any, Any]:
        """As `limits`, from logMmin alone, array or tensor: (..., 1) to (..., 7) each."""
        arrays = isinstance(logMmin, np.ndarray)
        bands: Any = self._bands if arrays else _bands_in_torch(self, *kind(logMmin))
        centre, slope, half_width, minimum, maximum = bands
        middle = centre + slope * logMmin
        low, high = middle - half_width, middle + half_width
        if arrays:
            return np.maximum(low, minimum), np.minimum(high, maximum)
        return low.clamp(min=minimum), high.clamp(max=maximum)

    @cached_property
    def _bands(self) -> NDArray[np.float64]:
        """Intercept, slope, half width, minimum and maximum of the seven parameters, (5, 7)."""
        mu, logMmin = ((0.0, 0.0, np.inf, *limits) for limits in ((-1.0, 1.0), self.logMmin))
        others = (self.intercept, self.slope, self.half_width, self.minimum, self.maximum)
        return np.column_stack([mu, mu, logMmin, np.array(others)])

    def to_unit(self, parameters: Any) -> Any:
        """Map parameters to the cube [-1, 1]^d, which the domain is.

        Parameters
        ----------
        parameters : ndarray or torch.Tensor, shape (..., 5) or (..., 7)
            Those of the occupation, or all; mu_cen and mu_sat stay what they are.

        Returns
        -------
        ndarray or torch.Tensor, of the same shape
        """
        first = len(PARAMETERS) - parameters.shape[-1]
        limits = self._limits(parameters[..., 2 - first : 3 - first])
        lower, upper = (x[..., first:] for x in limits) if first else limits
        return (2 * parameters - (lower + upper)) / (upper - lower)

    def from_unit(self, unit: NDArray[np.float64]) -> NDArray[np.float64]:
        """Inverse of `to_unit`, shape (..., 5) to (..., 5)."""
        low, high = self.logMmin
        hod = np.empty_like(unit)
        hod[..., 0] = (low + high + unit[..., 0] * (high - low)) / 2
        lower, upper = self.bounds(hod[..., 0])
        hod[..., 1:] = (lower + upper + unit[..., 1:] * (upper - lower)) / 2
        return hod

    def limits(self, theta: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lower and upper limit of each of the seven parameters at the points `theta`.

        Parameters
        ----------
        theta : ndarray, shape (n, 7)

        Returns
        -------
        lower, upper : ndarray, shape (n, 7)
        """
        return self._limits(theta[..., 2:3])

    def outer_limits(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The smallest box that holds the domain, shape (7,) each."""
        corners = np.zeros((2, len(PARAMETERS)))
        corners[:, 2] = self.logMmin
        lower, upper = self.limits(corners)  # the bands are monotonic in logMmin
        return lower.min(axis=0), upper.max(axis=0)

    def contains(self, theta: ArrayLike) -> NDArray[np.bool_]:
        """Whether points of the seven parameters lie in the domain, shape (..., 7) to (...)."""
        points = np.asarray(theta, float)
        lower, upper = self._limits(points[..., 2:3])
        return np.asarray(((points >= lower) & (points <= upper)).all(axis=-1))

    def check(self, theta: NDArray[np.float64]) -> None:
        """Raise a ValueError that names the first parameter outside the domain and its range.

        Parameters
        ----------
        theta : ndarray, shape (7,) or (n, 7)
        """
        points = np.atleast_2d(theta)
        if self.contains(points).all():
            return
        lower, upper = self.limits(points)
        outside = ~((points >= lower) & (points <= upper))
        row, column = np.argwhere(outside)[0]
        value, low, up = points[row, column], lower[row, column], upper[row, column]
        where = f" (row {row} of {len(points)})" if len(points) > 1 else ""
        at = f" at logMmin = {points[row, 2]:g}" if column > 2 else ""
        raise ValueError(
            f"{PARAMETERS[column]} = {value:g}{where} is outside the emulator's domain "
            f"[{low:.6g}, {up:.6g}]{at}."
            + (" Pass extrapolate=True to evaluate there all the same." if column > 1 else "")
        )

    def sample(self, n: int, seed: int, design: str = "sobol") -> NDArray[np.float64]:
        """Points of the seven parameters that fill the domain.

        Parameters
        ----------
        n : int
        seed : int
        design : str
            ``sobol``: a scrambled Sobol sequence, somewhat denser where the templates bend (see
            `DENSITY`), mu uniform. ``paper``: logMmin evenly spaced, the others drawn uniformly
            (IAEmu, arXiv:2504.05235).

        Returns
        -------
        ndarray, shape (n, 7)
            The first points of a longer ``sobol`` design with the same seed are those of a shorter.
        """
        from scipy.stats import qmc

        if design not in DESIGNS:
            raise ValueError(f"design must be one of {', '.join(DESIGNS)}; got {design!r}.")
        rng = np.random.default_rng(seed)
        if design == "paper":
            share = rng.random((n, len(PARAMETERS)))
            share[:, 0] = (np.arange(n) + 0.5) / n
        else:
            # The sequence is balanced at powers of two only.
            sobol = qmc.Sobol(len(PARAMETERS), rng=rng)
            share = sobol.random_base2(int(np.ceil(np.log2(max(n, 2)))))[:n]
            for column, density in enumerate(DENSITY.values()):
                share[:, column] = _warp(share[:, column], density)
        # Occupation parameters come first, so that mu is what the sequence fills less evenly.
        unit = 2 * share - 1
        return np.concatenate([unit[:, 5:], self.from_unit(unit[:, :5])], axis=1)

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and numbers, for a card or a file's attributes."""
        return {k: list(v) for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Domain:
        """Inverse of `to_dict`."""
        values: dict[str, Any] = {k: tuple(float(x) for x in v) for k, v in fields.items()}
        return cls(**values)
