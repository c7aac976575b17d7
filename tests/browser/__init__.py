"""Pages as a browser shows them: a real Chromium without a window. These run by name, see .ci/run."""
