"""Networks, and the arrays or tensors that they are evaluated with."""
