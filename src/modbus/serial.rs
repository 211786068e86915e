//! Opening a serial port. The vendor's types end here: what comes out is a stream of bytes.

use std::io;

use tokio_serial::{DataBits, FlowControl, SerialPortBuilderExt as _, SerialStream, StopBits};

use crate::plant::{Parity, SerialLine};

/// Open the port for one owner. The error names what the system said; the port may come back later.
pub(super) fn open(line: &SerialLine) -> io::Result<SerialStream> {
    let parity = match line.parity {
        Parity::None => tokio_serial::Parity::None,
        Parity::Even => tokio_serial::Parity::Even,
        Parity::Odd => tokio_serial::Parity::Odd,
    };
    tokio_serial::new(line.path.as_str(), line.baud)
        .data_bits(DataBits::Eight)
        .parity(parity)
        .stop_bits(if line.stop_bits == 2 { StopBits::Two } else { StopBits::One })
        .flow_control(FlowControl::None)
        .open_native_async()
        .map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_that_is_not_there_is_an_error_with_a_cause() {
        let error = open(&SerialLine::new("/dev/there-is-no-such-port")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
