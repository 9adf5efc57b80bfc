"""Images: files, features of pixels, samples of their distinct colours, labels, regions, models.

Uses fitting and what is below it, but neither plot nor sklearn, which stand beside it. Importing
this loads NumPy and JAX only; imageio, Pillow, tifffile and scikit-image load when used.
"""

from jgmm.image.colours import unique_colours as unique_colours
from jgmm.image.decoding import ImageError as ImageError
from jgmm.image.features import extract as extract
from jgmm.image.features import to_unit as to_unit
from jgmm.image.files import Image as Image
from jgmm.image.files import read_image as read_image
from jgmm.image.files import read_pages as read_pages
from jgmm.image.files import sample_image as sample_image
from jgmm.image.files import write_png as write_png
from jgmm.image.geo import write_geotiff as write_geotiff
from jgmm.image.masks import read_mask as read_mask
from jgmm.image.scribbles import read_scribbles as read_scribbles
from jgmm.image.settings import RECOMMENDED as RECOMMENDED
from jgmm.image.sources import stream_files as stream_files
