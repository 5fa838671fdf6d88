"""Stage `synth`."""
