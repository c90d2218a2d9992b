"""The scatter of one galaxy catalogue about its expectation: measured, and learned."""
