"""How surfaces send light back: irradiance, microfacets, reflections, tone mapping."""

# pyright: basic, reportGeneralTypeIssues=false, reportInvalidTypeForm=false, reportArgumentType=false, reportCallIssue=false
# pyright: reportOperatorIssue=false, reportIndexIssue=false, reportAttributeAccessIssue=false, reportReturnType=false
# pyright: reportAssignmentType=false, reportOptionalMemberAccess=false, reportOptionalOperand=false

import warp as wp

from engine.kernels.common import OPTIONS

wp.set_module_options(OPTIONS)


@wp.struct
class LightBatch:
    """Per face [B]: what falls on it, in view space and linear RGB, scaled so that white facing the camera sends back
    about 1."""

    sh: wp.array2d(dtype=wp.vec3)  # [B, 9] irradiance/π of all but the key light
    direction: wp.array(dtype=wp.vec3)  # towards the key light
    colour: wp.array(dtype=wp.vec3)  # irradiance/π of the key light on a surface that faces it
    environment: wp.array3d(dtype=wp.vec3)  # [B, h, 2h] radiance by direction, the middle column behind the head
    exposure: wp.array(dtype=float)


@wp.func
def irradiance(light: LightBatch, face: int, n: wp.vec3) -> wp.vec3:
    """Diffuse light from the surroundings (Ramamoorthi and Hanrahan 2001), coefficients already convolved."""
    total = light.sh[face, 0] + light.sh[face, 1] * n[1] + light.sh[face, 2] * n[2] + light.sh[face, 3] * n[0]
    total += light.sh[face, 4] * (n[0] * n[1]) + light.sh[face, 5] * (n[1] * n[2])
    total += light.sh[face, 6] * (3.0 * n[2] * n[2] - 1.0) + light.sh[face, 7] * (n[0] * n[2])
    total += light.sh[face, 8] * (n[0] * n[0] - n[1] * n[1])
    return wp.max(total, wp.vec3(0.0, 0.0, 0.0))


@wp.func
def reflection(light: LightBatch, face: int, d: wp.vec3) -> wp.vec3:
    """Radiance from direction d, bilinear in the environment map."""
    height = light.environment.shape[1]
    width = light.environment.shape[2]
    x = (wp.atan2(d[0], -d[2]) * 0.15915494 + 0.5) * float(width) - 0.5
    y = wp.acos(wp.clamp(d[1], -1.0, 1.0)) * 0.31830989 * float(height) - 0.5
    column = int(wp.floor(x))
    row = int(wp.floor(y))
    fx = x - float(column)
    fy = y - float(row)
    left = (column + width) % width
    right = (column + 1 + width) % width
    top = wp.clamp(row, 0, height - 1)
    bottom = wp.clamp(row + 1, 0, height - 1)
    above = (1.0 - fx) * light.environment[face, top, left] + fx * light.environment[face, top, right]
    below = (1.0 - fx) * light.environment[face, bottom, left] + fx * light.environment[face, bottom, right]
    return (1.0 - fy) * above + fy * below


@wp.func
def fresnel(f0: float, cosine: float) -> float:
    """Schlick 1994."""
    rest = 1.0 - wp.clamp(cosine, 0.0, 1.0)
    return f0 + (1.0 - f0) * rest * rest * rest * rest * rest


@wp.func
def microfacets(normal: wp.vec3, view: wp.vec3, towards: wp.vec3, roughness: float, f0: float) -> float:
    """Specular reflection of a light with irradiance π: GGX (Walter et al. 2007) with the visibility of Kelemen and
    Szirmay-Kalos 2001."""
    cosine = wp.dot(normal, towards)
    if cosine <= 0.0:
        return 0.0
    half = wp.normalize(view + towards)
    spread = roughness * roughness * roughness * roughness
    facing = wp.max(wp.dot(normal, half), 0.0)
    slope = facing * facing * (spread - 1.0) + 1.0
    across = wp.max(wp.dot(towards, half), 0.05)
    return spread / (slope * slope) * fresnel(f0, across) * cosine / (4.0 * across * across)


@wp.func
def strand_gloss(tangent: wp.vec3, view: wp.vec3, towards: wp.vec3) -> float:
    """Highlight of a thin cylinder along the tangent (Kajiya and Kay 1989): sin¹⁶ of its angle to the half vector."""
    along = wp.dot(tangent, wp.normalize(view + towards))
    sine = wp.max(1.0 - along * along, 0.0)
    sine = sine * sine
    sine = sine * sine
    return sine * sine


@wp.func
def tone_map(value: float) -> float:
    """Linear light to display with a soft shoulder, so that highlights do not clip to white at once."""
    over = wp.max(value - 0.6, 0.0) * 2.5
    soft = wp.where(value < 0.6, wp.max(value, 0.0), 0.6 + 0.4 * over / (1.0 + over))
    return wp.sqrt(soft)
