"""python train.py +experiment=digits_VAE: the same as `frame train`."""

import sys

from frame.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
