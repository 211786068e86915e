//! Modbus both ways: a pure half (registers, read plan) and an I/O half (client, server).
