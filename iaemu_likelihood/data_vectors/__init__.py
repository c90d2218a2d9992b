"""Measured correlation functions: files, galaxy catalogues, scale cuts, bins and covariances."""

from iaemu_likelihood.data_vectors.data_vector import DataVector, read_covariance, write_covariance
from iaemu_likelihood.data_vectors.measurement import Measurement
from iaemu_likelihood.emulator.physics.binning import PairWeightedBinning

__all__ = [
    "DataVector",
    "Measurement",
    "PairWeightedBinning",
    "read_covariance",
    "write_covariance",
]
