"""The exact expectation of all mocks, from pair sums tabulated once per halo catalogue."""
