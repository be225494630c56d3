"""PNG files of a folder as pictures of a page: read with care, as small as they can be, without whatever else was in them."""

import io
import warnings
from pathlib import Path

from PIL import Image

from quadsim.cli.pages.page import Picture

__all__ = ["picture_of"]

_LARGEST_FILE = 20_000_000  # bytes
_MOST_PIXELS = 40_000_000
_WIDEST = 2000  # pixels: twice what a wide screen gives a page's column


def picture_of(folder: Path, name: str, alt: str, caption: str = "", widest: int = _WIDEST) -> Picture | str:
    """A picture, or in words why there is none.

    It is drawn anew on white with at most 256 colours, which makes plots three times smaller and leaves nothing of the file but
    what is seen.

    Args:
        folder: that the file must lie in, also where links lead.
        name: path within it.
        alt: what it shows.
        caption: below it.
        widest: pixels to which it is made smaller.
    """
    try:
        path = (folder / name).resolve()
        if not path.is_relative_to(folder.resolve()):
            return f"The figure {name} is left out: it lies outside this folder."
        if not path.is_file():
            return f"The figure {name} is missing."
        if path.stat().st_size > _LARGEST_FILE:
            return f"The figure {name} is left out: it has more than {_LARGEST_FILE:,} bytes."
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the size is looked at here
            with Image.open(path, formats=("PNG",)) as opened:
                if opened.width * opened.height > _MOST_PIXELS:
                    return f"The figure {name} is left out: it has more than {_MOST_PIXELS:,} pixels."
                image = opened.convert("RGBA")
    except Image.DecompressionBombError:
        return f"The figure {name} is left out: it has more than {_MOST_PIXELS:,} pixels."
    except (OSError, ValueError, SyntaxError) as error:  # what PIL raises of damaged files
        return f"The figure {name} is left out: it cannot be read as PNG ({type(error).__name__})."
    white = Image.new("RGBA", image.size, "white")
    shown = Image.alpha_composite(white, image).convert("RGB")
    if shown.width > widest:
        shown = shown.resize((widest, max(1, round(shown.height * widest / shown.width))), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    shown.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return Picture(out.getvalue(), shown.width, shown.height, alt, caption)
