"""What weights and forward model are worth, measured."""
