//! The data-center controllers' side: topics and payloads (pure), the client (I/O).
