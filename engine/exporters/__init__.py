"""A character as files that other programs open: glTF 2.0 (`glb`), Wavefront (`obj`) and MakeHuman (`mhm`)."""
