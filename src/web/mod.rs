//! Health, metrics and the status page: a pure view of one image, and the server.
