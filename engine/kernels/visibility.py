"""What the camera and the key light see, by rasterising: one thread a triangle, the nearest wins."""

# pyright: basic, reportGeneralTypeIssues=false, reportInvalidTypeForm=false, reportArgumentType=false, reportCallIssue=false
# pyright: reportOperatorIssue=false, reportIndexIssue=false, reportAttributeAccessIssue=false, reportReturnType=false
# pyright: reportAssignmentType=false, reportOptionalMemberAccess=false, reportOptionalOperand=false

import warp as wp

from engine.kernels.common import (
    BEARD,
    BROW,
    EYE,
    FRAME,
    HAIR,
    LASH,
    LENS,
    OPTIONS,
    SKIN,
    Triangle,
    Vertex,
    drawn,
    nearest_texel,
)
from engine.kernels.light import LightBatch, fresnel, irradiance

wp.set_module_options(OPTIONS)

EMPTY = wp.constant(wp.uint64(0))
BROW_LIFT = wp.constant(0.0012)
"""Metres that brows are drawn nearer than they are: they lie on the skin."""
SHADOW_BIAS = wp.constant(0.006)
"""Metres by which a surface must be nearer to the light to shade another."""
TAPS = wp.constant(4)


@wp.struct
class Cutouts:
    """Opacity of what is drawn with holes: texture layers [L, side²], and which of them each face [B] wears."""

    opacity: wp.array2d(dtype=wp.uint8)
    side: int
    hair: wp.array(dtype=int)
    brow: wp.array(dtype=int)
    lash: wp.array(dtype=int)
    eye: wp.array(dtype=int)
    beard: wp.array(dtype=int)


@wp.func
def cutout_layer(cutouts: Cutouts, face: int, material: int) -> int:
    """The texture that cuts holes into a material; −1 for none."""
    layer = int(-1)
    if material == HAIR:
        layer = cutouts.hair[face]
    elif material == BROW:
        layer = cutouts.brow[face]
    elif material == LASH:
        layer = cutouts.lash[face]
    elif material == EYE:
        layer = cutouts.eye[face]
    elif material == BEARD:
        layer = cutouts.beard[face]
    return layer


@wp.struct
class Plane:
    """A quantity that is linear over the picture."""

    dx: float
    dy: float
    at_origin: float


@wp.func
def plane(a: wp.vec3, b: wp.vec3, c: wp.vec3, area: float, va: float, vb: float, vc: float) -> Plane:
    """The plane through three corner values of a triangle in the picture."""
    found = Plane()
    found.dx = ((vb - va) * (c[1] - a[1]) - (vc - va) * (b[1] - a[1])) / area
    found.dy = ((vc - va) * (b[0] - a[0]) - (vb - va) * (c[0] - a[0])) / area
    found.at_origin = va - found.dx * a[0] - found.dy * a[1]
    return found


@wp.func
def doubled_area(a: wp.vec3, b: wp.vec3, c: wp.vec3) -> float:
    """Twice the signed area of a triangle on the screen."""
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


@wp.func
def narrowed(span: wp.vec2, weight: Plane, y: float) -> wp.vec2:
    """The part of a row's span on which a corner's weight is not negative; a little more, so that no cracks show."""
    rest = weight.dy * y + weight.at_origin
    low = span[0]
    high = span[1]
    if weight.dx > 1.0e-12:
        low = wp.max(low, -rest / weight.dx - 1.0e-3)
    elif weight.dx < -1.0e-12:
        high = wp.min(high, -rest / weight.dx + 1.0e-3)
    elif rest < 0.0:
        high = low - 1.0
    return wp.vec2(low, high)


@wp.struct
class Extent:
    """The rows, and the columns between sample centres, that a triangle may cover."""

    first_row: int
    last_row: int
    left: float
    right: float


@wp.func
def extent(a: wp.vec3, b: wp.vec3, c: wp.vec3, side: int) -> Extent:
    """The rows and columns of samples that a triangle may cover."""
    found = Extent()
    found.first_row = wp.max(int(wp.ceil(wp.min(a[1], wp.min(b[1], c[1])) - 0.5)), 0)
    found.last_row = wp.min(int(wp.floor(wp.max(a[1], wp.max(b[1], c[1])) - 0.5)), side - 1)
    found.left = wp.max(wp.min(a[0], wp.min(b[0], c[0])), 0.5)
    found.right = wp.min(wp.max(a[0], wp.max(b[0], c[0])), float(side) - 0.5)
    return found


@wp.struct
class Barycentric:
    """The weights of a triangle's corners."""

    a: Plane
    b: Plane
    c: Plane


@wp.func
def weights(a: wp.vec3, b: wp.vec3, c: wp.vec3, area: float) -> Barycentric:
    """The barycentric weights of a triangle, each a plane over the screen."""
    found = Barycentric()
    found.a = plane(a, b, c, area, 1.0, 0.0, 0.0)
    found.b = plane(a, b, c, area, 0.0, 1.0, 0.0)
    found.c = plane(a, b, c, area, 0.0, 0.0, 1.0)
    return found


@wp.func
def covered(within: Extent, corners: Barycentric, y: float) -> wp.vec2i:
    """First and last column whose centres a triangle covers in the row at y."""
    span = narrowed(wp.vec2(within.left, within.right), corners.a, y)
    span = narrowed(narrowed(span, corners.b, y), corners.c, y)
    return wp.vec2i(int(wp.ceil(span[0] - 0.5)), int(wp.floor(span[1] - 0.5)))


@wp.func
def alpha_threshold(column: int, row: int, samples: int) -> float:
    """Alpha to coverage: the samples of a pixel let through as many levels of opacity, shifted from pixel to pixel so
    that soft borders show no bands."""
    across = column % samples
    down = row % samples
    level = float((2 * (across & 1) + 3 * (down & 1)) % 4)
    levels = float(4)
    if samples >= 4:
        coarse = float((2 * ((across >> 1) & 1) + 3 * ((down >> 1) & 1)) % 4)
        level = level * 4.0 + coarse
        levels = float(16)
    noise = 0.06711056 * float(column / samples) + 0.00583715 * float(row / samples)
    noise = 52.9829189 * (noise - wp.floor(noise))
    return (level + noise - wp.floor(noise)) / levels


@wp.func
def rasterise_triangle(
    face: int,
    t: int,
    screen: wp.array2d(dtype=wp.vec3),
    triangles: wp.array(dtype=Triangle),
    cutouts: Cutouts,
    side: int,
    samples: int,
    nearest: wp.array2d(dtype=wp.uint64),
):
    """Enter a triangle where it is nearest."""
    triangle = triangles[t]
    a = screen[face, triangle.corner[0]]
    b = screen[face, triangle.corner[1]]
    c = screen[face, triangle.corner[2]]
    area = doubled_area(a, b, c)
    if triangle.material <= EYE and area >= 0.0:  # back faces; pixel rows run downwards
        return
    if wp.abs(area) < 1.0e-9 or triangle.material == LENS:
        return
    within = extent(a, b, c, side)
    if within.first_row > within.last_row or within.left > within.right:
        return
    layer = cutout_layer(cutouts, face, triangle.material)
    near = wp.vec3(a[2], b[2], c[2])
    if triangle.material == BROW:
        near += BROW_LIFT * wp.cw_mul(near, near)
    corners = weights(a, b, c, area)
    depth = plane(a, b, c, area, near[0], near[1], near[2])
    u_plane = Plane()
    v_plane = Plane()
    if layer >= 0:
        u = wp.vec3(triangle.uv_a[0], triangle.uv_b[0], triangle.uv_c[0])
        v = wp.vec3(triangle.uv_a[1], triangle.uv_b[1], triangle.uv_c[1])
        u_plane = plane(a, b, c, area, u[0] * near[0], u[1] * near[1], u[2] * near[2])
        v_plane = plane(a, b, c, area, v[0] * near[0], v[1] * near[1], v[2] * near[2])
    for row in range(within.first_row, within.last_row + 1):
        y = float(row) + 0.5
        span = covered(within, corners, y)
        along = depth.dy * y + depth.at_origin
        for column in range(span[0], span[1] + 1):
            x = float(column) + 0.5
            inverse = depth.dx * x + along
            at = row * side + column
            key = (wp.uint64(wp.cast(inverse, wp.uint32)) << wp.uint64(32)) | wp.uint64(t)
            if key > nearest[face, at]:
                opaque = bool(True)
                if layer >= 0:
                    uv = wp.vec2(
                        u_plane.dx * x + u_plane.dy * y + u_plane.at_origin,
                        v_plane.dx * x + v_plane.dy * y + v_plane.at_origin,
                    )
                    uv = uv / inverse
                    held = cutouts.opacity[layer, nearest_texel(cutouts.side, uv[0], uv[1])]
                    opaque = float(held) > 255.0 * alpha_threshold(column, row, samples)
                if opaque:
                    wp.atomic_max(nearest, face, at, key)


@wp.kernel
def rasterise(
    screen: wp.array2d(dtype=wp.vec3),
    triangles: wp.array(dtype=Triangle),
    ranges: wp.array3d(dtype=int),
    n_drawn: int,
    run: int,
    cutouts: Cutouts,
    side: int,
    samples: int,
    nearest: wp.array2d(dtype=wp.uint64),
):
    """Keep the nearest triangle of each sample [B, side²]: inverse distance in the high half of the key, triangle in
    the low half. A thread enters `run` triangles."""
    face, strip = wp.tid()
    for number in range(strip * run, wp.min(strip * run + run, n_drawn)):
        t = drawn(ranges, face, number)
        if t >= 0:
            rasterise_triangle(face, t, screen, triangles, cutouts, side, samples, nearest)


@wp.kernel
def rasterise_lenses(
    screen: wp.array2d(dtype=wp.vec3),
    triangles: wp.array(dtype=Triangle),
    ranges: wp.array3d(dtype=int),
    n_drawn: int,
    size: int,
    samples: int,
    lenses: wp.array2d(dtype=wp.uint64),
):
    """Keep the nearest lens of each pixel [B, size²], at its centre, with keys as `rasterise` makes them: rims hide the
    edges."""
    face, number = wp.tid()
    t = drawn(ranges, face, number)
    if t < 0:
        return
    corner = triangles[t].corner
    pixel = wp.vec3(1.0 / float(samples), 1.0 / float(samples), 1.0)
    a = wp.cw_mul(screen[face, corner[0]], pixel)
    b = wp.cw_mul(screen[face, corner[1]], pixel)
    c = wp.cw_mul(screen[face, corner[2]], pixel)
    area = doubled_area(a, b, c)
    within = extent(a, b, c, size)
    if wp.abs(area) < 1.0e-9 or within.first_row > within.last_row or within.left > within.right:
        return
    corners = weights(a, b, c, area)
    near = plane(a, b, c, area, a[2], b[2], c[2])
    for row in range(within.first_row, within.last_row + 1):
        y = float(row) + 0.5
        span = covered(within, corners, y)
        for column in range(span[0], span[1] + 1):
            inverse = near.dx * (float(column) + 0.5) + near.dy * y + near.at_origin
            key = (wp.uint64(wp.cast(inverse, wp.uint32)) << wp.uint64(32)) | wp.uint64(t)
            wp.atomic_max(lenses, face, row * size + column, key)


@wp.func
def cast_triangle(
    face: int,
    t: int,
    cast: wp.array2d(dtype=wp.vec3),
    triangles: wp.array(dtype=Triangle),
    cutouts: Cutouts,
    side: int,
    shadow: wp.array2d(dtype=float),
):
    """Enter a triangle into the shadow map where it is nearest to the light."""
    triangle = triangles[t]
    if triangle.material != SKIN and triangle.material != HAIR and triangle.material != FRAME:
        return
    a = cast[face, triangle.corner[0]]
    b = cast[face, triangle.corner[1]]
    c = cast[face, triangle.corner[2]]
    area = doubled_area(a, b, c)
    if wp.abs(area) < 1.0e-9 or (triangle.material == SKIN and area >= 0.0):
        return
    within = extent(a, b, c, side)
    if within.first_row > within.last_row or within.left > within.right:
        return
    layer = cutout_layer(cutouts, face, triangle.material)
    if layer >= 0:
        # Hair lets light through where its texture has holes: one look a triangle is enough for a soft shadow.
        uv = (triangle.uv_a + triangle.uv_b + triangle.uv_c) / 3.0
        if cutouts.opacity[layer, nearest_texel(cutouts.side, uv[0], uv[1])] < wp.uint8(96):
            return
    corners = weights(a, b, c, area)
    near = plane(a, b, c, area, a[2], b[2], c[2])
    for row in range(within.first_row, within.last_row + 1):
        y = float(row) + 0.5
        span = covered(within, corners, y)
        along = near.dy * y + near.at_origin
        for column in range(span[0], span[1] + 1):
            wp.atomic_max(shadow, face, row * side + column, near.dx * (float(column) + 0.5) + along)


@wp.kernel
def cast_shadow(
    cast: wp.array2d(dtype=wp.vec3),
    triangles: wp.array(dtype=Triangle),
    ranges: wp.array3d(dtype=int),
    n_drawn: int,
    run: int,
    cutouts: Cutouts,
    side: int,
    shadow: wp.array2d(dtype=float),
):
    """Keep, for each texel of the shadow map [B, side²], how near to the light its nearest surface is, metres. A thread
    enters `run` triangles."""
    face, strip = wp.tid()
    for number in range(strip * run, wp.min(strip * run + run, n_drawn)):
        t = drawn(ranges, face, number)
        if t >= 0:
            cast_triangle(face, t, cast, triangles, cutouts, side, shadow)


@wp.func
def open_to_light(
    shadow: wp.array2d(dtype=float), face: int, side: int, softness: float, x: float, y: float, near: float
) -> float:
    """Share of a square of the shadow map, of side 2·softness texels, that lies no nearer to the light."""
    step = 2.0 * softness / float(TAPS)
    seen = float(0.0)
    for down in range(TAPS):
        for across in range(TAPS):
            column = int(x + (float(across) - 0.5 * float(TAPS - 1)) * step)
            row = int(y + (float(down) - 0.5 * float(TAPS - 1)) * step)
            if column < 0 or row < 0 or column >= side or row >= side or shadow[face, row * side + column] < near:
                seen += 1.0
    return seen / float(TAPS * TAPS)


@wp.func
def light_vertex(
    face: int,
    vertex: int,
    view: wp.array2d(dtype=wp.vec3),
    cast: wp.array2d(dtype=wp.vec3),
    normals: wp.array2d(dtype=wp.vec3),
    ambient: wp.array(dtype=float),
    strands: wp.array(dtype=wp.uint8),
    light: LightBatch,
    softness: float,
    side: int,
    shadow: wp.array2d(dtype=float),
    vertices: wp.array2d(dtype=Vertex),
):
    """All light at a vertex that does not depend on fine detail: what reaches it of the key light and of the
    surroundings."""
    made = Vertex()
    made.normal = wp.normalize(normals[face, vertex])
    towards_eye = wp.normalize(-view[face, vertex])
    if strands[vertex] > wp.uint8(0) and wp.dot(made.normal, towards_eye) < 0.0:
        made.normal = -made.normal
    made.ambient = ambient[vertex]
    at = cast[face, vertex]
    made.lit = open_to_light(shadow, face, side, softness, at[0], at[1], at[2] + SHADOW_BIAS)
    # Light from the surroundings that skin blocks from skin is not lost to red, which travels farthest inside it.
    dark = 1.0 - made.ambient
    bleed = made.ambient * wp.vec3(1.0 + 0.75 * dark, 1.0 + 0.22 * dark, 1.0 + 0.12 * dark)
    made.around = wp.cw_mul(irradiance(light, face, made.normal), bleed)
    cosine = wp.dot(made.normal, towards_eye)
    mirrored = 2.0 * cosine * made.normal - towards_eye
    mirror = wp.min(fresnel(0.022, cosine), 0.11) * 0.5 * made.ambient
    made.sheen = mirror * irradiance(light, face, mirrored)
    vertices[face, vertex] = made


@wp.kernel
def light_vertices(
    view: wp.array2d(dtype=wp.vec3),
    cast: wp.array2d(dtype=wp.vec3),
    normals: wp.array2d(dtype=wp.vec3),
    ambient: wp.array(dtype=float),
    ranges: wp.array3d(dtype=int),
    n_drawn: int,
    strands: wp.array(dtype=wp.uint8),
    light: LightBatch,
    softness: float,
    side: int,
    run: int,
    shadow: wp.array2d(dtype=float),
    vertices: wp.array2d(dtype=Vertex),
):
    """Light all drawn vertices, `run` of them a thread. `softness` is in texels of the shadow map; `strands` [V]
    says which are of brows, lashes or hair, whose two sides look alike."""
    face, strip = wp.tid()
    for number in range(strip * run, wp.min(strip * run + run, n_drawn)):
        vertex = drawn(ranges, face, number)
        if vertex >= 0:
            light_vertex(face, vertex, view, cast, normals, ambient, strands, light, softness, side, shadow, vertices)
