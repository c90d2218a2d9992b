"""From a halo catalogue to weights."""
