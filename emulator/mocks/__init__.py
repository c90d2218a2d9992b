"""Galaxy catalogues drawn on halos, and what is measured in them."""
