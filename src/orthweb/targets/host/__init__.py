"""What all targets share that keep a site's state on this machine: its folder, users, rendered files, readiness."""
