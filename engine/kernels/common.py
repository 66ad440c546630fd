"""What several kernels share: compiler options, triangles, vertices, textures, and which elements a face draws."""

# pyright: basic, reportGeneralTypeIssues=false, reportInvalidTypeForm=false, reportArgumentType=false, reportCallIssue=false
# pyright: reportOperatorIssue=false, reportIndexIssue=false, reportAttributeAccessIssue=false, reportReturnType=false
# pyright: reportAssignmentType=false, reportOptionalMemberAccess=false, reportOptionalOperand=false

import warp as wp

wp.config.log_level = wp.LOG_ERROR
OPTIONS = {
    "enable_backward": False,
    "cpu_compiler_flags": "-march=native -mllvm=-inline-threshold=9000 -mllvm=-slp-recursion-max-depth=4 -ffast-math "
    "-Wno-nan-infinity-disabled",
}
wp.set_module_options(OPTIONS)

SKIN, EYE, LASH, BROW, HAIR, TOOTH, FRAME, LENS, BEARD = (wp.constant(number) for number in range(9))
FACE_LABEL, HAIR_LABEL, NOSE_LABEL = (wp.constant(number) for number in (1, 2, 7))

vec3ub = wp.types.vector(length=3, dtype=wp.uint8)
vec4ub = wp.types.vector(length=4, dtype=wp.uint8)
"""One texel: sRGB and opacity (of skin: height)."""


@wp.struct
class Triangle:
    """What of a triangle never changes."""

    corner: wp.vec3i  # vertices
    uv_a: wp.vec2  # V up
    uv_b: wp.vec2
    uv_c: wp.vec2
    material: int
    label: int
    lip_label: int  # label where the lip mask is set


@wp.struct
class Vertex:
    """A vertex as it is lit, in view space and linear RGB."""

    normal: wp.vec3
    around: wp.vec3  # diffuse light from the surroundings
    sheen: wp.vec3  # what the surface mirrors of the surroundings
    lit: float  # share of the key light that gets here
    ambient: float  # share of the surroundings that does


@wp.func
def to_linear(value: float) -> float:
    """Display to linear light. A gamma of 2 both ways is close to sRGB's curve and a tenth of its cost."""
    return value * value


@wp.func
def drawn(ranges: wp.array3d(dtype=int), face: int, number: int) -> int:
    """The number of the n-th drawn element of a face, whose elements lie in a few ranges (first, count); −1 past the
    end."""
    rest = number
    for part in range(ranges.shape[1]):
        if rest < ranges[face, part, 1]:
            return ranges[face, part, 0] + rest
        rest = rest - ranges[face, part, 1]
    return -1


@wp.func
def nearest_texel(side: int, u: float, v: float) -> int:
    """Index of the texel at (u, v) within a layer of side², V up."""
    column = int(wp.clamp(u, 0.0, 0.9999) * float(side))
    row = int((1.0 - wp.clamp(v, 0.0001, 1.0)) * float(side))
    return row * side + column


@wp.func
def as_vec4(value: vec4ub) -> wp.vec4:
    """Bytes as numbers from 0 to 255."""
    return wp.vec4(float(value[0]), float(value[1]), float(value[2]), float(value[3]))


@wp.struct
class Footprint:
    """The four texels around a point and how far it lies between them."""

    corner: wp.vec4i  # top left, top right, bottom left, bottom right
    x: float
    y: float


@wp.func
def footprint(side: int, u: float, v: float) -> Footprint:
    """Where (u, v) lies in a layer of side², V up."""
    x = wp.clamp(u, 0.0, 1.0) * float(side) - 0.5
    y = (1.0 - wp.clamp(v, 0.0, 1.0)) * float(side) - 0.5
    column = int(wp.floor(x))
    row = int(wp.floor(y))
    left = wp.max(column, 0)
    right = wp.min(column + 1, side - 1)
    top = wp.max(row, 0) * side
    bottom = wp.min(row + 1, side - 1) * side
    found = Footprint()
    found.corner = wp.vec4i(top + left, top + right, bottom + left, bottom + right)
    found.x = x - float(column)
    found.y = y - float(row)
    return found


@wp.func
def blend_corners(at: Footprint, a: wp.vec4, b: wp.vec4, c: wp.vec4, d: wp.vec4) -> wp.vec4:
    """Bilinear interpolation, [0, 255] to [0, 1]."""
    upper = a + at.x * (b - a)
    lower = c + at.x * (d - c)
    return (upper + at.y * (lower - upper)) * (1.0 / 255.0)


@wp.func
def texel(textures: wp.array2d(dtype=vec4ub), layer: int, side: int, u: float, v: float) -> wp.vec4:
    """Bilinear sample of a layer, sRGB and opacity in [0, 1]."""
    at = footprint(side, u, v)
    return blend_corners(
        at,
        as_vec4(textures[layer, at.corner[0]]),
        as_vec4(textures[layer, at.corner[1]]),
        as_vec4(textures[layer, at.corner[2]]),
        as_vec4(textures[layer, at.corner[3]]),
    )
