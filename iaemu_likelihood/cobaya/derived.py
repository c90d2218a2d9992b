"""Derived parameters of galaxies that a Cobaya run asks of the theory, by their names."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np

from iaemu_likelihood.cobaya.inputs import of_sample
from iaemu_likelihood.emulator.models import Emulator
from iaemu_likelihood.emulator.models.derived import DERIVED, DerivedModel
from iaemu_likelihood.emulator.physics.conventions import Conventions
from iaemu_likelihood.likelihood.responses import response_names
from iaemu_likelihood.likelihood.samples import SamplePrediction


def derived_name(kind: str, sample: str | None) -> str:
    """Name of a derived parameter of a sample, with its label, if it has one, as suffix."""
    return f"{kind}_{sample}" if sample else kind


def galaxy_label(name: str) -> str | None:
    """LaTeX of a derived parameter of galaxies by its name, without $; None for other names."""
    for kind in sorted(DERIVED, key=len, reverse=True):
        if name == kind or name.startswith(f"{kind}_"):
            return of_sample(DERIVED[kind].latex, name[len(kind) + 1 :] or None)
    return None


class DerivedOutputs:
    """Those derived parameters of some samples that are asked for; nothing else is computed.

    Parameters
    ----------
    emulators : mapping of str or None to Emulator
        By the label of each sample.
    names : collection of str
        Of parameters of the run; those that are none of `all_names` belong to others.

    Attributes
    ----------
    models : dict of str or None to DerivedModel
        By the label of each sample of which something is asked.

    Raises
    ------
    ValueError
        If an emulator does not know one of them.
    """

    def __init__(self, emulators: Mapping[str | None, Emulator], names: Collection[str]) -> None:
        self.models: dict[str | None, DerivedModel] = {}
        for sample, emulator in emulators.items():
            kinds = [kind for kind in DERIVED if derived_name(kind, sample) in names]
            if kinds:
                self.models[sample] = DerivedModel(emulator, kinds)

    @staticmethod
    def all_names(samples: Iterable[str | None]) -> list[str]:
        """Names of all that can be asked for."""
        return [derived_name(kind, sample) for sample in samples for kind in DERIVED]

    @property
    def labels(self) -> dict[str, str]:
        """LaTeX of those that are asked for, without $, by their names."""
        return {
            derived_name(kind, sample): of_sample(DERIVED[kind].latex, sample)
            for sample, model in self.models.items()
            for kind in model.names
        }

    @property
    def with_shapes(self) -> list[str | None]:
        """Samples of which the responses of shapes are needed."""
        return [sample for sample, model in self.models.items() if model.of_shapes]

    def __call__(
        self,
        predicted: Mapping[str | None, SamplePrediction],
        responses: Mapping[str | None, np.ndarray],
        conventions: Mapping[str | None, Conventions],
    ) -> dict[str, float]:
        """Compute them at one point.

        Parameters
        ----------
        predicted : mapping to SamplePrediction
            By the label of each sample.
        responses : mapping to ndarray, shape (1, 2)
            a_2 of each sample in `with_shapes`.
        conventions : mapping to Conventions
            Of the shapes of each sample, where they are known.
        """
        found: dict[str, float] = {}
        for sample, model in self.models.items():
            how = responses.get(sample), conventions.get(sample)
            each = predicted[sample].derived(model, *how)
            found |= {derived_name(kind, sample): value for kind, value in each.items()}
        return found


def galaxies_at(
    emulators: Mapping[str | None, Emulator],
    parameters: Mapping[str | None, Sequence[str]],
    conventions: Mapping[str | None, Conventions],
    inputs: Mapping[str, float],
) -> dict[str, dict[str, float]]:
    """All derived parameters that the weights and the parameters of a run allow, at one point.

    Parameters
    ----------
    emulators : mapping to Emulator
        By the label of each sample.
    parameters : mapping to sequence of str
        Names of the parameters of each sample.
    conventions : mapping to Conventions
        Of the shapes of each sample, where they are known.
    inputs : mapping of str to float
        Parameters of the run, by name.

    Returns
    -------
    dict of str to dict of str to float
        By the label of the sample, empty without one, and by the kind of the parameter.
    """
    found: dict[str, dict[str, float]] = {}
    for sample, names in parameters.items():
        emulator = emulators[sample]
        of_shapes = [name for name in response_names(sample) if name in inputs]
        mu, hod = emulator.space.split(np.array([[inputs[name] for name in names]]))
        responses = np.array([[inputs[name] for name in of_shapes]])
        values: dict[str, float] = {}
        for kind in DERIVED.values():
            if kind.of_shapes and len(of_shapes) < 2:
                continue
            try:
                model = DerivedModel(emulator, [kind.name])
            except ValueError:
                continue  # weights that do not know it
            each = model(hod, mu, responses, conventions.get(sample))
            values[kind.name] = float(each[kind.name][0])
        if values:
            found[sample or ""] = values
    return found
