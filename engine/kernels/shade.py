"""Samples to pixels: what material, how it is lit, which label."""

# pyright: basic, reportGeneralTypeIssues=false, reportInvalidTypeForm=false, reportArgumentType=false, reportCallIssue=false
# pyright: reportOperatorIssue=false, reportIndexIssue=false, reportAttributeAccessIssue=false, reportReturnType=false
# pyright: reportAssignmentType=false, reportOptionalMemberAccess=false, reportOptionalOperand=false

import warp as wp

from engine.glasses import DARK as DARK_LENS
from engine.kernels.common import (
    BEARD,
    BROW,
    FACE_LABEL,
    FRAME,
    HAIR,
    HAIR_LABEL,
    LASH,
    NOSE_LABEL,
    OPTIONS,
    SKIN,
    TOOTH,
    Triangle,
    Vertex,
    as_vec4,
    blend_corners,
    footprint,
    nearest_texel,
    texel,
    to_linear,
    vec3ub,
    vec4ub,
)
from engine.kernels.light import LightBatch, fresnel, microfacets, reflection, strand_gloss, tone_map
from engine.kernels.visibility import EMPTY, Cutouts

wp.set_module_options(OPTIONS)

DARK = wp.constant(DARK_LENS)
RELIEF = wp.constant(0.0008)
"""Metres that the full range of the skin's height stands for."""
STRAND_TURN = wp.constant(0.9)
"""How far a strand is turned to or from the surface, as a share of how much brighter it is than others."""


@wp.struct
class Surface:
    """All triangles [T] and what they are made of; per face [B] what moves and what it wears."""

    triangles: wp.array(dtype=Triangle)
    regions: wp.array(dtype=wp.vec2)  # [V] above 0 on the neck, on the nose
    screen: wp.array2d(dtype=wp.vec3)  # [B, V]
    view: wp.array2d(dtype=wp.vec3)  # [B, V]
    focal: wp.array(dtype=float)  # [B] image widths
    span: float  # the picture's side in samples
    vertices: wp.array2d(dtype=Vertex)  # [B, V]
    painted: wp.array2d(dtype=vec4ub)  # [B, side²] each face's skin
    side: int
    lip_mask: wp.array(dtype=wp.uint8)  # [side²]
    textures: wp.array2d(dtype=vec4ub)  # [L, side²] hair, brows, lashes, irises
    wears: Cutouts
    teeth: int  # their texture
    hair_colour: wp.array(dtype=wp.vec3)  # [B] linear RGB
    frame: wp.array(dtype=int)  # [B] texture of the glasses' frame
    metal: wp.array(dtype=float)  # [B] whether it is metal
    tint: wp.array(dtype=wp.vec3)  # [B] what the lenses let through, linear RGB
    lenses: wp.array2d(dtype=wp.uint64)  # [B, size²] the nearest lens, see engine.kernels.visibility
    glazed: int  # whether there are any


@wp.struct
class Hit:
    """A point of the surface that the camera sees."""

    weights: wp.vec3  # of the corners
    uv: wp.vec2
    view: wp.vec3  # unit vector towards the camera
    at: Vertex
    lip: float


@wp.func
def hit(surface: Surface, face: int, triangle: Triangle, x: float, y: float) -> Hit:
    """Interpolate a triangle's corners at a position on the screen, perspective-correct."""
    a = surface.screen[face, triangle.corner[0]]
    b = surface.screen[face, triangle.corner[1]]
    c = surface.screen[face, triangle.corner[2]]
    wa = ((b[0] - x) * (c[1] - y) - (b[1] - y) * (c[0] - x)) * a[2]
    wb = ((c[0] - x) * (a[1] - y) - (c[1] - y) * (a[0] - x)) * b[2]
    wc = ((a[0] - x) * (b[1] - y) - (a[1] - y) * (b[0] - x)) * c[2]
    scale = 1.0 / (wa + wb + wc)
    wa *= scale
    wb *= scale
    wc *= scale
    found = Hit()
    found.weights = wp.vec3(wa, wb, wc)
    found.uv = wa * triangle.uv_a + wb * triangle.uv_b + wc * triangle.uv_c
    half = 0.5 * surface.span
    ahead = surface.focal[face] * surface.span
    found.view = wp.normalize(wp.vec3(half - x, y - half, ahead))
    va = surface.vertices[face, triangle.corner[0]]
    vb = surface.vertices[face, triangle.corner[1]]
    vc = surface.vertices[face, triangle.corner[2]]
    found.at.normal = wp.normalize(wa * va.normal + wb * vb.normal + wc * vc.normal)
    found.at.around = wa * va.around + wb * vb.around + wc * vc.around
    found.at.sheen = wa * va.sheen + wb * vb.sheen + wc * vc.sheen
    found.at.lit = wa * va.lit + wb * vb.lit + wc * vc.lit
    found.at.ambient = wa * va.ambient + wb * vb.ambient + wc * vc.ambient
    found.lip = float(0.0)
    if triangle.lip_label != triangle.label:
        found.lip = float(surface.lip_mask[nearest_texel(surface.side, found.uv[0], found.uv[1])]) / 255.0
    return found


@wp.struct
class Tangents:
    """How the point moves with the texture coordinates, metres."""

    u: wp.vec3
    v: wp.vec3


@wp.func
def tangents(surface: Surface, face: int, triangle: Triangle) -> Tangents:
    """How a triangle's surface runs along u and v, in view space."""
    origin = surface.view[face, triangle.corner[0]]
    first = surface.view[face, triangle.corner[1]] - origin
    second = surface.view[face, triangle.corner[2]] - origin
    du = triangle.uv_b - triangle.uv_a
    dv = triangle.uv_c - triangle.uv_a
    area = du[0] * dv[1] - dv[0] * du[1]
    scale = wp.where(wp.abs(area) > 1.0e-12, 1.0 / area, 0.0)
    found = Tangents()
    found.u = (dv[1] * first - du[1] * second) * scale
    found.v = (du[0] * second - dv[0] * first) * scale
    return found


@wp.func
def roughened(basis: Tangents, normal: wp.vec3, across: float, down: float) -> wp.vec3:
    """The normal bent by the slope of the skin's height (Blinn 1978): metres a unit of texture, across and down."""
    along_u = wp.cross(basis.v, normal)
    along_v = wp.cross(normal, basis.u)
    area = wp.dot(basis.u, along_u)
    if wp.abs(area) < 1.0e-12:
        return normal
    slope = (across * along_u - down * along_v) / area
    return wp.normalize(normal - slope / wp.max(1.0, wp.length(slope) / 0.6))


@wp.func
def shade_skin(
    surface: Surface, light: LightBatch, face: int, triangle: Triangle, found: Hit, relief: float
) -> wp.vec3:
    """Linear colour of skin and teeth towards the camera."""
    at = footprint(surface.side, found.uv[0], found.uv[1])
    a = as_vec4(surface.painted[face, at.corner[0]])
    b = as_vec4(surface.painted[face, at.corner[1]])
    c = as_vec4(surface.painted[face, at.corner[2]])
    d = as_vec4(surface.painted[face, at.corner[3]])
    colour = blend_corners(at, a, b, c, d)
    albedo = wp.vec3(to_linear(colour[0]), to_linear(colour[1]), to_linear(colour[2]))
    normal = found.at.normal
    if relief > 0.0:
        across = (b[3] - a[3]) * (1.0 - at.y) + (d[3] - c[3]) * at.y
        down = (c[3] - a[3]) * (1.0 - at.x) + (d[3] - b[3]) * at.x
        steep = relief * float(surface.side) / 255.0
        normal = roughened(tangents(surface, face, triangle), normal, steep * across, steep * down)
    view = found.view
    key = light.direction[face]
    lit = found.at.lit
    cosine = wp.dot(normal, key)
    # Light that enters skin comes out nearby: red travels farthest. So red sees a smoother normal and reaches farther
    # past the terminator and into shadow.
    red = 0.5 * (wp.dot(found.at.normal, key) + cosine)
    direct = wp.vec3(
        wp.max(red + 0.28, 0.0) / 1.28 * lit * (1.5 - 0.5 * lit),
        wp.max(cosine + 0.12, 0.0) / 1.12 * lit * (1.15 - 0.15 * lit),
        wp.max(cosine + 0.08, 0.0) / 1.08 * lit,
    )
    gloss = 0.70 * microfacets(normal, view, key, 0.56 - 0.18 * found.lip, 0.028)
    gloss += 0.30 * microfacets(normal, view, key, 0.38, 0.028)
    gloss *= wp.min(2.0 * found.at.ambient, 1.0)  # creases do not shine
    return (
        wp.cw_mul(albedo, found.at.around + wp.cw_mul(light.colour[face], direct))
        + gloss * lit * light.colour[face]
        + (1.0 + 0.5 * found.lip) * found.at.sheen
    )


@wp.func
def shade_tooth(surface: Surface, light: LightBatch, face: int, found: Hit) -> wp.vec3:
    """The light that a tooth or its gum sends to the camera."""
    colour = texel(surface.textures, surface.teeth, surface.side, found.uv[0], found.uv[1])
    albedo = wp.vec3(to_linear(colour[0]), to_linear(colour[1]), to_linear(colour[2]))
    key = light.direction[face]
    direct = wp.max(wp.dot(found.at.normal, key) + 0.3, 0.0) / 1.3 * found.at.lit * found.at.ambient
    gloss = microfacets(found.at.normal, found.view, key, 0.30, 0.04) * found.at.lit * found.at.ambient
    return wp.cw_mul(albedo, found.at.around + direct * light.colour[face]) + gloss * light.colour[face]


@wp.func
def shade_eye(surface: Surface, light: LightBatch, face: int, found: Hit) -> wp.vec3:
    """The painted eyeball under a wet, clear cornea."""
    colour = texel(surface.textures, surface.wears.eye[face], surface.side, found.uv[0], found.uv[1])
    albedo = 0.72 * wp.vec3(to_linear(colour[0]), to_linear(colour[1]), to_linear(colour[2]))
    normal = found.at.normal
    view = found.view
    key = light.direction[face]
    direct = wp.max(wp.dot(normal, key) + 0.15, 0.0) / 1.15 * found.at.lit
    facing = wp.dot(normal, view)
    mirror = wp.min(fresnel(0.030, facing), 0.25) * found.at.ambient
    mirrored = reflection(light, face, 2.0 * facing * normal - view)
    glint = wp.min(microfacets(normal, view, key, 0.16, 0.03), 1.5) * wp.max(found.at.lit, 0.25)
    return (
        wp.cw_mul(albedo, found.at.around + direct * light.colour[face])
        + mirror * mirrored
        + glint * light.colour[face]
    )


@wp.func
def shade_frame(surface: Surface, light: LightBatch, face: int, found: Hit) -> wp.vec3:
    """A frame of glasses: polished plastic or metal."""
    colour = texel(surface.textures, surface.frame[face], surface.side, found.uv[0], found.uv[1])
    albedo = wp.vec3(to_linear(colour[0]), to_linear(colour[1]), to_linear(colour[2]))
    metal = surface.metal[face]
    normal = found.at.normal
    view = found.view
    key = light.direction[face]
    direct = found.at.lit * light.colour[face]
    facing = wp.dot(normal, view)
    mirrored = reflection(light, face, 2.0 * facing * normal - view)
    mirrored = wp.min(mirrored, wp.vec3(3.0, 3.0, 3.0))
    gloss = microfacets(normal, view, key, 0.30, 0.04 + 0.5 * metal)
    diffuse = wp.cw_mul(albedo, found.at.around + wp.max(wp.dot(normal, key), 0.0) * direct)
    polished = fresnel(0.04, facing) * mirrored + gloss * direct
    return (1.0 - metal) * (diffuse + polished) + metal * wp.cw_mul(
        albedo, 0.8 * mirrored + 0.3 * found.at.around + gloss * direct
    )


@wp.func
def developed(light: LightBatch, face: int, radiance: wp.vec3) -> wp.vec3:
    """Radiance after exposure and tone curve, in [0, 1]."""
    exposed = light.exposure[face] * radiance
    return wp.vec3(tone_map(exposed[0]), tone_map(exposed[1]), tone_map(exposed[2]))


@wp.func
def through_lens(surface: Surface, light: LightBatch, face: int, key: wp.uint64, x: float, y: float, seen: wp.vec3):
    """What is seen through a lens and mirrored on it, display values in [0, 1]."""
    found = hit(surface, face, surface.triangles[int(key & wp.uint64(0xFFFFFFFF))], x, y)
    facing = wp.dot(found.at.normal, found.view)
    mirrored = wp.min(reflection(light, face, 2.0 * facing * found.at.normal - found.view), wp.vec3(8.0, 8.0, 8.0))
    shine = developed(light, face, wp.min(fresnel(0.035, facing), 0.5) * mirrored)
    linear = wp.cw_mul(surface.tint[face], wp.cw_mul(seen, seen)) + wp.cw_mul(shine, shine)
    return wp.vec3(wp.sqrt(wp.min(linear[0], 1.0)), wp.sqrt(wp.min(linear[1], 1.0)), wp.sqrt(wp.min(linear[2], 1.0)))


@wp.func
def shade_strands(surface: Surface, light: LightBatch, face: int, triangle: Triangle, found: Hit) -> wp.vec3:
    """Hair, brows and lashes: strands run along v of their textures."""
    view = found.view
    normal = found.at.normal
    key = light.direction[face]
    cosine = wp.dot(normal, key)
    if triangle.material == BROW or triangle.material == LASH:
        albedo = surface.hair_colour[face] * wp.where(triangle.material == BROW, 0.75, 0.25)
        albedo = wp.cw_div(albedo, wp.vec3(1.0, 1.0, 1.0) + 4.0 * albedo)  # thin hairs let the skin through
        share = wp.max(cosine + 0.2, 0.0) / 1.2 * found.at.lit
        return wp.cw_mul(albedo, found.at.around + share * light.colour[face])
    layer = wp.where(triangle.material == BEARD, surface.wears.beard[face], surface.wears.hair[face])
    colour = texel(surface.textures, layer, surface.side, found.uv[0], found.uv[1])
    strand = 0.10 + 1.8 * to_linear(colour[0])
    tint = surface.hair_colour[face] * strand
    albedo = wp.cw_div(tint, wp.vec3(1.0, 1.0, 1.0) + 0.6 * tint)  # bright strands do not send back all light
    along = tangents(surface, face, triangle).v
    # Along the smooth surface, or each flat triangle would shine by itself.
    tangent = wp.normalize(along - wp.dot(along, normal) * normal)
    # Each strand is turned a little: the highlight breaks up into strands.
    tangent = wp.normalize(tangent + STRAND_TURN * (colour[0] - 0.7) * normal)
    direct = found.at.lit * light.colour[face]
    gloss = strand_gloss(tangent, view, key) * wp.max(cosine + 0.15, 0.0) * found.at.ambient
    return (
        wp.cw_mul(albedo, 0.85 * found.at.around + direct * (found.at.ambient * wp.max(cosine + 0.25, 0.0) / 1.25))
        + gloss * wp.cw_mul(direct, 0.030 * strand * wp.vec3(1.0, 1.0, 1.0) + 0.30 * albedo)
        + 0.6 * strand * found.at.sheen
    )


@wp.func
def label_of(surface: Surface, triangle: Triangle, found: Hit) -> int:
    """The class of a point of the skin: the borders of lips, neck and nose run through triangles."""
    label = triangle.label
    if label == FACE_LABEL:
        region = found.weights[0] * surface.regions[triangle.corner[0]]
        region += found.weights[1] * surface.regions[triangle.corner[1]]
        region += found.weights[2] * surface.regions[triangle.corner[2]]
        if found.lip > 0.5:
            label = triangle.lip_label
        elif region[0] > 0.0:
            label = 0
        elif region[1] > 0.0:
            label = NOSE_LABEL
    return label


@wp.func
def resolve_pixel(
    face: int,
    pixel: int,
    nearest: wp.array2d(dtype=wp.uint64),
    surface: Surface,
    light: LightBatch,
    background: wp.array2d(dtype=vec3ub),
    size: int,
    samples: int,
    relief: float,
    image: wp.array2d(dtype=vec3ub),
    label_map: wp.array2d(dtype=wp.uint8),
):
    """Shade a pixel once for each material that its samples hit, averaged by coverage in display space."""
    row = pixel / size
    column = pixel - row * size
    side = size * samples
    first = (row * side + column) * samples
    total = wp.vec3(0.0, 0.0, 0.0)
    solid = wp.vec3(0.0, 0.0, 0.0)  # colour of the solid material seen last, and of the strands
    strands = wp.vec3(0.0, 0.0, 0.0)
    solid_material = int(-1)
    strand_material = int(-1)
    solid_label = int(0)
    label = int(0)
    votes = int(0)
    brow = int(0)
    missed = int(0)
    behind_lens = int(0)
    lens = wp.uint64(0)
    if surface.glazed > 0:
        lens = surface.lenses[face, pixel]
    for dy in range(samples):
        for dx in range(samples):
            key = nearest[face, first + dy * side + dx]
            sample_label = int(0)
            if lens > key:
                behind_lens += 1
            if key == EMPTY:
                missed += 1
            else:
                triangle = surface.triangles[int(key & wp.uint64(0xFFFFFFFF))]
                material = triangle.material
                x = float(column * samples + dx) + 0.5
                y = float(row * samples + dy) + 0.5
                if material == HAIR or material == BROW or material == LASH or material == BEARD:  # noqa: SIM109
                    if material != strand_material:
                        found = hit(surface, face, triangle, x, y)
                        strands = developed(light, face, shade_strands(surface, light, face, triangle, found))
                        strand_material = material
                    total += strands
                    sample_label = triangle.label
                    if material == BROW:
                        brow = sample_label
                else:
                    if material != solid_material:
                        found = hit(surface, face, triangle, x, y)
                        if material == SKIN:
                            solid = shade_skin(surface, light, face, triangle, found, relief)
                        elif material == TOOTH:
                            solid = shade_tooth(surface, light, face, found)
                        elif material == FRAME:
                            solid = shade_frame(surface, light, face, found)
                        else:
                            solid = shade_eye(surface, light, face, found)
                        solid = developed(light, face, solid)
                        solid_material = material
                        solid_label = label_of(surface, triangle, found)
                    total += solid
                    sample_label = solid_label
            if votes == 0:
                label = sample_label
                votes = 1
            elif sample_label == label:
                votes += 1
            else:
                votes -= 1
    if missed == samples * samples and behind_lens == 0:
        image[face, pixel] = background[face, pixel]
        label_map[face, pixel] = wp.uint8(0)
        return
    if brow > 0 and label != HAIR_LABEL:
        label = brow  # a brow is the region that its hairs span
    if missed > 0:
        behind = background[face, pixel]
        total += float(missed) / 255.0 * wp.vec3(float(behind[0]), float(behind[1]), float(behind[2]))
    total = total / float(samples * samples)
    if behind_lens > 0:
        middle = 0.5 * float(samples)
        seen = through_lens(
            surface, light, face, lens, float(column * samples) + middle, float(row * samples) + middle, total
        )
        total += float(behind_lens) / float(samples * samples) * (seen - total)
        if surface.tint[face][1] < DARK and 2 * behind_lens > samples * samples:
            label = 0  # nobody sees what dark glasses hide
    total = 255.0 * total + wp.vec3(0.5, 0.5, 0.5)
    image[face, pixel] = vec3ub(wp.uint8(int(total[0])), wp.uint8(int(total[1])), wp.uint8(int(total[2])))
    label_map[face, pixel] = wp.uint8(label)


@wp.kernel
def resolve(
    nearest: wp.array2d(dtype=wp.uint64),
    surface: Surface,
    light: LightBatch,
    background: wp.array2d(dtype=vec3ub),
    size: int,
    samples: int,
    relief: float,
    run: int,
    image: wp.array2d(dtype=vec3ub),
    label_map: wp.array2d(dtype=wp.uint8),
):
    """Give all pixels [B, size²] their colours and labels, `run` neighbours a thread."""
    face, strip = wp.tid()
    for pixel in range(strip * run, wp.min(strip * run + run, size * size)):
        resolve_pixel(face, pixel, nearest, surface, light, background, size, samples, relief, image, label_map)
