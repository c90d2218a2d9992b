"""Makes reference.npz: expectations at unseen points, from a tabulation of the bundled catalogue.

iaemu tabulate tabulation.hdf5 && python tests/emulator/expectation/reference.py tabulation.hdf5
"""

import sys
from pathlib import Path

import numpy as np
from iaemu_likelihood.emulator.expectation import Tabulation
from iaemu_likelihood.emulator.physics.bins import R_EDGES
from iaemu_likelihood.emulator.physics.domain import Domain
from iaemu_likelihood.emulator.physics.statistics import DEFAULT_STATISTICS

hod = Domain.of().from_unit(np.random.default_rng(77).uniform(-1, 1, (100, 5)))
tabulation = Tabulation.read(sys.argv[1]).coarser(R_EDGES, DEFAULT_STATISTICS)
templates = tabulation.templates(hod).values
np.savez_compressed(Path(__file__).with_name("reference.npz"), hod=hod, templates=templates)
