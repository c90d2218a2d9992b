r"""Sums over pairs at large separations, from Fourier modes on a mesh.

Beyond some 15 Mpc/h there are too many pairs to count. The number of pairs between two sets of points
in a shell of the periodic box follows from their Fourier modes as

.. math:: N = \frac{V_\mathrm{shell}}{V} \sum_k \mathrm{Re}(F_k^* G_k)\, \bar j_0(k),

with :math:`\bar j_0` the spherical Bessel function averaged over the shell. The tensor
:math:`T = a a^T - 1/3` of the axes has five such fields, by its components along k (helicity 0),
between k and the two directions across it (1), and across it (2). A kernel of one axis, a multiple of
:math:`P_2`, sums products of the density and the field of helicity 0 with :math:`-\bar j_2`. A kernel
of two axes is a combination of :math:`T_{ab} T'_{ab}`, :math:`\hat r_a T_{ab} T'_{bc} \hat r_c` and
:math:`\hat r_a T_{ab} \hat r_b \, \hat r_c T'_{cd} \hat r_d`. Averaged over the directions of r, with

.. math:: \langle \hat r_a \hat r_b e^{i k r} \rangle
    = \delta_{ab} \frac{j_0 + j_2}{3} - \hat k_a \hat k_b j_2

and the same for four directions, it sums products of fields of equal helicity with
:math:`\bar j_0, \bar j_2` and :math:`\bar j_4`.

The sum ends smoothly where the mesh does: what is left out are structures smaller than the mesh's
cells, among them galaxies' pairs with themselves and pairs inside a host. Kernels of degree 4 are
left out, too: beyond the counted separations their sums are taken as zero.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise, product
from typing import Any

import numpy as np
from iaemu_likelihood.emulator.expectation.kernels import Kernels
from iaemu_likelihood.emulator.expectation.modes import COMPONENTS, Modes
from iaemu_likelihood.emulator.expectation.one_halo import Progress
from iaemu_likelihood.emulator.physics.statistics import PairKernel, Statistic
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Shells that begin here or farther out (Mpc/h) are summed on the mesh.
MESH_FROM = 15.0
# Of the fields that are held together.
_MEMORY = 4e9
# Shells whose spectra are kept to be summed together.
_TOGETHER = 16
# Their fields are computed one after the other, as each is as large as all the rest.
_HELICITIES = (0, 1, 2)


def check_on_mesh(statistics: Iterable[Statistic]) -> None:
    """Raise a ValueError if the kernel of a statistic has no form in Fourier space here."""
    counted = [
        statistic.name
        for statistic in statistics
        if statistic.kernel.n_axes == 2 and statistic.kernel.degree != 2
    ]
    if counted:
        raise ValueError(
            f"The pairs of {', '.join(counted)} can only be counted, not summed on a mesh; take bins "
            f"that begin below {MESH_FROM:g} Mpc/h."
        )


def bessel_factors(kernel: PairKernel) -> Array:
    """Factors of j_0, j_2 and j_4 by which products of fields of each helicity are multiplied.

    Parameters
    ----------
    kernel : PairKernel
        Of two axes, each of degree 2.

    Returns
    -------
    ndarray, shape (3, 3)
        Helicity by degree of the Bessel function.
    """
    x, z = np.eye(3)[0], np.eye(3)[2]
    tilted = (x + z) / math.sqrt(2)
    # T:T', r T T' r and (r T r)(r T' r) of three pairs of equal axes, for r along z.
    known = np.array([[2 / 3, 4 / 9, 4 / 9], [2 / 3, 1 / 9, 1 / 9], [2 / 3, 5 / 18, 1 / 36]])
    values = [kernel.term(0.0, 0.0, 1.0, 1.0, axis, axis) for axis in (z, x, tilted)]
    trace, vector, scalar = np.linalg.solve(known, values)
    # The same three contractions with k, of products of fields of each helicity.
    with_k = np.array([[1, 2 / 3, 2 / 3], [1, 1 / 2, 0], [1, 0, 0]])
    # And how their means over the directions of r follow, by the degree of the Bessel function.
    j0, j2, j4 = np.eye(3)
    of_trace = np.array([j0, 0 * j0, 0 * j0])
    of_vector = np.array([(j0 + j2) / 3, -j2, 0 * j0])
    equal = j0 / 15 + 2 * j2 / 21 + j4 / 35
    of_scalar = np.array([2 * equal, -4 * (j2 + j4) / 7, j4])
    result: Array = with_k @ (trace * of_trace + vector * of_vector + scalar * of_scalar)
    return result


def mesh_sums(
    position: Array,
    axis: Array,
    groups: Sequence[tuple[NDArray[np.int64], NDArray[Any]]],
    box: float,
    kernels: Kernels,
    r_edges: Array,
    progress: Progress,
) -> NDArray[np.float32]:
    """Sums over pairs at large separations, for every pair of functions.

    Parameters
    ----------
    position, axis : ndarray, shape (n_points, 3)
        Mpc/h, and unit vectors.
    groups : sequence of tuple
        Points, (m,), and the values there of functions that vanish on all others, (m, n_functions).
    box : float
        Mpc/h.
    kernels : Kernels
        Those of degree 4 get zeros.
    r_edges : ndarray, shape (n_bins + 1,)
        Mpc/h, from `MESH_FROM` to half of the box.
    progress : callable
        Shows the progress of steps under a label.

    Returns
    -------
    ndarray, shape (n_functions (n_functions + 1) / 2, n_bins, n_sums)
        As `iaemu_likelihood.emulator.expectation.two_halo.two_halo_sums` gives them.
    """
    modes = Modes.of(box)
    functions = []
    for points, values in groups:
        cells, shares = modes.cells(position[points])
        # Neighbours follow each other, so that memory is gone through in order.
        order = np.argsort(cells[:, 0], kind="stable")
        divided = cells[order], shares[order]
        functions += [(points[order], divided, column) for column in values[order].T.copy()]
    n_functions = len(functions)
    tensor = np.array([axis[:, i] * axis[:, j] for i, j in COMPONENTS])
    trace = (axis**2).sum(axis=1) / 3
    tensor -= [trace * (i == j) for i, j in COMPONENTS]
    xx, yy, zz = (COMPONENTS.index((i, i)) for i in range(3))
    others = np.delete(np.arange(len(COMPONENTS)), zz)

    def fields(helicity: int, some: slice) -> list[NDArray[np.complex64]]:
        """Some modes of the tensor, and with helicity 0 of the density: each of all functions."""
        basis = modes.bases[helicity][..., some]
        n_modes = basis.shape[-1]
        n_fields = len(basis) + (helicity == 0)
        found = [np.empty((n_functions, n_modes), np.complex64) for _ in range(n_fields)]

        def fill(f: int) -> None:
            points, (cells, shares), values = functions[f]
            amounts = [values * tensor[c, points] for c in others]
            if helicity == 0:
                amounts.append(values)
            of_function = modes.fields(cells, shares, np.array(amounts), some)
            components = np.empty((len(COMPONENTS), n_modes), np.complex64)
            components[others] = of_function[: len(others)]
            components[zz] = -components[xx] - components[yy]
            for field, coefficients in zip(found, basis, strict=False):
                np.einsum("ck,ck->k", coefficients, components, out=field[f])
            if helicity == 0:
                found[-1][f] = of_function[-1]

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for _ in pool.map(fill, range(n_functions)):
                next(step)
        return found

    oriented = {k: kernel for k, kernel in enumerate(kernels.kernels) if kernel.n_axes == 1}
    tensors = {k: kernel for k, kernel in enumerate(kernels.kernels) if kernel.n_axes == 2}
    bessel = np.array([modes.bessel(r_edges, degree) for degree in (0, 2, 4)])
    totals = np.zeros(
        (len(kernels.kernels), len(r_edges) - 1, n_functions, n_functions), np.float32
    )
    shells = modes.shells()

    def add(
        first: NDArray[np.complex64],
        second: NDArray[np.complex64],
        chosen: range,
        weights: dict[int, Array],
    ) -> None:
        """Add products of fields to kernels, by their weights, (n_bins, n_shells), of chosen shells."""
        start = shells[chosen[0]].start
        for some in (chosen[i : i + _TOGETHER] for i in range(0, len(chosen), _TOGETHER)):
            spectra = np.zeros((len(some), *totals.shape[2:]), np.float32)
            for spectrum, s in zip(spectra, some, strict=True):
                here = slice(shells[s].start - start, shells[s].stop - start)
                x, y = first[:, here], second[:, here] * modes.weight[shells[s]].astype(np.float32)
                spectrum += x.real @ y.real.T
                spectrum += x.imag @ y.imag.T
            for k, of_shells in weights.items():
                of_some = of_shells[:, some[0] : some[-1] + 1].astype(np.float32)
                totals[k] += np.tensordot(of_some, spectra, 1)

    # As many shells together as memory allows, for two fields each.
    n_parts = math.ceil(16 * n_functions * len(modes.k) / _MEMORY)
    ends = np.linspace(0, len(modes.k), n_parts + 1)[1:]
    stops = [int(np.searchsorted([s.stop for s in shells], end)) + 1 for end in ends]
    parts = [range(a, b) for a, b in pairwise([0, *stops[:-1], len(shells)])]
    helicities = _HELICITIES if tensors else (0,)
    n_steps = len(helicities) * n_parts * n_functions
    step = iter(progress(range(n_steps), "on the mesh"))
    z = np.array([0.0, 0.0, 1.0])
    # Each is a multiple of P_2, which the tensor's component along k has sqrt(3/2) times.
    of_oriented = {
        k: -math.sqrt(1.5) * kernel.term(0.0, 0.0, 1.0, 1.0, z, z) * bessel[1]
        for k, kernel in oriented.items()
        if kernel.degree == 2
    }

    def add_part(helicity: int, chosen: range) -> None:
        """Add what some shells give; their fields are forgotten before the next ones are made."""
        of_tensor = fields(helicity, slice(shells[chosen[0]].start, shells[chosen[-1]].stop))
        if helicity == 0:
            density = of_tensor.pop()
            add(density, density, chosen, {0: bessel[0]})
            add(of_tensor[0], density, chosen, of_oriented)
        if tensors:
            of_kernel = {
                k: np.tensordot(bessel_factors(kernel)[helicity], bessel, 1)
                for k, kernel in tensors.items()
            }
            for field in of_tensor:
                add(field, field, chosen, of_kernel)

    for helicity, chosen in product(helicities, parts):
        add_part(helicity, chosen)
    next(step, None)
    return _packed(totals, kernels)


def _packed(totals: NDArray[np.float32], kernels: Kernels) -> NDArray[np.float32]:
    """Sums over unordered pairs, from those over ordered ones, of each pair of functions."""
    n_kernels, n_bins, n, _ = totals.shape
    j, i = np.tril_indices(n)
    sums = np.empty((len(i), n_bins, kernels.n_sums), np.float32)
    for k in range(n_kernels):
        # Rows are the galaxy that carries the axis; the other kernels have a single sum.
        sums[..., kernels.last[k]] = totals[k][:, j, i].T
        sums[..., kernels.first[k]] = totals[k][:, i, j].T
    sums[i == j] /= 2
    return sums
