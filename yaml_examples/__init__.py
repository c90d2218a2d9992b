"""Runnable examples; `iaemu table1` runs the TNG300 ones."""
