#!/usr/bin/env bash
# Pillow 13.0.0: saving as AVIF takes the orientation out of the Exif object that it is given. What is saved after it
# with the same object, or from the same picture by `exif=image.getexif()`, silently has no orientation any more: a photo
# written as AVIF and as JPEG is upright in the one and lies on its side in the other.
# Seen: before 6, in the AVIF 6, after None; the JPEG that was written after the AVIF has orientation None.
# Ends with a status other than 0 when that has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q pillow==13.0.0
"$folder/venv/bin/python" - <<'PYTHON'
import io

from PIL import Image

image, exif = Image.new("RGB", (40, 30)), Image.Exif()
exif[0x0112] = 6
before = exif.get(0x0112)
avif, jpeg = io.BytesIO(), io.BytesIO()
image.save(avif, "AVIF", exif=exif)
image.save(jpeg, "JPEG", exif=exif)
found = [Image.open(file).getexif().get(0x0112) for file in (avif, jpeg)]
print(f"before {before}, in the AVIF {found[0]}, after {exif.get(0x0112)}; in the JPEG {found[1]}")
assert (before, found, exif.get(0x0112)) == (6, [6, None], None), "it has changed"
PYTHON
