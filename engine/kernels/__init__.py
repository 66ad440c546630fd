"""The renderer's Warp kernels, in the order they run: the same code on CPU and CUDA.

`pose` bends the mesh and puts it before the camera, `visibility` finds what each sample of the picture and of the
shadow map sees, `skin` paints each face's own skin texture, `shade` gives the pixels their colours and labels.

Shapes: B faces, V vertices, T triangles, N triangles or vertices drawn a face, H×W pixels, S samples a pixel and side,
R texels of the shadow map's side. View space has the camera at the origin looking along −Z, X to the image's right,
Y up, metres; screen space holds the position in samples and the inverse distance.
"""
