//! The meter over real sockets.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_modbus::client::{Reader, tcp};
use tokio_modbus::{ExceptionCode, Slave};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::sim::heater::HeaterSim;
use crate::sim::noise::Noise;
use crate::sim::testing::{FastTime, Site, soon};

/// A meter whose broker is not there.
async fn alone(stop: &CancellationToken) -> SocketAddr {
    // Port 1 on loopback: nobody listens, connecting is refused at once.
    let meter = MeterSim::new("demo", "hall-meter", BrokerAddress::new("127.0.0.1", 1));
    let bound = meter.bind("127.0.0.1:0").await.unwrap();
    let address = bound.local_addr().unwrap();
    tokio::spawn(bound.run(FastTime::start(), stop.clone()));
    address
}

#[tokio::test]
async fn registers_are_served_without_a_broker() {
    let stop = CancellationToken::new();
    let address = alone(&stop).await;
    let mut master = tcp::connect_slave(address, Slave(1)).await.unwrap();
    let words = soon(master.read_input_registers(0, 10)).await.unwrap().unwrap();
    assert_eq!(words[0..2], [0, 0], "no heat");
    assert_eq!(words[4..8], [0x420c, 0, 0x420c, 0], "35 degC both ways");
    assert_eq!(soon(master.read_holding_registers(0, 10)).await.unwrap().unwrap(), words);
    assert_eq!(soon(master.read_input_registers(5, 10)).await.unwrap(), Err(ExceptionCode::IllegalDataAddress));
    assert_eq!(soon(master.read_coils(0, 1)).await.unwrap(), Err(ExceptionCode::IllegalFunction));
    stop.cancel();
}

#[tokio::test]
async fn an_address_in_use_is_an_error() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let meter = MeterSim::new("demo", "hall-meter", BrokerAddress::new("127.0.0.1", 1));
    assert!(meter.bind(taken.local_addr().unwrap()).await.is_err());
}

#[tokio::test]
async fn garbage_closes_its_connection_and_nothing_else() {
    let stop = CancellationToken::new();
    let address = alone(&stop).await;
    let mut witness = tcp::connect_slave(address, Slave(1)).await.unwrap();
    let mut noise = Noise::new(7);
    for round in 0..200 {
        let bytes: Vec<u8> = (0..round * 3).map(|_| noise.bits() as u8).collect();
        let mut stream = TcpStream::connect(address).await.unwrap();
        // The slave may close while we still write.
        let _ = stream.write_all(&bytes).await;
        let _ = stream.shutdown().await;
        let mut answers = Vec::new();
        let _ = soon(stream.read_to_end(&mut answers)).await;
        assert!(soon(witness.read_input_registers(8, 2)).await.unwrap().is_ok());
    }
    stop.cancel();
}

#[tokio::test]
async fn a_wrong_protocol_or_length_closes_the_connection() {
    let stop = CancellationToken::new();
    let address = alone(&stop).await;
    for header in [[0, 1, 0, 9, 0, 6, 1], [0, 1, 0, 0, 0xff, 0xff, 1], [0, 1, 0, 0, 0, 1, 1]] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(&header).await.unwrap();
        let mut answers = Vec::new();
        soon(stream.read_to_end(&mut answers)).await.unwrap();
        assert!(answers.is_empty());
    }
    stop.cancel();
}

#[tokio::test]
async fn more_connections_than_allowed_are_closed_and_the_first_go_on() {
    let stop = CancellationToken::new();
    let address = alone(&stop).await;
    let mut first = tcp::connect_slave(address, Slave(1)).await.unwrap();
    assert!(soon(first.read_input_registers(0, 1)).await.unwrap().is_ok());
    let mut others = Vec::new();
    for _ in 0..40 {
        others.push(TcpStream::connect(address).await.unwrap());
    }
    // The last one is beyond the limit: closed without a word.
    let mut answers = Vec::new();
    let _ = soon(others.last_mut().unwrap().read_to_end(&mut answers)).await;
    assert!(answers.is_empty());
    assert!(soon(first.read_input_registers(0, 1)).await.unwrap().is_ok());
    stop.cancel();
}

#[tokio::test]
async fn it_ends_when_stopped() {
    let stop = CancellationToken::new();
    let meter = MeterSim::new("demo", "hall-meter", BrokerAddress::new("127.0.0.1", 1));
    let bound = meter.bind("127.0.0.1:0").await.unwrap();
    let task = tokio::spawn(bound.run(FastTime::start(), stop.clone()));
    stop.cancel();
    soon(task).await.unwrap();
}

#[test]
fn only_telemetry_with_a_finite_power_is_heard() {
    let prefix = "heatgate/v1/demo/heaters/";
    let topic = "heatgate/v1/demo/heaters/rack-a/telemetry";
    assert_eq!(hear(prefix, topic, br#"{"power_w":1500,"x":[]}"#), Some(("rack-a", Watts::of(1500.0))));
    for bad in [&b""[..], b"{}", br#"{"power_w":null}"#, br#"{"power_w":1e999}"#, br#"{"power_w":"1"}"#, b"\xff"] {
        assert_eq!(hear(prefix, topic, bad), None);
    }
    assert_eq!(hear(prefix, "heatgate/v1/demo/heaters/rack-a/status", br#"{"power_w":1}"#), None);
}

#[tokio::test]
async fn what_a_heater_draws_arrives_as_heat() {
    let site = Site::start().await;
    let time = FastTime::start();
    let meter = MeterSim::new("demo", "hall-meter", site.address.clone()).bind("127.0.0.1:0").await.unwrap();
    let address = meter.local_addr().unwrap();
    tokio::spawn(meter.run(time.clone(), site.stop.clone()));
    let heater = HeaterSim::new("demo", "rack-a", site.address.clone());
    tokio::spawn(heater.run(time, site.stop.clone()));
    let mut master = tcp::connect_slave(address, Slave(1)).await.unwrap();
    soon(async {
        loop {
            let words = master.read_input_registers(0, 10).await.unwrap().unwrap();
            let kw = f32::from_bits(u32::from(words[0]) << 16 | u32::from(words[1]));
            let wh = u32::from(words[8]) << 16 | u32::from(words[9]);
            // Idle power of 7.5 kW becomes 6.6 kW, after some minutes.
            assert!(kw < 7.0, "{kw}");
            if kw > 3.0 && wh > 100 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}
