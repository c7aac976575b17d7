"""The wiring to Beam: launching, runners, the functions of the pipeline's steps, errors of workers."""
