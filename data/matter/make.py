"""Makes xi_matter.ecsv: matter's non-linear correlation function in the cosmology of the halos.

pip install camb && python data/matter/make.py
"""

from pathlib import Path

import camb
import numpy as np
from astropy.table import Table
from scipy.fft import fht, fhtoffset

H, OMEGA_M, OMEGA_B, N_S, SIGMA8 = 0.678, 0.307, 0.048, 0.96, 0.823

k = np.logspace(-4, 3, 4096)  # h/Mpc
amplitude = 2e-9
for _ in range(2):  # the second time with the amplitude that gives sigma8
    parameters = camb.set_params(
        H0=100 * H, ombh2=OMEGA_B * H**2, omch2=(OMEGA_M - OMEGA_B) * H**2, mnu=0, omk=0,
        As=amplitude, ns=N_S, halofit_version="takahashi", kmax=1e3, redshifts=[0.0],
        NonLinear="NonLinear_pk",
    )  # fmt: skip
    results = camb.get_results(parameters)
    amplitude *= (SIGMA8 / results.get_sigma8_0()) ** 2
power = results.get_matter_power_interpolator(nonlinear=True, hubble_units=True, k_hunit=True)
step = np.log(k[1] / k[0])
offset = fhtoffset(step, mu=0.5)
r = np.exp(offset) / k[::-1]
integral = fht(power.P(0.0, k) * k**1.5, step, mu=0.5, offset=offset)
xi = (2 * np.pi * r) ** -1.5 * integral

wanted = np.logspace(-1.2, 1.5, 109)
table = Table(
    {"r": wanted, "xi": np.exp(np.interp(np.log(wanted), np.log(r), np.log(np.abs(xi))))},
    meta={
        "description": "Correlation function of matter at z = 0, non-linear (Takahashi et al. 2012)",
        "cosmology": f"flat LCDM, Om0 = {OMEGA_M}, Ob0 = {OMEGA_B}, h = {H}, sigma8 = {SIGMA8}, "
        f"ns = {N_S}",
        "made_with": f"CAMB {camb.__version__}, data/matter/make.py",
        "units": {"r": "Mpc/h", "xi": "1"},
    },
)
for name in table.colnames:
    table[name].info.format = ".8g"
table.write(Path(__file__).with_name("xi_matter.ecsv"), overwrite=True)
