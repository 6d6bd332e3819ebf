"""The commands: each a recipe over the library, and nothing that a notebook would call."""
