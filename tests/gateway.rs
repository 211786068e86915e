//! A whole gateway from the library, on ephemeral ports, asked over a real socket by an independent Modbus client.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use heatgate::config::{self, Config};
use heatgate::gateway::clock::SystemClock;
use heatgate::gateway::{Gateway, Setup, StartError};
use heatgate::mapping::{BuiltinFiles, compile};
use tokio_modbus::prelude::*;

fn configuration(state: &Path) -> Config {
    let any = "127.0.0.1:0".to_owned();
    let settings = [
        ("HEATGATE__MODBUS__LISTEN", any.clone()),
        ("HEATGATE__BACNET__LISTEN", any.clone()),
        ("HEATGATE__HTTP__LISTEN", any),
        // Nobody listens there: a broker that is away.
        ("HEATGATE__MQTT__URL", "mqtt://127.0.0.1:9".to_owned()),
        ("HEATGATE__STATE_DIR", state.display().to_string()),
    ];
    let settings: Vec<(String, String)> = settings.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    config::load(Some(&config::builtin_demo()), &settings).unwrap_or_else(|findings| panic!("{findings:?}")).0
}

fn setup(config: Config) -> Setup {
    let plant = compile("demo.toml", &BuiltinFiles).plant.unwrap();
    Setup {
        config,
        plant: Arc::new(plant),
        time: Arc::new(SystemClock::new(1.0).unwrap()),
        liveness: 1.0,
        bms_liveness: 1.0,
        outside: BTreeSet::new(),
        observe: false,
    }
}

/// A bound on anything that is waited for.
async fn within<T>(task: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), task).await.expect("in time")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_is_read_back_at_once_and_a_refused_one_changes_nothing() {
    let state = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(setup(configuration(state.path()))).await.unwrap();
    let at = gateway.addresses().clone();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(gateway.run_until(async {
        let _ = stopped.await;
    }));

    let mut master = within(tcp::connect_slave(at.modbus, Slave(1))).await.unwrap();
    for percent in [500u16, 0, 1000, 123] {
        within(master.write_multiple_registers(0, &[percent])).await.unwrap().unwrap();
        assert_eq!(within(master.read_holding_registers(0, 1)).await.unwrap().unwrap(), [percent]);
    }
    let before = within(master.read_holding_registers(0, 100)).await.unwrap().unwrap();
    let refused = within(master.write_multiple_registers(0, &[200, 200, 300, 9])).await.unwrap();
    assert_eq!(refused, Err(ExceptionCode::IllegalDataValue), "demand_mode 9 does not exist");
    assert_eq!(within(master.read_holding_registers(0, 100)).await.unwrap().unwrap(), before);
    assert_eq!(
        within(master.write_single_register(50, 1)).await.unwrap(),
        Err(ExceptionCode::IllegalDataAddress),
        "nothing stands at 50"
    );

    // The broker is away: nothing is invented, and the rest serves.
    let words = within(master.read_input_registers(0, 100)).await.unwrap().unwrap();
    assert_eq!(words[5], 1, "map version");
    assert_ne!(words[4] & 0x8000, 0, "measured values are marked as not fresh");

    stop.send(()).unwrap();
    within(running).await.unwrap().unwrap();
    assert!(within(tcp::connect_slave(at.modbus, Slave(1))).await.is_err(), "it has gone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_in_use_is_named_with_the_option_that_moves_it() {
    let taken = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let taken_at = taken.local_addr().unwrap();
    for (part, option) in [("modbus", "modbus.listen"), ("http", "http.listen")] {
        let state = tempfile::tempdir().unwrap();
        let mut config = configuration(state.path());
        match part {
            "modbus" => config.modbus.listen = taken_at,
            _ => config.http.listen = taken_at,
        }
        let Err(error) = Gateway::start(setup(config)).await else { panic!("{part} started on a taken port") };
        let text = error.to_string();
        assert!(text.contains(&taken_at.to_string()) && text.contains(option), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_gateways_do_not_share_a_state_directory() {
    let state = tempfile::tempdir().unwrap();
    let first = Gateway::start(setup(configuration(state.path()))).await.unwrap();
    let second = Gateway::start(setup(configuration(state.path()))).await;
    let Err(StartError::State { why, .. }) = second else { panic!("the second one started") };
    assert!(why.contains("another gateway"), "{why}");
    within(first.run_until(async {})).await.unwrap();
    let third = Gateway::start(setup(configuration(state.path()))).await.unwrap();
    within(third.run_until(async {})).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_page_answers_on_both_of_its_sockets() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let state = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(setup(configuration(state.path()))).await.unwrap();
    let at = gateway.addresses().clone();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(gateway.run_until(async {
        let _ = stopped.await;
    }));
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let http: SocketAddr = at.http;
    for path in ["/", "/healthz", "/readyz", "/metrics", "/api/v1/points", "/api/v1/decision"] {
        let mut stream = tokio::net::TcpStream::connect(http).await.unwrap();
        stream.write_all(get(path).as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        within(stream.read_to_end(&mut answer)).await.unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{path}: {}", String::from_utf8_lossy(&answer));
    }
    let mut local = tokio::net::UnixStream::connect(&at.local).await.unwrap();
    local
        .write_all(b"POST /local/rearm/attic HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    within(local.read_to_end(&mut answer)).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 404"), "{}", String::from_utf8_lossy(&answer));
    stop.send(()).unwrap();
    within(running).await.unwrap().unwrap();
    assert!(!at.local.exists(), "the socket is removed");
}
