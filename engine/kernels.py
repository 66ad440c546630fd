"""The renderer's Warp kernels: the same code on CPU and CUDA.

Shapes: B faces, V vertices, T triangles, N triangles drawn a face, H×W pixels, S samples a pixel and side. Positions
are in view space: the camera at the origin looks along −Z, X to the image's right, Y up, metres.
"""

# Warp compiles the annotations of kernels, and its built-ins have no Python types.
# pyright: basic, reportGeneralTypeIssues=false, reportInvalidTypeForm=false, reportArgumentType=false, reportCallIssue=false
# pyright: reportOperatorIssue=false, reportIndexIssue=false, reportAttributeAccessIssue=false, reportReturnType=false
# pyright: reportAssignmentType=false, reportOptionalMemberAccess=false, reportOptionalOperand=false

import warp as wp

wp.config.log_level = wp.LOG_ERROR
wp.set_module_options({"enable_backward": False})

EMPTY = wp.constant(wp.uint64(0xFFFFFFFFFFFFFFFF))
SKIN, EYE, LASH, BROW, HAIR, TOOTH = (wp.constant(number) for number in range(6))
FACE_LABEL, HAIR_LABEL, NOSE_LABEL = (wp.constant(number) for number in (1, 2, 7))


@wp.struct
class Shading:
    """Per face [B]: what its surface is made of and how it is lit."""

    sh: wp.array2d(dtype=wp.vec3)  # [B,9] irradiance/π by spherical harmonics, linear RGB
    key_direction: wp.array(dtype=wp.vec3)  # [B] towards the strongest light
    key_colour: wp.array(dtype=wp.vec3)  # [B] linear RGB
    exposure: wp.array(dtype=float)  # [B]
    skin_texture: wp.array(dtype=int)  # [B] first of six textures: sex × age
    sex: wp.array(dtype=float)  # [B]
    age: wp.array(dtype=float)  # [B]
    hair_texture: wp.array(dtype=int)  # [B]
    brow_texture: wp.array(dtype=int)  # [B]
    eye_texture: wp.array(dtype=int)  # [B]
    lash_texture: int
    lip_mask: int
    hair_colour: wp.array(dtype=wp.vec3)  # [B] linear RGB
    lip_colour: wp.array(dtype=wp.vec4)  # [B] linear RGB and opacity
    beard: wp.array2d(dtype=float)  # [styles,V] how dense the beard of each style is at a vertex
    beard_style: wp.array(dtype=int)  # [B]


@wp.func
def to_linear(value: float) -> float:
    """Display to linear light. A gamma of 2 both ways is close to sRGB's curve and a tenth of its cost."""
    return value * value


@wp.func
def opacity(textures: wp.array4d(dtype=wp.uint8), layer: int, u: float, v: float) -> float:
    """Alpha of the nearest texel; the textures are blurred beforehand."""
    column = int(wp.clamp(u, 0.0, 0.9999) * float(textures.shape[2]))
    row = int((1.0 - wp.clamp(v, 0.0001, 1.0)) * float(textures.shape[1]))
    return float(textures[layer, row, column, 3]) / 255.0


@wp.func
def texel(textures: wp.array4d(dtype=wp.uint8), layer: int, u: float, v: float) -> wp.vec4:
    """Bilinear sample of a texture, sRGB RGBA in [0,1]; V up."""
    height = textures.shape[1]
    width = textures.shape[2]
    x = wp.clamp(u, 0.0, 1.0) * float(width) - 0.5
    y = (1.0 - wp.clamp(v, 0.0, 1.0)) * float(height) - 0.5
    x0 = int(wp.floor(x))
    y0 = int(wp.floor(y))
    fx = x - float(x0)
    fy = y - float(y0)
    total = wp.vec4(0.0, 0.0, 0.0, 0.0)
    for dy in range(2):
        for dx in range(2):
            column = wp.clamp(x0 + dx, 0, width - 1)
            row = wp.clamp(y0 + dy, 0, height - 1)
            weight = wp.where(dx == 1, fx, 1.0 - fx) * wp.where(dy == 1, fy, 1.0 - fy)
            total += weight * wp.vec4(
                float(textures[layer, row, column, 0]),
                float(textures[layer, row, column, 1]),
                float(textures[layer, row, column, 2]),
                float(textures[layer, row, column, 3]),
            )
    return total / 255.0


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


@wp.kernel
def bind_proxies(
    vertices: wp.array2d(dtype=wp.vec3),
    references: wp.array2d(dtype=int),
    weights: wp.array(dtype=wp.vec3),
    offsets: wp.array(dtype=wp.vec3),
    ranges: wp.array3d(dtype=int),
    n_base: int,
):
    """Place the vertices of eyes, lashes, brows and hair on the morphed base mesh."""
    face, number = wp.tid()
    vertex = drawn(ranges, face, number)
    if vertex < n_base:
        return
    proxy = vertex - n_base
    at = offsets[proxy]
    for k in range(3):
        at = at + weights[proxy][k] * vertices[face, references[proxy, k]]
    vertices[face, vertex] = at


@wp.kernel
def turn_eyes(
    vertices: wp.array2d(dtype=wp.vec3),
    centres: wp.array2d(dtype=wp.vec3),
    gaze: wp.array(dtype=wp.vec2),
    first: int,
):
    """Rotate both eyeballs by gaze yaw and pitch, radians, about their own centres [B,2] (left, right)."""
    face, number = wp.tid()
    vertex = first + number
    side = wp.where(vertices[face, vertex][0] > 0.0, 0, 1)
    turn = wp.quat_from_axis_angle(wp.vec3(0.0, 1.0, 0.0), gaze[face][0]) * wp.quat_from_axis_angle(
        wp.vec3(1.0, 0.0, 0.0), gaze[face][1]
    )
    vertices[face, vertex] = centres[face, side] + wp.quat_rotate(turn, vertices[face, vertex] - centres[face, side])


@wp.kernel
def to_view(
    vertices: wp.array2d(dtype=wp.vec3),
    rotation: wp.array(dtype=wp.mat33),
    pivot: wp.vec3,
    translation: wp.array(dtype=wp.vec3),
    ranges: wp.array3d(dtype=int),
):
    """Turn the head about its pivot and put it before the camera."""
    face, number = wp.tid()
    vertex = drawn(ranges, face, number)
    if vertex >= 0:
        vertices[face, vertex] = rotation[face] * (vertices[face, vertex] - pivot) + translation[face]


@wp.kernel
def add_normals(
    vertices: wp.array2d(dtype=wp.vec3),
    triangles: wp.array(dtype=wp.vec3i),
    ranges: wp.array3d(dtype=int),
    normals: wp.array2d(dtype=wp.vec3),
):
    """Add each triangle's area-weighted normal to its vertices."""
    face, number = wp.tid()
    t = drawn(ranges, face, number)
    if t < 0:
        return
    corner = triangles[t]
    a = vertices[face, corner[0]]
    normal = wp.cross(vertices[face, corner[1]] - a, vertices[face, corner[2]] - a)
    for k in range(3):
        wp.atomic_add(normals, face, corner[k], normal)


@wp.kernel
def occlude(
    mesh: wp.uint64,
    points: wp.array(dtype=wp.vec3),
    normals: wp.array(dtype=wp.vec3),
    first: int,
    directions: wp.array(dtype=wp.vec3),
    hemisphere: int,
    reach: float,
    open_share: wp.array(dtype=float),
):
    """Share of directions in which each point sees the open. With `hemisphere` they are weighted by their cosine."""
    number = wp.tid() + first
    normal = wp.normalize(normals[number])
    if hemisphere == 0 and (wp.dot(normal, directions[0]) <= -0.35 or wp.dot(normal, points[number]) > 0.0):
        open_share[number] = 0.0  # turned away from the light, or from the camera
        return
    start = points[number] + normal * 0.0006
    seen = float(0.0)
    total = float(0.0)
    for k in range(directions.shape[0]):
        cosine = wp.dot(directions[k], normal)
        weight = wp.where(hemisphere == 1, wp.max(cosine, 0.0), 1.0)
        if weight > 0.0:
            total += weight
            query = wp.mesh_query_ray(mesh, start, directions[k], reach)
            if not query.result:
                seen += weight
    open_share[number] = wp.where(total > 0.0, seen / total, 1.0)


@wp.func
def edge(ax: float, ay: float, bx: float, by: float, x: float, y: float) -> float:
    return (bx - ax) * (y - ay) - (by - ay) * (x - ax)


@wp.func
def project(point: wp.vec3, focal: float, side: float) -> wp.vec3:
    """View space to pixel position and distance; focal is in image widths."""
    scale = focal * side / (-point[2])
    return wp.vec3(0.5 * side + point[0] * scale, 0.5 * side - point[1] * scale, -point[2])


@wp.func
def barycentric(a: wp.vec3, b: wp.vec3, c: wp.vec3, x: float, y: float) -> wp.vec3:
    """Perspective-correct weights of the corners at a pixel position."""
    area = edge(a[0], a[1], b[0], b[1], c[0], c[1])
    wa = edge(b[0], b[1], c[0], c[1], x, y) / area / a[2]
    wb = edge(c[0], c[1], a[0], a[1], x, y) / area / b[2]
    wc = edge(a[0], a[1], b[0], b[1], x, y) / area / c[2]
    return wp.vec3(wa, wb, wc) / (wa + wb + wc)


@wp.func
def alpha_threshold(column: int, row: int) -> float:
    """Alpha to coverage: the samples of a pixel let through four levels of opacity."""
    return 0.125 + 0.25 * float((2 * (column & 1) + 3 * (row & 1)) % 4)


@wp.kernel
def rasterise(
    vertices: wp.array2d(dtype=wp.vec3),
    triangles: wp.array(dtype=wp.vec3i),
    uvs: wp.array2d(dtype=wp.vec2),
    materials: wp.array(dtype=wp.uint8),
    ranges: wp.array3d(dtype=int),
    focal: wp.array(dtype=float),
    textures: wp.array4d(dtype=wp.uint8),
    shading: Shading,
    nearest: wp.array3d(dtype=wp.uint64),
):
    """Keep the nearest triangle of each sample: distance in the high half of the key, triangle in the low half."""
    face, number = wp.tid()
    t = drawn(ranges, face, number)
    if t < 0:
        return
    side = float(nearest.shape[1])
    corner = triangles[t]
    a = project(vertices[face, corner[0]], focal[face], side)
    b = project(vertices[face, corner[1]], focal[face], side)
    c = project(vertices[face, corner[2]], focal[face], side)
    if wp.min(a[2], wp.min(b[2], c[2])) < 0.01:
        return
    area = edge(a[0], a[1], b[0], b[1], c[0], c[1])
    material = int(materials[t])
    if material <= EYE and area >= 0.0:  # back faces; pixel rows run downwards
        return
    if wp.abs(area) < 1.0e-9:
        return
    layer = int(-1)
    bias = float(0.0)
    if material == HAIR:
        layer = shading.hair_texture[face]
    elif material == BROW:
        layer = shading.brow_texture[face]
        bias = 0.0012
    elif material == LASH:
        layer = shading.lash_texture
    elif material == EYE:
        layer = shading.eye_texture[face]
    x0 = wp.max(int(wp.ceil(wp.min(a[0], wp.min(b[0], c[0])) - 0.5)), 0)
    x1 = wp.min(int(wp.floor(wp.max(a[0], wp.max(b[0], c[0])) - 0.5)), nearest.shape[2] - 1)
    y0 = wp.max(int(wp.ceil(wp.min(a[1], wp.min(b[1], c[1])) - 0.5)), 0)
    y1 = wp.min(int(wp.floor(wp.max(a[1], wp.max(b[1], c[1])) - 0.5)), nearest.shape[1] - 1)
    # The weights of the corners and the inverse distance are linear in the pixel position.
    ea_x = -(c[1] - b[1]) / area
    ea_y = (c[0] - b[0]) / area
    eb_x = -(a[1] - c[1]) / area
    eb_y = (a[0] - c[0]) / area
    near = wp.vec3(1.0 / a[2], 1.0 / b[2], 1.0 / c[2])
    for row in range(y0, y1 + 1):
        y = float(row) + 0.5
        for column in range(x0, x1 + 1):
            x = float(column) + 0.5
            ea = ea_x * (x - b[0]) + ea_y * (y - b[1])
            eb = eb_x * (x - c[0]) + eb_y * (y - c[1])
            ec = 1.0 - ea - eb
            if ea >= 0.0 and eb >= 0.0 and ec >= 0.0:
                depth = 1.0 / (ea * near[0] + eb * near[1] + ec * near[2])
                opaque = bool(True)
                if layer >= 0 and nearest[face, row, column] < (
                    wp.uint64(wp.cast(depth - bias, wp.uint32)) << wp.uint64(32)
                ):
                    opaque = False
                elif layer >= 0:
                    weight = wp.vec3(ea * near[0], eb * near[1], ec * near[2]) * depth
                    uv = weight[0] * uvs[t, 0] + weight[1] * uvs[t, 1] + weight[2] * uvs[t, 2]
                    opaque = opacity(textures, layer, uv[0], uv[1]) > alpha_threshold(column, row)
                if opaque:
                    bits = wp.uint64(wp.cast(depth - bias, wp.uint32))
                    key = (bits << wp.uint64(32)) | wp.uint64(t)
                    wp.atomic_min(nearest, face, row, column, key)


@wp.func
def irradiance(sh: wp.array2d(dtype=wp.vec3), face: int, n: wp.vec3) -> wp.vec3:
    """Diffuse light from the surroundings (Ramamoorthi and Hanrahan 2001), coefficients already convolved."""
    light = sh[face, 0] + sh[face, 1] * n[1] + sh[face, 2] * n[2] + sh[face, 3] * n[0]
    light += sh[face, 4] * (n[0] * n[1]) + sh[face, 5] * (n[1] * n[2]) + sh[face, 6] * (3.0 * n[2] * n[2] - 1.0)
    light += sh[face, 7] * (n[0] * n[2]) + sh[face, 8] * (n[0] * n[0] - n[1] * n[1])
    return wp.vec3(wp.max(light[0], 0.0), wp.max(light[1], 0.0), wp.max(light[2], 0.0))


@wp.func
def skin_albedo(textures: wp.array4d(dtype=wp.uint8), s: Shading, face: int, u: float, v: float) -> wp.vec3:
    """Blend of the textures of both sexes at the two nearest ages (young, middle-aged, old)."""
    place = wp.clamp(s.age[face], 0.0, 1.0) * 2.0
    age = wp.min(int(place), 1)
    share = place - float(age)
    sex = s.sex[face]
    first = s.skin_texture[face]
    colour = wp.vec4(0.0, 0.0, 0.0, 0.0)
    for k in range(4):
        weight = wp.where(k < 2, 1.0 - sex, sex) * wp.where(k % 2 == 0, 1.0 - share, share)
        if weight > 0.004:
            colour += weight * texel(textures, first + age + k % 2 + 3 * (k // 2), u, v)
    return wp.vec3(to_linear(colour[0]), to_linear(colour[1]), to_linear(colour[2]))


@wp.func
def specular(normal: wp.vec3, view: wp.vec3, light: wp.vec3, power: float) -> float:
    half = wp.normalize(view + light)
    return wp.pow(wp.max(wp.dot(normal, half), 0.0), power) * (power + 8.0) / 25.0


@wp.func
def tone_map(value: float) -> float:
    """Linear light to sRGB with a soft shoulder, so that highlights do not clip to white at once."""
    soft = wp.where(value < 0.6, value, 0.6 + 0.4 * (1.0 - wp.exp(-(value - 0.6) / 0.4)))
    return wp.sqrt(wp.clamp(soft, 0.0, 1.0))


@wp.func
def shade(
    textures: wp.array4d(dtype=wp.uint8),
    s: Shading,
    face: int,
    material: int,
    uv: wp.vec2,
    point: wp.vec3,
    facing: wp.vec3,
    ambient: float,
    lit: float,
    lips: float,
    beard: float,
    grain: float,
) -> wp.vec3:
    """Linear colour of a surface point towards the camera."""
    view = wp.normalize(-point)
    normal = facing
    if material >= LASH and wp.dot(normal, view) < 0.0:
        normal = -normal
    key = s.key_direction[face]
    cosine = wp.dot(normal, key)
    around = irradiance(s.sh, face, normal)
    direct = s.key_colour[face] * lit
    if material == SKIN or material == TOOTH:  # noqa: SIM109  (Warp knows no `in`)
        albedo = wp.vec3(0.62, 0.57, 0.5)
        if material == SKIN:
            albedo = skin_albedo(textures, s, face, uv[0], uv[1])
            lip = s.lip_colour[face]
            share = lips * lip[3]
            albedo = (1.0 - share) * albedo + share * wp.vec3(lip[0], lip[1], lip[2])
            cover = wp.clamp(beard * (0.35 + 1.0 * grain) * (1.0 - lips), 0.0, 0.92)
            albedo = (1.0 - cover) * albedo + cover * s.hair_colour[face]
        # Light that enters skin comes out nearby: red travels farthest, so it reaches farthest past the terminator.
        wrapped = wp.vec3(
            wp.max(cosine + 0.30, 0.0) / 1.30, wp.max(cosine + 0.12, 0.0) / 1.12, wp.max(cosine + 0.08, 0.0) / 1.08
        )
        bleed = wp.vec3(0.3 + 0.7 * ambient, ambient, ambient)
        light = wp.cw_mul(around, bleed) + wp.cw_mul(direct, wrapped)
        grazing = 1.0 - wp.clamp(wp.dot(normal, view), 0.0, 1.0)
        rim = grazing * grazing * grazing * grazing
        shine = 0.030 * specular(normal, view, key, 18.0) * wp.max(cosine, 0.0)
        reflected = wp.normalize(2.0 * wp.dot(normal, view) * normal - view)
        return (
            wp.cw_mul(albedo, light)
            + shine * direct
            + (0.018 + 0.12 * rim) * ambient * irradiance(s.sh, face, reflected)
        )
    if material == EYE:
        texture = texel(textures, s.eye_texture[face], uv[0], uv[1])
        albedo = wp.vec3(to_linear(texture[0]), to_linear(texture[1]), to_linear(texture[2]))
        light = around * ambient + direct * wp.max(cosine + 0.1, 0.0) / 1.1
        shine = 0.20 * specular(normal, view, key, 220.0) * wp.max(lit, 0.15)
        reflected = wp.normalize(2.0 * wp.dot(normal, view) * normal - view)
        return (
            wp.cw_mul(albedo, light) + shine * s.key_colour[face] + 0.03 * ambient * irradiance(s.sh, face, reflected)
        )
    if material == HAIR:
        texture = texel(textures, s.hair_texture[face], uv[0], uv[1])
        strand = 0.15 + 1.7 * to_linear(texture[0])
        albedo = s.hair_colour[face] * strand
        light = around * 0.8 + direct * wp.max(cosine + 0.25, 0.0) / 1.25
        shine = 0.05 * specular(normal, view, key, 12.0) * wp.max(cosine, 0.0) * strand
        return wp.cw_mul(albedo, light) + shine * direct
    # Brows and lashes
    albedo = s.hair_colour[face] * wp.where(material == BROW, 0.7, 0.25)
    return wp.cw_mul(albedo, around * ambient + direct * wp.max(cosine + 0.2, 0.0))


@wp.kernel
def resolve(
    nearest: wp.array3d(dtype=wp.uint64),
    vertices: wp.array2d(dtype=wp.vec3),
    normals: wp.array2d(dtype=wp.vec3),
    ambient: wp.array(dtype=float),
    lit: wp.array2d(dtype=float),
    regions: wp.array(dtype=wp.vec2),
    triangles: wp.array(dtype=wp.vec3i),
    uvs: wp.array2d(dtype=wp.vec2),
    materials: wp.array(dtype=wp.uint8),
    labels: wp.array(dtype=wp.uint8),
    lips: wp.array(dtype=wp.uint8),
    focal: wp.array(dtype=float),
    textures: wp.array4d(dtype=wp.uint8),
    s: Shading,
    background: wp.array4d(dtype=wp.uint8),
    samples: int,
    image: wp.array4d(dtype=wp.uint8),
    label_map: wp.array3d(dtype=wp.uint8),
):
    """Shade each pixel: once for each material that its samples hit, averaged by coverage in display space."""
    face, row, column = wp.tid()
    side = float(nearest.shape[1])
    behind = wp.vec3(
        float(background[face, row, column, 0]),
        float(background[face, row, column, 1]),
        float(background[face, row, column, 2]),
    )
    total = wp.vec3(0.0, 0.0, 0.0)
    colour = wp.vec3(0.0, 0.0, 0.0)
    last_material = int(-1)
    label = int(0)
    votes = int(0)
    brow = int(0)
    last_label = int(0)
    for dy in range(samples):
        for dx in range(samples):
            y = row * samples + dy
            x = column * samples + dx
            key = nearest[face, y, x]
            sample_label = int(0)
            if key == EMPTY:
                total += behind / 255.0
            else:
                t = int(key & wp.uint64(0xFFFFFFFF))
                material = int(materials[t])
                if material != last_material:
                    corner = triangles[t]
                    va = vertices[face, corner[0]]
                    vb = vertices[face, corner[1]]
                    vc = vertices[face, corner[2]]
                    w = barycentric(
                        project(va, focal[face], side),
                        project(vb, focal[face], side),
                        project(vc, focal[face], side),
                        float(x) + 0.5,
                        float(y) + 0.5,
                    )
                    uv = w[0] * uvs[t, 0] + w[1] * uvs[t, 1] + w[2] * uvs[t, 2]
                    normal = (
                        w[0] * normals[face, corner[0]]
                        + w[1] * normals[face, corner[1]]
                        + w[2] * normals[face, corner[2]]
                    )
                    open_share = w[0] * ambient[corner[0]] + w[1] * ambient[corner[1]] + w[2] * ambient[corner[2]]
                    visible = w[0] * lit[face, corner[0]] + w[1] * lit[face, corner[1]] + w[2] * lit[face, corner[2]]
                    last_label = int(labels[t])
                    lip_share = float(0.0)
                    beard = float(0.0)
                    grain = float(0.0)
                    if material == SKIN:
                        if lips[t] != labels[t]:
                            lip_share = texel(textures, s.lip_mask, uv[0], uv[1])[0]
                        region = w[0] * regions[corner[0]] + w[1] * regions[corner[1]] + w[2] * regions[corner[2]]
                        if last_label == FACE_LABEL:
                            if lip_share > 0.5:
                                last_label = int(lips[t])
                            elif region[0] > 0.0:
                                last_label = 0
                            elif region[1] > 0.0:
                                last_label = NOSE_LABEL
                        style = s.beard_style[face]
                        beard = (
                            w[0] * s.beard[style, corner[0]]
                            + w[1] * s.beard[style, corner[1]]
                            + w[2] * s.beard[style, corner[2]]
                        )
                        if beard > 0.0:
                            grain = wp.noise(wp.uint32(7), wp.vec2(uv[0] * 900.0, uv[1] * 900.0)) * 0.5 + 0.5
                    point = w[0] * va + w[1] * vb + w[2] * vc
                    light = s.exposure[face] * shade(
                        textures,
                        s,
                        face,
                        material,
                        uv,
                        point,
                        wp.normalize(normal),
                        open_share,
                        visible,
                        lip_share,
                        beard,
                        grain,
                    )
                    colour = wp.vec3(tone_map(light[0]), tone_map(light[1]), tone_map(light[2]))
                    last_material = material
                sample_label = last_label
                total += colour
                if material == BROW:
                    brow = int(labels[t])
            if votes == 0:
                label = sample_label
                votes = 1
            elif sample_label == label:
                votes += 1
            else:
                votes -= 1
    if brow > 0 and label != HAIR_LABEL:
        label = brow  # a brow is the region that its hairs span
    total = total * 255.0 / float(samples * samples)
    for k in range(3):
        image[face, row, column, k] = wp.uint8(int(wp.clamp(total[k] + 0.5, 0.0, 255.0)))
    label_map[face, row, column] = wp.uint8(label)
