"""Parameters, occupations, alignment and statistics: what is emulated, without any halos."""
