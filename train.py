"""Train a codec: the same as ``gdncodec train``, with the same options."""

import sys

from gdncodec.cli import main

if __name__ == "__main__":
    main(["train", *sys.argv[1:]])
