"""Arrays of the user's own that are larger than the memory: npy files, which are mapped."""

from frame.data.arrays import Arrays


class Npy(Arrays):
    """The same as `Arrays`, but rows stay in their npy files, and are read when a batch asks for them.

    Labels, and arrays that splitting reads, are in memory; statistics are computed in chunks. Nothing is copied. The
    files must not change while they are used.

    Raises:
        UserError: in addition, a file is no npy file, or holds rows by columns; from a batch, a file was changed, or a
            row has a NaN.
    """

    kind = "mapped arrays"
    mapped = True

    @property
    def name(self) -> str:
        return "npy"
