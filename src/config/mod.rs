//! This box: the gateway's own settings, layered (defaults, file, environment). Pure over file contents.
