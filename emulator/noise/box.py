r"""The sample variance of the box that a model was tabulated on.

A tabulation is exact for its own halos, and these are one draw: another box of the same cosmology has
other expectations. Here the covariance of these expectations over boxes is estimated by a jackknife.
The box is cut into regions; the *deviations* are how templates change when one region is left out,
scaled so that the sum of their squares is the variance over whole boxes. Pairs across a region's border
count half, and neighbours are never lost, as in `iaemu_likelihood.emulator.mocks.jackknife`. With several
boxes, each gives an estimate, and the mean of these is taken.

Sums over pairs are means over populations, so that little is left of the scatter of single catalogues,
which is not meant here. At other occupations the logarithm of sigma, and the deviations in units of it, follow
from regressions on the parameters: a parabola in the first, which moves the number of galaxies most, and
linear terms of the others. Deviations of xi are those of ln(1 + xi).

What this is worth. Regions are smaller than the box, so what varies on larger scales is missing; a
variance from k deviations is itself known to about sqrt(2 / k). If the initial amplitudes of the box were
fixed, as those of the bundled catalogue were, its two-point functions scatter less than this on linear
scales, and the estimate is an upper one there.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from iaemu_likelihood.data import bundled
from iaemu_likelihood.emulator.atomic import atomic_write
from iaemu_likelihood.emulator.backend import constant, kind, namespace
from iaemu_likelihood.emulator.digest import digest
from iaemu_likelihood.emulator.physics.statistics import Statistic, named
from iaemu_likelihood.emulator.physics.templates import (
    bilinear,
    degrees_of,
    template_weights,
    templates_of,
)
from numpy.typing import NDArray

Array = NDArray[np.float64]

SCHEMA = 1
# That of the bundled halo catalogue.
BUNDLED = "halos/pm250_z0_variance.hdf5"
# Terms of the regressions besides a linear one for each occupation parameter.
MORE_TERMS = 2
# Logarithm of sigma where nothing ever deviates: bins without pairs.
NOTHING = -50.0
TINY = 1e-300
# Least share of a variance that is not taken for noise.
MOST_NOISE = 0.1
_ARRAYS = ("r_edges", "centre", "scale", "log_sigma", "pattern")
_ATTRIBUTES = ("statistics", "occupation", "halos_sha256", "command")


@dataclass(frozen=True, eq=False)
class BoxVariance:
    """Deviations of a model's templates that stand for the sample variance of its box.

    Attributes
    ----------
    statistics : tuple of Statistic
    r_edges : ndarray, shape (n_bins + 1,)
        Mpc/h.
    centre, scale : ndarray, shape (n_occupation,)
        By which occupation parameters are brought to about -1 to 1.
    log_sigma : ndarray, shape (n_features, n_templates n_bins)
        Coefficients of the logarithm of sigma on `features`.
    pattern : ndarray, shape (n_features, n_deviations n_templates n_bins)
        The same of the deviations, up to their size.
    occupation : str
        Name of the occupation.
    halos_sha256 : str
        Catalogue for whose tabulation it was estimated.
    command : str
        By which it was made.
    """

    statistics: tuple[Statistic, ...]
    r_edges: Array
    centre: Array
    scale: Array
    log_sigma: Array
    pattern: Array
    occupation: str
    halos_sha256: str
    command: str

    def features(self, hod: Any) -> Any:
        """What deviations are linear in, (n, n_occupation) to (n, n_features)."""
        centre, scale = (constant(x, *kind(hod)) for x in (self.centre, self.scale))
        u = (hod - centre) / scale
        x = u[:, :1]
        return namespace(hod).concatenate([x * 0 + 1, (3 * x**2 - 1) / 2, u], axis=1)

    @property
    def n_deviations(self) -> int:
        """Number of regions, over all boxes."""
        return self.pattern.shape[1] // self.log_sigma.shape[1]

    def of_templates(self, hod: Any) -> Any:
        """Deviations of templates at occupation parameters.

        Parameters
        ----------
        hod : ndarray or torch.Tensor, shape (n, n_occupation), float64
            Masses are log10 of Msun/h.

        Returns
        -------
        ndarray or torch.Tensor, shape (n_deviations, n, n_templates, n_bins)
            In the order of `templates_of(statistics)`; of xi those of ln(1 + xi).
        """
        features = self.features(hod)
        log_sigma, pattern = (
            features @ constant(x, *kind(hod)) for x in (self.log_sigma, self.pattern)
        )
        pattern = pattern.reshape(-1, self.n_deviations, self.log_sigma.shape[1])
        size = (pattern * pattern).sum(1) + TINY
        xp = namespace(hod)
        found = pattern * (xp.exp(log_sigma) / xp.sqrt(size))[:, None]
        n_bins = len(self.r_edges) - 1
        return found.reshape(-1, self.n_deviations, self.n_templates, n_bins).swapaxes(0, 1)

    @property
    def n_templates(self) -> int:
        """Number of templates of its statistics."""
        return len(templates_of(self.statistics))

    def __call__(
        self,
        of_templates: Any,
        mu: Any,
        statistics: tuple[Statistic, ...],
        excess: Any,
        alignment: Any,
    ) -> Any:
        """Deviations of statistics.

        Parameters
        ----------
        of_templates : ndarray or torch.Tensor, shape (n_deviations, n, n_templates, n_bins)
            Of `of_templates`; n may be 1.
        mu : ndarray or torch.Tensor, shape (n, n_alignment)
        statistics : tuple of Statistic
            Some of its own.
        excess : ndarray or torch.Tensor, shape (n, n_bins)
            xi, with which its deviations scale.
        alignment : Alignment

        Returns
        -------
        ndarray or torch.Tensor, shape (n_deviations, n, n_statistics, n_bins)
        """
        degrees = degrees_of(self.statistics)
        products = bilinear(alignment.strengths(mu, degrees))
        weights = template_weights(products, statistics, self.statistics, degrees)
        found = weights @ of_templates
        rows = [s.learned_as_logarithm for s in statistics]
        if any(rows):
            factor = constant(np.array(rows, float)[:, None], *kind(found))
            found = found * (1 + factor * excess[:, None])
        return found

    # ---------------------------------------------------------------- files

    def write(self, path: str | Path) -> Path:
        """Save to HDF5."""
        import h5py

        attributes: dict[str, Any] = {
            "statistics": [s.name for s in self.statistics],
            **{name: getattr(self, name) for name in _ATTRIBUTES[1:]},
        }
        arrays: dict[str, NDArray[Any]] = {name: getattr(self, name) for name in _ARRAYS}
        arrays["pattern"] = arrays["pattern"].astype(np.float32)
        buffer = io.BytesIO()  # HDF5 itself crashes when a disk is full
        with h5py.File(buffer, "w") as file:
            file.attrs.update(attributes)
            file.attrs["schema"] = SCHEMA
            file.attrs["sha256"] = digest(arrays, attributes)
            file.attrs["units"] = "r_edges in Mpc/h; deviations are dimensionless"
            for name, values in arrays.items():
                file.create_dataset(name, data=values, compression="gzip", shuffle=True)
        with atomic_write(path) as unfinished:
            unfinished.write_bytes(buffer.getbuffer())
        return Path(path)

    @classmethod
    def read(cls, path: str | Path) -> BoxVariance:
        """Load from HDF5.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If it is of another schema, cannot be read, or was changed since it was written.
        """
        from iaemu_likelihood.emulator.hdf5 import read_hashed

        again = "estimate it again with iaemu validate box"
        arrays, attributes = read_hashed(
            path, _ARRAYS, _ATTRIBUTES, SCHEMA, "a sample variance of a box", again
        )
        arrays["pattern"] = arrays["pattern"].astype(np.float64)
        occupation, halos_sha256, command = (str(attributes[name]) for name in _ATTRIBUTES[1:])
        return cls(
            named(attributes["statistics"]),
            **arrays,
            occupation=occupation,
            halos_sha256=halos_sha256,
            command=command,
        )

    @classmethod
    def of(cls, halos_sha256: str, occupation: str) -> BoxVariance:
        """The bundled estimate, if it is that of the halos of a model.

        Raises
        ------
        ValueError
            If it is not.
        """
        found = cls.read(bundled(BUNDLED))
        if (found.halos_sha256, found.occupation) != (halos_sha256, occupation):
            raise ValueError(
                "model_error is box, but the sample variance of the box is known for the bundled halo "
                f"catalogue ({found.halos_sha256[:12]}...) with the occupation {found.occupation} only; "
                f"these weights are for {occupation} on halos {halos_sha256[:12]}.... Set model_error: none."
            )
        return found


def regress(
    hod: Array, deviations: Array, noise: Array, statistics: Sequence[Statistic], r_edges: Array,
    **what: str,
) -> BoxVariance:  # fmt: skip
    """Deviations as a function of the occupation, from those at some points.

    Parameters
    ----------
    hod : ndarray, shape (n_points, n_occupation)
    deviations : ndarray, shape (n_points, n_deviations, n_templates, n_bins)
    noise : ndarray, shape (n_points, n_templates, n_bins)
        What is in the sum of their squares because populations are few.
    statistics : sequence of Statistic
    r_edges : ndarray, shape (n_bins + 1,)
        Mpc/h.
    **what
        ``occupation``, ``halos_sha256`` and ``command`` of the result.

    Notes
    -----
    Sigma is scaled, in each bin of each template, so that the mean over the points of the measured
    variance, less the noise, over its square is 1.
    """
    low, high = hod.min(axis=0), hod.max(axis=0)
    n, k = deviations.shape[:2]
    m = deviations[0, 0].size
    n_features = MORE_TERMS + hod.shape[1]
    result = BoxVariance(
        tuple(statistics), r_edges, (low + high) / 2, (high - low) / 2, np.zeros((n_features, m)),
        np.zeros((n_features, k * m)), **what,
    )  # fmt: skip
    features = result.features(hod)
    total = (deviations**2).sum(axis=1).reshape(n, m)
    variance = np.maximum(total - noise.reshape(n, m), MOST_NOISE * total)
    for i in range(m):
        there = variance[:, i] > 0
        result.log_sigma[0, i] = NOTHING
        if there.sum() < 2 * n_features:
            continue  # galaxies hardly have such pairs
        some = variance[there, i]
        of_log, *_ = np.linalg.lstsq(features[there], np.log(some) / 2, rcond=None)
        of_log[0] += np.log(np.mean(some / np.exp(2 * features[there] @ of_log))) / 2
        result.log_sigma[:, i] = of_log
    sigma = np.exp(features @ result.log_sigma)
    in_units = (deviations.reshape(n, k, m) / sigma[:, None]).reshape(n, -1)
    in_units[:, np.tile(result.log_sigma[0] == NOTHING, k)] = 0
    result.pattern[:], *_ = np.linalg.lstsq(features, in_units, rcond=None)
    return result
