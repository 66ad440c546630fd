"""The embedded game engine: parameter schema, head mesh, renderer; the door for a studio's own character."""
