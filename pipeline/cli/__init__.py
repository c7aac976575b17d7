"""The command line of jobs: parser, commands, progress, summary, template metadata."""
