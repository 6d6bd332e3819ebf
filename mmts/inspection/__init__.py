"""Looking at files of which nothing is known, and writing the config of a first experiment."""
