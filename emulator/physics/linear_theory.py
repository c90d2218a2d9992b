r"""Linear theory: matter's correlation functions, and what large separations need of them.

A tabulated pair density ends where its box does, and it lacks the modes that are longer than the box.
At large separations linear theory says what is missing, up to an amplitude: xi of galaxies is b^2 times
that of matter, and D_2, the density of P_2 between an axis and the separation, is in the linear
alignment model (Hirata & Seljak 2004, arXiv:astro-ph/0406275) proportional to matter's
:math:`\xi^{(2)}`, with

.. math:: \xi^{(l)}(r) = \int \frac{k^2 dk}{2 \pi^2} P(k)\, j_l(k r), \quad
    \xi^{(2)} = \bar\xi - \xi, \quad \bar\xi(r) = \frac{3}{r^3} \int_0^r ds\, s^2 \xi(s).

The amplitude is that of the tabulated density itself between the separations of `MATCHED`, which is
linear in the density. So everything here is a fixed matrix or vector that multiplies densities from
the right.

The second use is Kaiser's: peculiar velocities that are coherent over large distances make w_gg larger
when it ends at a finite separation along the line of sight (van den Bosch et al. 2013,
arXiv:1206.6890).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from iaemu_likelihood.emulator.backend import at_least, constant, kind
from iaemu_likelihood.emulator.physics.bins import shell_volumes
from iaemu_likelihood.emulator.physics.projection import Weight, projection
from numpy.polynomial.legendre import Legendre
from numpy.polynomial.polynomial import Polynomial
from numpy.typing import ArrayLike, NDArray
from scipy.fft import fht, fhtoffset
from scipy.interpolate import CubicSpline
from scipy.signal import fftconvolve
from scipy.special import sici, spherical_jn

Array = NDArray[np.float64]

DEGREES = (0, 2, 4)
# Separations between which a density has linear theory's shape, Mpc/h. Below, structures are nonlinear;
# above, xi is too small to be compared, and its acoustic peak is smeared. `benchmarks/large_scales.py`
# prints how an amplitude depends on them.
MATCHED = (10**1.3, 10**1.9)
# Wavenumbers of the integrals, h/Mpc.
_K = np.geomspace(1e-5, 1e3, 4096)
# The spectrum is multiplied by exp(-(k s)^2), with s in Mpc/h; and with s as a share of the box in the
# difference between a box and an infinite universe, which long modes make.
_SMOOTHING, _OF_BOX = 0.01, 1 / 200
# exp(-(k s)^2) is 1e-7 where sums over modes end.
_END = 4.0


@dataclass(frozen=True)
class Cosmology:
    """A flat universe of cold dark matter, baryons and a cosmological constant.

    Attributes
    ----------
    Om0, Ob0 : float
        Density of matter, and of baryons, today, over the critical density.
    h : float
    sigma8 : float
        At redshift 0.
    ns : float

    Raises
    ------
    ValueError
        If a number is impossible; the message names it.
    """

    Om0: float
    Ob0: float
    h: float
    sigma8: float
    ns: float

    def __post_init__(self) -> None:
        limits = {"Om0": 1.0, "Ob0": self.Om0, "h": 2.0, "sigma8": 3.0, "ns": 2.0}
        for name, limit in limits.items():
            value = getattr(self, name)
            if not 0 < value <= limit:
                raise ValueError(
                    f"{name} of the cosmology is {value!r}; expected a number above 0 and at most "
                    f"{limit:g}."
                )

    @classmethod
    def from_words(cls, words: str | None) -> Cosmology:
        """The cosmology of a halo catalogue, which says it in words.

        Parameters
        ----------
        words : str or None
            ``flat LCDM Om0=0.307 Ob0=0.048 h=0.678 sigma8=0.823 ns=0.96``, numbers in any order.

        Raises
        ------
        ValueError
            If they are none of this form.
        """
        names = [field.name for field in fields(cls)]
        found = re.fullmatch(r"flat LCDM((?:[ ,]+\w+ ?= ?\d*\.?\d+)*)", (words or "").strip())
        numbers = re.findall(r"(\w+) ?= ?([\d.]+)", found[1]) if found else []
        if sorted(name for name, _ in numbers) != sorted(names):
            raise ValueError(
                f"The cosmology of the halo catalogue is {words!r}; for linear theory it must read "
                f"'flat LCDM', and then {', '.join(f'{name}=...' for name in names)}. Write it so into "
                "the catalogue's metadata."
            )
        return cls(**{name: float(value) for name, value in numbers})


def farthest(box: float | None) -> float:
    """The largest separation that is computed, Mpc/h: in a box where its copies come close."""
    return 1000.0 if box is None else 0.75 * box


class LinearTheory:
    """Matter's linear correlation functions at one redshift.

    The power spectrum is that of Eisenstein & Hu 1998 (arXiv:astro-ph/9709112), by colossus (Diemer
    2018, arXiv:1712.04512). colossus' own current cosmology is neither used nor changed, and nothing is
    written to disk.

    Parameters
    ----------
    cosmology : Cosmology
    redshift : float
        At least 0.
    box : float, optional
        Side of a periodic box, Mpc/h, to whose own modes the universe is limited. When it is left out,
        the universe is infinite.

    Attributes
    ----------
    cosmology : Cosmology
    redshift : float
    box : float or None
    growth : float
        D, the amplitude of fluctuations relative to redshift 0.
    growth_rate : float
        f = dlnD/dlna: exactly, which is 0.5 % less than Om(z)^0.55 at z = 0 for Om0 = 0.3.
    """

    def __init__(self, cosmology: Cosmology, redshift: float, box: float | None = None) -> None:
        from colossus.cosmology.cosmology import Cosmology as Colossus

        if not 0 <= redshift < 100:
            raise ValueError(f"The redshift is {redshift!r}; expected 0 to 100.")
        if box is not None and not 0 < box < np.inf:
            raise ValueError(f"The box is {box!r}; expected its side, a positive number of Mpc/h.")
        self.cosmology, self.redshift, self.box = cosmology, redshift, box
        # Without radiation, as in most N-body simulations.
        self._colossus = Colossus(
            name="linear theory",
            flat=True,
            Om0=cosmology.Om0,
            Ob0=cosmology.Ob0,
            H0=100 * cosmology.h,
            sigma8=cosmology.sigma8,
            ns=cosmology.ns,
            relspecies=False,
            persistence="",
        )
        per_scale_factor = self._colossus.growthFactorUnnormalized(redshift) * (1 + redshift)
        self.growth = float(self._colossus.growthFactor(redshift))
        # Follows from Heath's integral for D by differentiation.
        self.growth_rate = float(self._colossus.Om(redshift) * (2.5 / per_scale_factor - 1.5))

    def power(self, k: Array) -> Array:
        """Power spectrum in (Mpc/h)^3 at `k` (h/Mpc), of the same shape."""
        return np.asarray(self._colossus.matterPowerSpectrum(k, self.redshift))

    def correlation(self, r_edges: ArrayLike, degree: int = 0) -> Array:
        """xi^(l), averaged over the volumes of shells.

        Parameters
        ----------
        r_edges : array_like, shape (n + 1,)
            Mpc/h, from 0.05 to `farthest`.
        degree : int
            l: 0, 2 or 4.

        Returns
        -------
        ndarray, shape (n,)

        Raises
        ------
        ValueError
            If there is no such degree, or edges do not increase or are too far.
        """
        edges = np.asarray(r_edges, np.float64)
        if degree not in DEGREES:
            raise ValueError(f"degree must be one of {DEGREES}; got {degree!r}.")
        limit = farthest(self.box)
        if (
            edges.ndim != 1
            or len(edges) < 2
            or not (np.diff(edges) > 0).all()
            or not edges[0] >= 0.05
            or not edges[-1] <= limit * (1 + 1e-6)
        ):
            raise ValueError(
                f"r_edges must be two or more increasing numbers from 0.05 to {limit:g} Mpc/h; got "
                f"{edges}."
            )
        infinite = self._integral(edges, degree, _SMOOTHING)
        if self.box is None:
            return infinite
        smoothing = _OF_BOX * self.box
        of_modes = self._sum(edges, degree, smoothing, self.box)
        return infinite + of_modes - self._integral(edges, degree, smoothing)

    def _integral(self, edges: Array, degree: int, smoothing: float) -> Array:
        step, order = np.log(_K[1] / _K[0]), degree + 0.5
        offset = fhtoffset(step, mu=order)
        r = np.exp(offset) / _K[::-1]
        spectrum = self.power(_K) * np.exp(-((_K * smoothing) ** 2))
        xi = (2 * np.pi * r) ** -1.5 * fht(spectrum * _K**1.5, step, mu=order, offset=offset)
        # The transform is periodic in log r: its ends are not those of an infinite integral.
        inside = (r > 0.01) & (r < 3000)
        number = CubicSpline(np.log(r[inside]), 4 * np.pi * (r**3 * xi)[inside]).antiderivative()
        return np.diff(number(np.log(edges))) / shell_volumes(edges)

    def _sum(self, edges: Array, degree: int, smoothing: float, box: float) -> Array:
        k, count = _modes(box, _END / smoothing)
        spectrum = count * self.power(k) * np.exp(-((k * smoothing) ** 2)) / box**3
        x = k[:, None] * edges
        number = 4 * np.pi * _bessel_integral(x, degree) / k[:, None] ** 3
        return np.diff(spectrum @ number) / shell_volumes(edges)


def _modes(box: float, k_max: float) -> tuple[Array, Array]:
    """Moduli of the wavevectors of a periodic box but 0 (h/Mpc), and how many there are of each."""
    n = int((k_max * box / (2 * np.pi)) ** 2)
    whole = np.arange(-math.isqrt(n), math.isqrt(n) + 1)
    # Numbers of ways to write 0 ... n as a sum of one, two and three squares.
    one = np.bincount(whole**2, minlength=n + 1).astype(np.float64)
    two = np.rint(fftconvolve(one, one)[: n + 1])
    three = np.rint(fftconvolve(two, one)[: n + 1])
    (square,) = np.nonzero(three[1:])
    return 2 * np.pi / box * np.sqrt(square + 1.0), three[square + 1]


def _bessel_integral(x: Array, degree: int) -> Array:
    """The integral of x^2 j_l(x) from 0."""
    si, first = sici(x)[0], spherical_jn(1, x)
    if degree == 0:
        return np.asarray(x**2 * first)
    if degree == 2:
        return np.asarray(3 * (si - np.sin(x)) - x**2 * first)
    return np.asarray(7.5 * si + 10 * np.sin(x) + (x**2 - 52.5) * first)


def amplitude(
    theory: LinearTheory,
    r_edges: ArrayLike,
    degree: int = 0,
    matched: tuple[float, float] = MATCHED,
) -> Array:
    """The amplitude of linear theory in a density of galaxies, as a linear functional of it.

    Shells are weighted so that the amplitude's variance is least if the noise is that of the number
    of pairs in a shell: with its volume and with linear theory. Most of the weight is therefore below
    50 Mpc/h.

    Parameters
    ----------
    theory : LinearTheory
        In the box that the density comes from.
    r_edges : array_like, shape (n + 1,)
        Of the density, Mpc/h.
    degree : int
        0 for xi, whose amplitude is b^2; 2 for D_2.
    matched : tuple of (float, float)
        Shells between these count, Mpc/h.

    Returns
    -------
    ndarray, shape (n,)
        The density times this, summed, is the amplitude.

    Raises
    ------
    ValueError
        If no shell lies between them.
    """
    edges = np.asarray(r_edges, np.float64)
    low, high = matched
    inside = (edges[:-1] >= low * (1 - 1e-6)) & (edges[1:] <= high * (1 + 1e-6))
    if not inside.any():
        raise ValueError(
            f"No bin lies between {low:.4g} and {high:.4g} Mpc/h, where densities are matched "
            f"to linear theory; the bins go from {edges[0]:.4g} to {edges[-1]:.4g} Mpc/h."
        )
    first, last = np.flatnonzero(inside)[[0, -1]]
    shells = edges[first : last + 2]
    expected = theory.correlation(shells, degree)
    weight = expected * shell_volumes(shells)
    functional = np.zeros(len(edges) - 1)
    functional[first : last + 1] = weight / (weight @ expected)
    return functional


def continuation(
    tabulated: LinearTheory,
    observed: LinearTheory,
    r_edges: ArrayLike,
    beyond: ArrayLike,
    degree: int = 0,
) -> Array:
    r"""The linear map from a density that was tabulated in a box to that of the universe observed.

    To the shells of the table it adds what linear theory in the two universes differs by, times the
    density's `amplitude`; beyond them it continues with linear theory. A box of 250 Mpc/h has 0.0015 b^2
    less xi than an infinite universe, nearly the same at every separation, because it has no longer
    modes. For w_gg with Pi_max = 60 Mpc/h this is 1 % at r_p = 5 Mpc/h and 12 % at 30, so it has to be
    added. In w_g+ it is below 0.2 % everywhere, and so is what a tail beyond 112 Mpc/h adds to either at
    r_p below 50 Mpc/h and Pi_max up to 100. `python benchmarks/large_scales.py` prints these numbers.

    Parameters
    ----------
    tabulated : LinearTheory
        In the box of the table.
    observed : LinearTheory
        Where the data come from: infinite for a survey.
    r_edges : array_like, shape (n + 1,)
        Of the known density, Mpc/h.
    beyond : array_like, shape (m + 1,)
        Further edges; the first is the last of `r_edges`. With m = 0 there is no tail.
    degree : int
        0 for xi (the density of pairs less 1), 2 for D_2.

    Returns
    -------
    ndarray, shape (n, n + m)
        To be multiplied from the right; its shells have the edges [*r_edges, *beyond[1:]]. Shells
        that are farther than those of an observed box (`farthest`) stay as they are.

    Raises
    ------
    ValueError
        If the edges do not join, or as in `amplitude`.
    """
    edges, further = np.asarray(r_edges, np.float64), np.asarray(beyond, np.float64)
    if not np.isclose(further[0], edges[-1], rtol=1e-6):
        raise ValueError(
            f"beyond must begin where r_edges end, at {edges[-1]:.6g} Mpc/h; got {further[0]:.6g}."
        )
    n = len(edges) - 1
    # The universe that is observed may be a box that ends before the table does.
    n_inside = int((edges <= farthest(observed.box) * (1 + 1e-6)).sum()) - 1
    inside, tail = edges[: n_inside + 1], np.empty(0)
    difference = np.zeros(n)
    difference[:n_inside] = observed.correlation(inside, degree) - tabulated.correlation(
        inside, degree
    )
    if len(further) > 1:
        tail = observed.correlation(further, degree)
    added = np.concatenate([difference, tail])
    return np.eye(n, n + len(further) - 1) + np.outer(amplitude(tabulated, edges, degree), added)


class KaiserCorrection:
    r"""What coherent motions add to w_gg, in linear theory.

    .. math:: \Delta w = \int d\Pi\, W \left[ \left(\tfrac{2}{3} f b + \tfrac{1}{5} f^2\right) \xi
        - \left(\tfrac{4}{3} f b + \tfrac{4}{7} f^2\right) \xi^{(2)} P_2(\mu_r)
        + \tfrac{8}{35} f^2 \xi^{(4)} P_4(\mu_r) \right],

    the difference of the linear w_gg with and without Kaiser's factor (van den Bosch et al. 2013,
    arXiv:1206.6890, who take their ratio). All pairs along the line of sight together are as many as
    without motions, so what is added below Pi_max is what goes missing beyond it: it is the same at all
    r_p well below Pi_max, and 0 for an infinite one. A factor would instead grow with the nonlinear w_gg
    at small r_p; `docs/redshift_space.md` compares both with simulated velocities.

    Parameters
    ----------
    theory : LinearTheory
        Where the data come from.
    rp_edges : array_like, shape (m + 1,)
        Mpc/h, from 0.05 on.
    pi_max : float
        Mpc/h.
    weight : callable, optional
        W of Pi, as in `iaemu_likelihood.emulator.physics.projection.projection`.

    Attributes
    ----------
    integrals : ndarray, shape (3, m)
        Line-of-sight integrals of the terms of degree 0, 2 and 4, with their signs, Mpc/h. The first is
        matter's linear w.
    """

    def __init__(
        self,
        theory: LinearTheory,
        rp_edges: ArrayLike,
        pi_max: float,
        weight: Weight | None = None,
    ) -> None:
        edges = np.asarray(rp_edges, np.float64)
        reach = np.hypot(edges[-1], pi_max)
        # Fine shells, as all that is known of a density is its mean in them.
        r_edges = np.geomspace(edges[0], reach, math.ceil(np.log(reach / edges[0]) / 0.04) + 1)
        self.integrals = np.array(
            [
                (-1) ** (degree // 2)
                * theory.correlation(r_edges, degree)
                @ projection(r_edges, edges, pi_max, _legendre(degree), weight)
                for degree in DEGREES
            ]
        )
        f = theory.growth_rate
        factors = f * np.array([2 / 3, 4 / 3, 0]), f**2 * np.array([1 / 5, 4 / 7, 8 / 35])
        self._per_bias, self._constant = (factor @ self.integrals for factor in factors)

    def __call__(self, bias_squared: Any) -> Any:
        """Difference of w_gg between redshift and real space.

        Parameters
        ----------
        bias_squared : ndarray or torch.Tensor, shape (n,)
            b^2, at least 0.01: less counts as 0.01, so that gradients stay finite.

        Returns
        -------
        ndarray or torch.Tensor, shape (n, m)
            Mpc/h.
        """
        like = kind(bias_squared)
        bias = at_least(bias_squared, 0.01)[:, None] ** 0.5
        return bias * constant(self._per_bias, *like) + constant(self._constant, *like)


def _legendre(degree: int) -> Polynomial:
    return Legendre.basis(degree).convert(kind=Polynomial)
