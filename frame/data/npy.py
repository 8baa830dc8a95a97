"""Arrays of the user's own that are larger than the memory: npy files, from which rows are read."""

from frame.data.arrays import Arrays


class Npy(Arrays):
    """The same as `Arrays`, but rows stay in their npy files, and are read when a batch asks for them.

    Labels, and arrays that splitting reads, are in memory; statistics are computed in chunks. Nothing is copied. The
    files must not change while they are used.

    Raises:
        UserError: in addition, a file is no npy file, or holds rows by columns; from a batch, a file was changed, or a
            row has a NaN.
    """

    kind = "arrays in files"
    in_place = True

    @property
    def name(self) -> str:
        return "npy"
