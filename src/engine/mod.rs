//! The single owner of the image.
