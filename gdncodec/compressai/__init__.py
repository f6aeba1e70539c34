"""What knows CompressAI: its checkpoints as model files, and its models as measured codecs."""
