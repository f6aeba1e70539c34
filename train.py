"""Train a codec: the same as ``gdncodec train``, with the same options."""

import sys

from gdncodec.__main__ import program

if __name__ == "__main__":
    program(["train", *sys.argv[1:]])
