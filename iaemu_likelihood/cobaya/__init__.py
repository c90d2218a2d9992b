"""Cobaya's shells: the theory, the likelihood, and a check of inputs."""
