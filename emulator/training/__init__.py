"""From a halo catalogue to weights: configurations, data sets, networks, cards.

`iaemu_likelihood.emulator.training.run.train` does it all;
`iaemu_likelihood.emulator.training.configuration.read_training_config` reads what it takes.
"""
