"""Many images: which files, where their results go, the work on each, and what came of it."""
