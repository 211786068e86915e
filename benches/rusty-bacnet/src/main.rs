//! The rusty-bacnet family's server with 100 analog inputs and as many analog values, at 127.0.0.1 and BACNET_IP_PORT.

use std::error::Error;
use std::net::Ipv4Addr;

use bacnet_objects::analog::{AnalogInputObject, AnalogValueObject};
use bacnet_objects::device_identity::{DeviceIdentity, build_database_with_extra};
use bacnet_objects::traits::BACnetObject;
use bacnet_server::server::BACnetServer;
use bacnet_transport::bip::BipTransport;
use bacnet_types::enums::EngineeringUnits;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let port: u16 = std::env::var("BACNET_IP_PORT")?.parse()?;
    let mut objects: Vec<Box<dyn BACnetObject>> = Vec::new();
    for n in 1..=100 {
        let mut input = AnalogInputObject::new(n, &format!("input {n}"), EngineeringUnits::DEGREES_CELSIUS)?;
        input.set_present_value(20.5);
        objects.push(Box::new(input));
        objects.push(Box::new(AnalogValueObject::new(n, &format!("value {n}"), EngineeringUnits::PERCENT)?));
    }
    let identity = DeviceIdentity::new(1001, 42)?;
    let database = build_database_with_extra(&identity, objects)?;
    let transport = BipTransport::new(Ipv4Addr::LOCALHOST, port, Ipv4Addr::new(127, 255, 255, 255));
    let _server =
        BACnetServer::generic_builder().device(identity).database(database).transport(transport).build().await?;
    tokio::signal::ctrl_c().await?;
    Ok(())
}
