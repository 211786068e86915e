//! BACnet/IP: a pure half (objects, properties of one image) and an I/O half (one UDP port, server and client).
