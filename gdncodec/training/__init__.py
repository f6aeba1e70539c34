"""From a folder of pictures to a model file."""
