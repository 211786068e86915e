//! The simulated site: plant model, heaters, meter, BMS, and a loopback broker. For the demo and the tests.
