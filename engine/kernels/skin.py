"""Each face's own skin texture: tone, sex and age blended, then painted with lips, make-up and beard."""

# pyright: basic, reportGeneralTypeIssues=false, reportInvalidTypeForm=false, reportArgumentType=false, reportCallIssue=false
# pyright: reportOperatorIssue=false, reportIndexIssue=false, reportAttributeAccessIssue=false, reportReturnType=false
# pyright: reportAssignmentType=false, reportOptionalMemberAccess=false, reportOptionalOperand=false

import warp as wp

from engine.kernels.common import OPTIONS, as_vec4, vec4ub

wp.set_module_options(OPTIONS)


@wp.struct
class Skin:
    """Per face [B]: what its skin is made of."""

    tone: wp.array(dtype=int)
    sex: wp.array(dtype=float)  # 0 female, 1 male
    age: wp.array(dtype=float)  # 0 young, ½ middle-aged, 1 old
    tint: wp.array(dtype=wp.vec3)  # what multiplies its display RGB
    mask: wp.array2d(dtype=int)  # [B, P] which mask each layer of paint goes through, −1 for none
    paint: wp.array2d(dtype=wp.vec4)  # [B, P] display RGB and opacity, [0, 255] and [0, 1]


@wp.kernel
def paint_skin(
    used: wp.array(dtype=int),
    textures: wp.array3d(dtype=vec4ub),
    masks: wp.array2d(dtype=wp.uint8),
    skin: Skin,
    run: int,
    painted: wp.array2d(dtype=vec4ub),
):
    """Blend the textures [tones, side², 6] of both sexes at the two nearest of three ages and paint over them.

    `used` lists the texels that the head shows, of which a thread paints `run`. Writes sRGB and height [B, side²].
    """
    face, strip = wp.tid()
    place = wp.clamp(skin.age[face], 0.0, 1.0) * 2.0
    younger = wp.min(int(place), 1)
    older_share = place - float(younger)
    male = skin.sex[face]
    tone = skin.tone[face]
    tint = skin.tint[face]
    for number in range(strip * run, wp.min(strip * run + run, used.shape[0])):
        at = used[number]
        colour = wp.vec4(0.0, 0.0, 0.0, 0.0)
        for sex in range(2):
            share = wp.where(sex == 0, 1.0 - male, male)
            if share > 0.004:  # less does not change a byte
                young = as_vec4(textures[tone, at, younger + 3 * sex])
                colour += share * (young + older_share * (as_vec4(textures[tone, at, younger + 3 * sex + 1]) - young))
        colour = wp.vec4(
            wp.min(tint[0] * colour[0], 255.0),
            wp.min(tint[1] * colour[1], 255.0),
            wp.min(tint[2] * colour[2], 255.0),
            colour[3],
        )
        for layer in range(skin.mask.shape[1]):
            mask = skin.mask[face, layer]
            if mask >= 0:
                share = float(masks[mask, at]) * (1.0 / 255.0)
                if share > 0.0:
                    paint = skin.paint[face, layer]
                    share *= paint[3]
                    colour += share * wp.vec4(paint[0] - colour[0], paint[1] - colour[1], paint[2] - colour[2], 0.0)
        painted[face, at] = vec4ub(
            wp.uint8(int(colour[0] + 0.5)),
            wp.uint8(int(colour[1] + 0.5)),
            wp.uint8(int(colour[2] + 0.5)),
            wp.uint8(int(colour[3] + 0.5)),
        )
