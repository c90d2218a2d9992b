"""Cosmologies in the ways that people state them, against that of a model."""

import re

import pytest
from astropy.cosmology import FlatLambdaCDM, LambdaCDM, Planck15
from colossus.cosmology.cosmology import Cosmology as Colossus
from iaemu_likelihood.emulator.physics.stated_cosmology import (
    cosmology_warnings,
    numbers_of,
    refuse_other_cosmology,
)

OWN = "flat LCDM Om0=0.307 Ob0=0.048 h=0.678 sigma8=0.823 ns=0.96"


def colossus(**changes):
    numbers = {"Om0": 0.307, "Ob0": 0.048, "H0": 67.8, "sigma8": 0.823, "ns": 0.96, **changes}
    return Colossus(name="", flat=True, relspecies=False, persistence="", **numbers)


@pytest.mark.parametrize(
    "stated",
    [
        Planck15,
        FlatLambdaCDM(67.8, 0.307),
        colossus(),
        {"Om0": 0.31},
        {"omega_m": 0.307, "H0": 67.8, "sigma_8": 0.82, "n_s": 0.96},
        {"omegam": 0.307, "h0": 0.678, "w": -1},
    ],
)
def test_the_own_cosmology_passes(stated):
    refuse_other_cosmology(stated, OWN)


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        (FlatLambdaCDM(70, 0.3), r"Om0 = 0.3, and not 0.307, h = 0.7, and not 0.678"),
        (LambdaCDM(67.8, 0.307, 0.6), "Ok0 = 0.09"),
        (colossus(sigma8=0.75), "sigma8 = 0.75, and not 0.823"),
        ({"Om0": 0.25}, "Om0 = 0.25, and not 0.307.*one cosmology only, flat LCDM Om0=0.307"),
        ({"w0": -0.9}, "w0 = -0.9, and not -1"),
        ({"Omega_L": 0.7}, "cosmology has Omega_L; its numbers are Om0, Ob0"),
        ({"Om0": "0.3"}, "Om0 is '0.3'; it must be a number"),
        ({"Om0": float("nan")}, "Om0 is nan"),
        ("Planck15", "give an object of astropy or colossus"),
        ({}, "give an object"),
    ],
)
def test_others_are_refused_with_their_numbers(stated, message):
    with pytest.raises(ValueError, match=message):
        refuse_other_cosmology(stated, OWN)


def test_a_model_must_know_its_own():
    with pytest.raises(ValueError, match="cosmology of the halo catalogue is None"):
        refuse_other_cosmology({"Om0": 0.3}, None)


def test_numbers_of_objects_are_without_units():
    assert numbers_of(FlatLambdaCDM(70, 0.3, Ob0=0.05)) == {
        "Om0": 0.3, "Ob0": 0.05, "h": 0.7, "Ok0": 0.0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"omegam": (0.25, 0.25)}, "omegam is 0.25 in this run, but .* Omega_m = 0.307"),
        ({"Omega_m": (0.1, 0.5)}, "Omega_m varies in this run, from 0.1 to 0.5, but"),
        ({"omegam": (float("-inf"), float("inf"))}, "omegam varies in this run, but"),
        # (0.12 + 0.02) / 0.7^2
        ({"omch2": (0.12, 0.12), "ombh2": (0.02, 0.02), "H0": (70, 70)}, "Omega_m is 0.2857 in"),
        ({"omega_cdm": (0.1, 0.14), "omega_b": (0.022, 0.022), "h": (0.6, 0.8)},
         "Omega_m varies in this run, from 0.1906 to 0.45, but"),
    ],
)  # fmt: skip
def test_runs_are_warned_of_another_density_of_matter(parameters, sentence):
    (found,) = cosmology_warnings(parameters, OWN)
    assert re.match(sentence, found)


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"mu_cen": (-1, 1), "H0": (60, 80)},
        {"omegam": (0.305, 0.31)},
        {"omch2": (0.119, 0.119), "ombh2": (0.0221, 0.0221), "H0": (67.8, 67.8)},
        {"omch2": (0.05, 0.3)},  # without the others it says nothing
    ],
)
def test_runs_of_the_same_are_not(parameters):
    assert cosmology_warnings(parameters, OWN) == []
    assert cosmology_warnings({"omegam": (0.1, 0.1)}, "another universe") == []
