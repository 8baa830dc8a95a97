"""Random changes of whole batches of pictures: [B, C, H, W] in [0, 1] and a generator in, [B, C, H, W] out.

Each picture has its own noise, all from the generator, which is on the pictures' device. Nothing waits for the device.
"""

from frame.data.augment.colour import ColourJitter as ColourJitter
from frame.data.augment.colour import Grayscale as Grayscale
from frame.data.augment.colour import Solarize as Solarize
from frame.data.augment.geometry import Affine as Affine
from frame.data.augment.geometry import GaussianBlur as GaussianBlur
from frame.data.augment.geometry import HorizontalFlip as HorizontalFlip
from frame.data.augment.geometry import RandomResizedCrop as RandomResizedCrop
from frame.data.augment.geometry import Rotation as Rotation
from frame.data.augment.library import Library as Library
from frame.data.augment.noise import Drop as Drop
from frame.data.augment.noise import Noise as Noise
from frame.data.augment.noise import Shuffle as Shuffle
from frame.data.augment.noise import Uniform as Uniform
