"""Measured correlation functions as a Cobaya likelihood."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from cobaya.likelihood import Likelihood
from cobaya.log import LoggedError
from cobaya.typing import InfoDict, empty_dict

from iaemu_likelihood.binning import bins_inside
from iaemu_likelihood.data import sha256
from iaemu_likelihood.emulator.estimators import R_EDGES
from iaemu_likelihood.gaussian import GaussianLikelihood
from iaemu_likelihood.measurement import Measurement, measurement_path


class IACorrelations(Likelihood):
    """Gaussian likelihood of measured xi, omega and eta of galaxies, any subset of them."""

    data_file: str
    data_sha256: str
    sample: str | None
    statistics: Sequence[str]
    r_min: float
    r_max: float
    covariance: str
    normalized: bool

    _enforce_types = True
    _at_resume_prefer_new = [*Likelihood._at_resume_prefer_new, "data_file"]

    @classmethod
    def get_modified_defaults(
        cls, defaults: InfoDict, input_options: InfoDict = empty_dict
    ) -> InfoDict:
        """Fill in the hash of the data, so that a chain is not resumed with other data."""
        source = input_options.get("data_file", defaults.get("data_file"))
        if source:
            path = measurement_path(source)
            defaults["data_sha256"] = sha256(path) if path.is_file() else ""
        return defaults

    def initialize(self) -> None:
        if not self.data_file:
            raise LoggedError(
                self.log, "Set 'data_file' to a measurement (ECSV), or use tng300.Sample1, 2 or 3."
            )
        try:
            measurement = Measurement.read(self.data_file)
            found = sha256(measurement_path(self.data_file))
            if found != self.data_sha256:
                raise ValueError(
                    f"The data {self.data_file!r} ({found[:12]}...) are not those of this run "
                    f"({self.data_sha256[:12]}...). Restore them, or start a new chain."
                )
            kept = measurement.cut(max(self.r_min, R_EDGES[0]), min(self.r_max, R_EDGES[-1]))
            covariance = kept.covariance(self.statistics, self.covariance)
            self.measurement = kept
            self.gaussian = GaussianLikelihood(
                kept.data_vector(self.statistics), covariance, self.normalized
            )
        except (OSError, ValueError) as error:
            raise LoggedError(self.log, "%s", error) from error
        self._request = {
            "sample": self.sample,
            "statistics": tuple(self.statistics),
            "r_edges": tuple(kept.r_edges.tolist()),
        }
        dropped = ~bins_inside(measurement.r_min, measurement.r_max, kept.r_min[0], kept.r_max[-1])
        self.log.info(
            "%s: %s in %d bins, %.4g to %.4g Mpc/h; dropped %s. %s",
            measurement.name,
            ", ".join(self.statistics),
            len(kept.r_min),
            kept.r_min[0],
            kept.r_max[-1],
            "; ".join(
                f"{low:.4g}-{high:.4g} Mpc/h"
                for low, high in zip(
                    measurement.r_min[dropped], measurement.r_max[dropped], strict=True
                )
            )
            or "none",
            self._describe_covariance(kept),
        )

    def _describe_covariance(self, kept: Measurement) -> str:
        if self.covariance == "diagonal":
            return "Covariance: diagonal, from the published errors."
        matrix = self.gaussian.covariance
        scale = np.sqrt(np.diag(matrix))
        condition = np.linalg.cond(matrix / np.outer(scale, scale))
        return (
            f"Covariance: full, from {kept.n_jackknife} jackknife regions for {len(scale)} data "
            f"points (condition number of the correlation matrix {condition:.3g})."
        )

    def get_requirements(self) -> dict[str, Any]:
        return {"ia_correlations": self._request}

    def predicted(self) -> Mapping[str, np.ndarray]:
        """The theory's prediction in the bins of the data, at the point evaluated last."""
        result: Mapping[str, np.ndarray] = self.provider.get_ia_correlations(**self._request)
        return result

    def logp(self, **params_values: Any) -> float:
        predicted = self.predicted()
        model = np.concatenate([predicted[s] for s in self.statistics])
        return float(self.gaussian.log_likelihood(model))
