"""``python -m gdncodec`` is the command line."""

from gdncodec.cli import main

main()
