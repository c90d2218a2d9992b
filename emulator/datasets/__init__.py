"""Data sets of correlation functions over the domain: from a recipe, in shards, into one file."""
