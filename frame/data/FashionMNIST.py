"""Fashion-MNIST: pictures of clothes (Xiao, Rasul and Vollgraf 2017, arXiv:1708.07747)."""

from collections.abc import Sequence

from frame.data.MNIST import MNIST


class FashionMNIST(MNIST):
    """Like MNIST, except for the pictures; files are in `<data_root>/FashionMNIST/raw/`."""

    classes: Sequence[str] | None = (
        "T-shirt/top",
        "trouser",
        "pullover",
        "dress",
        "coat",
        "sandal",
        "shirt",
        "sneaker",
        "bag",
        "ankle boot",
    )
    folder = "FashionMNIST/raw"
    mirrors = ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",)
    hashes = {
        "train-images-idx3-ubyte.gz": "md5:8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte.gz": "md5:25c81989df183df01b3e8a0aad5dffbe",
        "t10k-images-idx3-ubyte.gz": "md5:bef4ecab320f06d8554ea6380940ec79",
        "t10k-labels-idx1-ubyte.gz": "md5:bb300cfdad3c16e7a12a480ee83cd310",
    }
