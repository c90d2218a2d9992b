"""Shells for Cobaya: the theory, the likelihood, and a check of runs."""
