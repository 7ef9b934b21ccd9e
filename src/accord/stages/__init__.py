"""The stages of a pipeline, one file each: `run(config, context)` reads artifacts, writes one."""
