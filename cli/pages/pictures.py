"""Read PNG files of an untrusted folder for a page: checked, reduced in size, and without metadata."""

import io
import warnings
from functools import lru_cache
from pathlib import Path

from PIL import Image

from quadsim.cli.pages.page import Picture

__all__ = ["picture_of"]

_LARGEST_FILE = 20_000_000  # bytes
_MOST_PIXELS = 40_000_000
_WIDEST = 2000  # pixels: twice what a wide screen gives a page's column


def picture_of(folder: Path, name: str, alt: str, caption: str = "", widest: int = _WIDEST) -> Picture | str:
    """Return a picture, or the reason why there is none, as text.

    The image is drawn again on white with at most 256 colours. This makes plots three times smaller, and removes everything from
    the file that is not visible.

    Args:
        folder: folder that must contain the file, also after links are resolved.
        name: path of the file in the folder.
        alt: description of the picture.
        caption: text below it.
        widest: largest width in pixels; a wider picture is reduced.
    """
    try:
        path = (folder / name).resolve()
        if not path.is_relative_to(folder.resolve()):
            return f"The figure {name} is left out: it lies outside this folder."
        if not path.is_file():
            return f"The figure {name} is missing."
        if path.stat().st_size > _LARGEST_FILE:
            return f"The figure {name} is left out: it has more than {_LARGEST_FILE:,} bytes."
        png, width, height = _reduced(path.read_bytes(), widest)
    except (Image.DecompressionBombError, _TooManyPixelsError):
        return f"The figure {name} is left out: it has more than {_MOST_PIXELS:,} pixels."
    except (OSError, ValueError, SyntaxError) as error:  # what PIL raises of damaged files
        return f"The figure {name} is left out: it cannot be read as PNG ({type(error).__name__})."
    return Picture(png, width, height, alt, caption)


class _TooManyPixelsError(Exception):
    """A picture is too large."""


@lru_cache(maxsize=8)
def _reduced(content: bytes, widest: int) -> tuple[bytes, int, int]:
    """Return a picture as PNG with at most 256 colours, its width and its height.

    Raises:
        _TooManyPixelsError: it is too large.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the size is checked here
        with Image.open(io.BytesIO(content), formats=("PNG",)) as opened:
            if opened.width * opened.height > _MOST_PIXELS:
                raise _TooManyPixelsError
            image = opened.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    shown = Image.alpha_composite(white, image).convert("RGB")
    if shown.width > widest:
        shown = shown.resize((widest, max(1, round(shown.height * widest / shown.width))), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    shown.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(out, "PNG")
    return out.getvalue(), shown.width, shown.height
