"""Where steps run, and what each asks for."""
