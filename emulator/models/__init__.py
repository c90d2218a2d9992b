"""Trained emulators: what `Emulator.load` gives."""
