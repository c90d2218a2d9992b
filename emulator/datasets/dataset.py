"""Reading data sets."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from iaemu_likelihood.data import bundled
from iaemu_likelihood.emulator.datasets.origin import read_origin
from iaemu_likelihood.emulator.datasets.recipe import KINDS, LATER, SPLITS, Array, Recipe
from iaemu_likelihood.emulator.datasets.schema import SHA256, open_file
from iaemu_likelihood.emulator.digest import digest
from iaemu_likelihood.emulator.noise.measured import Noise
from iaemu_likelihood.emulator.physics.space import ParameterSpace
from iaemu_likelihood.emulator.physics.statistics import XI, Statistic, named
from iaemu_likelihood.emulator.physics.templates import templates_of
from iaemu_likelihood.emulator.tables import Table

log = logging.getLogger(__name__)

# Columns without a value where there are no pairs.
MEANS_OVER_PAIRS = ("templates", "correlations")
# Attributes that repeat what the recipe says.
_OF_RECIPE = ("kind", "seed", "design", "n_catalogues")


@dataclass(frozen=True)
class DataSet:
    """A data set in memory.

    Attributes
    ----------
    kind : str
    parameters : ndarray, shape (n_points, n_parameters), or (n_points, n_occupation) for expectation
        Masses are log10 of Msun/h.
    split : ndarray of int, shape (n_points,)
        Indices into `SPLITS`.
    r_edges : ndarray, shape (n_bins + 1,)
        Mpc/h.
    columns : dict of str to ndarray
        Everything else, with the points along the first axis.
    attributes : dict
        Where it comes from: kind, halos, halos_sha256, box (Mpc/h), design, seed, version, ...
    """

    kind: str
    parameters: Array
    split: Array
    r_edges: Array
    columns: dict[str, Array]
    attributes: dict[str, Any]

    def __len__(self) -> int:
        return len(self.parameters)

    @classmethod
    def read(cls, path: str | Path, xi_screen: float | None = None) -> DataSet:
        """Read a file that `make_dataset` wrote, checking its contents against their checksums.

        Parameters
        ----------
        path : str or Path
        xi_screen : float, optional
            Leave out points where xi / xi_matter exceeds this in any bin, as the paper does with
            100. What is left out is logged.

        Raises
        ------
        ValueError
            If `xi_screen` is not above zero, or the file is damaged, incomplete, of another schema, takes data from elsewhere, or holds
            numbers that are not finite.
        """
        if xi_screen is not None and not 0 < xi_screen < np.inf:
            raise ValueError(f"xi_screen is {xi_screen}; it must be a number above zero.")
        data = cls._read(Path(path))
        if SHA256 not in data.attributes:
            log.warning("%s is from before data sets held a hash of their content.", path)
        return data if xi_screen is None else data._screened(xi_screen)

    @classmethod
    def _read(cls, path: Path) -> DataSet:
        with open_file(path) as file:
            try:
                columns = {name: file[name][()] for name in file}
                attributes = dict(file.attrs)
                hashed = {k: value for k, value in attributes.items() if k != SHA256}
                if attributes.get(SHA256) not in (None, digest(columns, hashed)):
                    raise ValueError(
                        f"{path} is damaged: it was changed since it was written. Make it again."
                    )
                theta, split, r_edges = (columns.pop(k) for k in ("parameters", "split", "r_edges"))
                data = cls(str(attributes["kind"]), theta, split, r_edges, columns, attributes)
                data._check(path)
                data._check_origin(path)
            # h5py raises all kinds.
            except (OSError, LookupError, RuntimeError, TypeError, AttributeError) as error:
                raise ValueError(f"{path} is damaged: {error}. Make it again.") from error
        return data

    def _check(self, path: Path) -> None:
        """Refuse numbers that are not finite where there were pairs."""
        columns = {"parameters": self.parameters, "r_edges": self.r_edges, **self.columns}
        empty = np.asarray(self.columns.get("n_empty_bins", np.zeros(len(self)))) > 0
        for name, values in columns.items():
            bad = ~np.isfinite(values)
            if name in MEANS_OVER_PAIRS:
                bad[empty] = np.isinf(values[empty])
            if bad.any():
                raise ValueError(
                    f"{path}: {name} is not finite in row {np.argwhere(bad)[0][0]}. Make it again."
                )

    def _check_origin(self, path: Path) -> None:
        """Refuse a file whose recipe is not that of its columns and attributes."""
        origin = read_origin(path, self.attributes["origin"])
        recipe = Recipe(**origin["recipe"])
        said = {name: origin[name] for name in ("schema", "version", "halos_sha256")}
        said |= {name: getattr(recipe, name) for name in _OF_RECIPE}
        said["halos"] = recipe.halos_in_words
        differing = [name for name, value in said.items() if self.attributes[name] != value]
        sizes = [int((self.split == i).sum()) for i in range(len(SPLITS))]
        region = json.loads(self.attributes["domain"])
        for name, agrees in (
            ("r_edges", np.array_equal(self.r_edges, recipe.r_edges)),
            ("split", sizes == recipe.split_sizes.tolist()),
            # Fitted lines, whose last digits depend on the machine.
            ("domain", all(np.allclose(region[k], v) for k, v in recipe.region.to_dict().items())),
        ):
            if not agrees:
                differing.append(name)
        if differing:
            raise ValueError(
                f"{path} is damaged: its origin has other {', '.join(differing)}. Make it again."
            )

    @classmethod
    def held_out(cls, kind: str) -> DataSet:
        """The bundled test points of a kind, the same for every validation.

        Expectations at 5,000 points of the default domain; 20 realisations at the first 200 of
        them; 10 halotools-IA catalogues at the first 30. `data/validation/README.md` has the
        commands that made them.
        """
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}; got {kind!r}.")
        return cls._read(bundled(f"validation/{kind}.hdf5"))

    @cached_property
    def _recipe(self) -> dict[str, Any]:
        """Fields of the recipe, as far as the file has one."""
        return LATER | json.loads(self.attributes.get("origin", "{}")).get("recipe", {})

    @cached_property
    def statistics(self) -> tuple[Statistic, ...]:
        """Along the axes of the columns; those of the paper where the file does not say."""
        return named(self._recipe["statistics"])

    @cached_property
    def space(self) -> ParameterSpace:
        """The parameters; those of the paper where the file does not say."""
        return ParameterSpace.named(self._recipe["occupation"], self._recipe["alignment"])

    @property
    def hod(self) -> Array:
        """Occupation parameters, shape (n_points, n_occupation)."""
        has_alignment = self.parameters.shape[1] == len(self.space)
        return self.space.split(self.parameters)[1] if has_alignment else self.parameters

    @property
    def redshift(self) -> Array:
        """Of each point, shape (n_points,)."""
        of_all = np.full(len(self), float(self.attributes["redshift"]))
        return self.columns.get("redshift", of_all)

    def sentences(self) -> list[str]:
        """What it is and where it comes from."""
        keys = ("version", "halos", "halos_sha256", "box", "redshift", "design", "seed",
                "n_catalogues")  # fmt: skip
        n_empty = self.columns["n_empty_bins"]
        return [
            f"{self.kind}: {len(self)} HOD points",
            *(f"  {key} = {self.attributes[key]}" for key in keys),
            *(f"  {name}: {(self.split == i).sum()} points" for i, name in enumerate(SPLITS)),
            f"  bins without pairs: {n_empty.sum()}, in {(n_empty > 0).sum()} points",
        ]

    def tables(self) -> list[Table]:
        """Ranges of its parameters, and its columns."""
        columns = {"parameters": self.parameters, **self.columns}
        contents = [[name, str(x.shape), str(x.dtype)] for name, x in columns.items()]
        ranges = [
            [name, f"{x.min():.4g}", f"{x.max():.4g}"]
            for name, x in zip(
                self.space.names[-self.parameters.shape[1] :], self.parameters.T, strict=True
            )
        ]
        return [
            Table("Parameters", ["name", "lowest", "highest"], ranges),
            Table("Contents", ["name", "shape", "type"], contents),
        ]

    def select(self, rows: str | Array) -> DataSet:
        """Some of the points: the name of a split, or a boolean array or indices."""
        if isinstance(rows, str):
            if rows not in SPLITS:
                raise ValueError(f"The splits are {', '.join(SPLITS)}; got {rows!r}.")
            rows = self.split == SPLITS.index(rows)
        columns = {name: values[rows] for name, values in self.columns.items()}
        return replace(
            self, parameters=self.parameters[rows], split=self.split[rows], columns=columns
        )

    def noise(self, point: int) -> Noise:
        """The noise model at a point of a data set of realisations."""
        if "shape" not in self.columns:
            raise ValueError(
                f"This data set of {self.kind} holds no shape noise; make realisations with noise."
            )
        packed = self.columns["shape"][point].astype(np.float64)
        n_rows = int(np.sqrt(2 * packed.shape[-1]))  # of a triangle with so many elements
        i, j = np.triu_indices(n_rows)
        shape = np.zeros((*packed.shape[:-1], n_rows, n_rows))
        shape[..., i, j] = shape[..., j, i] = packed
        pairs = self.columns["shape_pairs"][point].astype(np.float64)
        return Noise(
            self.statistics, self.columns["templates"][point].astype(np.float64), shape, pairs
        )

    def _screened(self, limit: float) -> DataSet:
        from iaemu_likelihood.emulator.halos.matter import xi_matter

        ratio = np.max(self._xi() / xi_matter(self.r_edges), axis=1)
        keep = ~(ratio > limit)
        first, values = self.space.occupation.names[0], self.hod[~keep, 0]
        log.warning(
            "xi / xi_matter > %g: %d of %d points left out%s.", limit, (~keep).sum(), len(keep),
            "" if keep.all() else f", with {first} {values.min():.2f} to {values.max():.2f}",
        )  # fmt: skip
        return self.select(keep)

    def _xi(self) -> Array:
        """Mean over the catalogues of a point, or the expectation, shape (n_points, n_bins)."""
        if "correlations" in self.columns:
            return self.columns["correlations"][:, :, self.statistics.index(XI)].mean(axis=1)
        (template,) = XI.templates
        return self.columns["templates"][:, templates_of(self.statistics).index(template)]
