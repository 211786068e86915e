//! Roles: what a point means to control and to the engine. The mapping binds them; a role that is not bound is absent.

use std::marker::PhantomData;

use crate::point::{Kind, PointId};
use crate::units::Quantity;

/// A list of roles.
pub trait Role: Copy + 'static {
    /// All of them, in order.
    const LIST: &'static [Self];

    /// Its place in the list.
    fn place(self) -> usize;
}

/// The points of one thing, by what they mean. Looked up at every step of control: one place for each role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roles<R> {
    points: Vec<Option<PointId>>,
    of: PhantomData<R>,
}

impl<R> Default for Roles<R> {
    fn default() -> Self {
        Self { points: Vec::new(), of: PhantomData }
    }
}

impl<R: Role> Roles<R> {
    /// The point that plays a role.
    #[inline]
    pub fn get(&self, role: R) -> Option<PointId> {
        self.points.get(role.place()).copied().flatten()
    }

    /// Bind a role; the point that played it before, if any.
    pub fn bind(&mut self, role: R, point: PointId) -> Option<PointId> {
        if self.points.len() < R::LIST.len() {
            self.points.resize(R::LIST.len(), None);
        }
        self.points.get_mut(role.place())?.replace(point)
    }

    /// All bindings.
    pub fn iter(&self) -> impl Iterator<Item = (R, PointId)> {
        R::LIST.iter().zip(&self.points).filter_map(|(role, point)| Some((*role, (*point)?)))
    }
}

macro_rules! roles {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal, $kind:ident, $quantity:ident;)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$vdoc])* $variant,)*
        }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The spelling used in mapping files.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// From the spelling used in mapping files.
            pub fn parse(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|role| role.as_str() == text)
            }

            /// What its point must hold.
            pub const fn kind(self) -> Kind {
                match self { $(Self::$variant => Kind::$kind,)* }
            }

            /// What its point's unit must measure.
            pub const fn quantity(self) -> Quantity {
                match self { $(Self::$variant => Quantity::$quantity,)* }
            }
        }

        impl Role for $name {
            const LIST: &'static [Self] = Self::ALL;

            #[inline]
            fn place(self) -> usize {
                self as usize
            }
        }
    };
}

roles! {
    /// What a zone's point means. Those up to `OtherPower` are given to control; the rest it gives.
    ZoneRole {
        /// Heat asked, percent of Qn.
        HeatRequestPercent = "heat_request_percent", Number, Share;
        /// Heat asked, power.
        HeatRequestPower = "heat_request_power", Number, Power;
        /// Supply temperature asked.
        SupplyTemperatureSetpoint = "supply_temperature_setpoint", Number, Temperature;
        /// Which request counts (1 off, 2 percent, 3 power, 4 temperature, 5 call).
        DemandMode = "demand_mode", State, Plain;
        /// Heating is allowed.
        Enable = "enable", Bool, Plain;
        /// 1 winter, 2 summer, 3 auto.
        Season = "season", State, Plain;
        /// Electrical limit from the BMS.
        ElectricalLimit = "electrical_limit", Number, Power;
        /// Electrical limit from a load control object.
        LoadControlLimit = "load_control_limit", Number, Power;
        /// Electrical limit over MQTT.
        RemoteLimit = "remote_limit", Number, Power;
        /// Must change within the BMS timeout once it was written.
        BmsHeartbeat = "bms_heartbeat", Unsigned, Plain;
        /// Without a sign of life for this long the BMS is lost.
        BmsTimeout = "bms_timeout", Number, Duration;
        /// Resets resettable faults, once.
        FaultReset = "fault_reset", Bool, Plain;
        /// Room temperature.
        RoomTemperature = "room_temperature", Number, Temperature;
        /// Outdoor temperature.
        OutdoorTemperature = "outdoor_temperature", Number, Temperature;
        /// Emergency stop input: active stops.
        EmergencyStop = "emergency_stop", Bool, Plain;
        /// Over-temperature input: active stops.
        OverTemperatureInput = "over_temperature_input", Bool, Plain;
        /// Heat that will be asked next, percent of Qn,
        NextRequestPercent = "next_request_percent", Number, Share;
        /// in so long from when it was said.
        NextRequestIn = "next_request_in", Number, Duration;
        /// Power that others draw under the same electrical limit.
        OtherPower = "other_power", Number, Power;
        /// State (1 init ... 10 manual).
        State = "state", State, Plain;
        /// 0 none.
        FaultCode = "fault_code", Unsigned, Plain;
        /// +1 each second.
        GatewayHeartbeat = "gateway_heartbeat", Unsigned, Plain;
        /// Whose request is followed.
        RequestSource = "request_source", State, Plain;
        /// Bit n = alarm n; bit 15 = values may be stale.
        Quality = "quality", Unsigned, Plain;
        /// Heat that could be asked now.
        HeatAvailable = "heat_available", Number, Power;
        /// Heat at the floor.
        HeatMinimum = "heat_minimum", Number, Power;
        /// Heat that the meter shows.
        HeatDelivered = "heat_delivered", Number, Power;
        /// Electrical power of the zone's heaters.
        ElectricalPower = "electrical_power", Number, Power;
        /// Sum of the caps as sent.
        PowerCommand = "power_command", Number, Power;
        /// Supply water.
        SupplyTemperature = "supply_temperature", Number, Temperature;
        /// Return water.
        ReturnTemperature = "return_temperature", Number, Temperature;
        /// Flow.
        Flow = "flow", Number, Flow;
        /// Heat asked and not delivered.
        HeatUndelivered = "heat_undelivered", Number, Power;
        /// Surplus heat.
        DumpPower = "dump_power", Number, Power;
        /// Total of heat, the ledger's.
        HeatEnergy = "heat_energy", Energy, Energy;
        /// Total of electrical energy, the ledger's.
        ElectricalEnergy = "electrical_energy", Energy, Energy;
        /// Alarm 0.
        AlarmBmsLost = "alarm_bms_lost", Bool, Plain;
        /// Alarm 1.
        AlarmControllerLost = "alarm_controller_lost", Bool, Plain;
        /// Alarm 2.
        AlarmMeterLost = "alarm_meter_lost", Bool, Plain;
        /// Alarm 3.
        AlarmOverTemperature = "alarm_over_temperature", Bool, Plain;
        /// Alarm 4.
        AlarmUndelivered = "alarm_undelivered", Bool, Plain;
        /// Alarm 5.
        AlarmNotFollowing = "alarm_not_following", Bool, Plain;
        /// Alarm 6.
        AlarmEmergencyStop = "alarm_emergency_stop", Bool, Plain;
        /// The backup boiler should come.
        BackupCall = "backup_call", Bool, Plain;
        /// Version of the BMS face.
        MapVersion = "map_version", Unsigned, Plain;
        /// Site-wide alarms as bits.
        SiteAlarms = "site_alarms", Unsigned, Plain;
        /// Efficiency believed.
        Efficiency = "efficiency", Number, Plain;
        /// Heat asked now by whoever is followed; absent when nobody is.
        HeatAsked = "heat_asked", Number, Power;
        /// Heat that did not come since the start: the heaters were short of jobs.
        UnmetNoJobs = "unmet_no_jobs", Number, Energy;
        /// A ceiling, or something missing, held it.
        UnmetCeiling = "unmet_ceiling", Number, Energy;
        /// A heater took no part.
        UnmetLostLink = "unmet_lost_link", Number, Energy;
        /// Stopped, or on fallback caps.
        UnmetFailsafe = "unmet_failsafe", Number, Energy;
        /// Less heat came of the power than believed.
        UnmetEfficiency = "unmet_efficiency", Number, Energy;
    }
}

roles! {
    /// What a heater's point means. All come from its controller but `Link` and `Cap`.
    HeaterRole {
        /// Electrical power drawn.
        Power = "power", Number, Power;
        /// Least power it can be held to now.
        Min = "min", Number, Power;
        /// Most power it can draw now.
        Max = "max", Number, Power;
        /// Power that its jobs would draw without a cap.
        Jobs = "jobs", Number, Power;
        /// Inlet temperature.
        Inlet = "inlet", Number, Temperature;
        /// Outlet temperature.
        Outlet = "outlet", Number, Temperature;
        /// Its counter of electrical energy.
        EnergyCounter = "energy_counter", Energy, Energy;
        /// 1 ready, 2 starting, 3 local, 4 fault, 5 off.
        State = "state", State, Plain;
        /// Cap that it applies.
        Applied = "applied", Number, Power;
        /// Sequence of the last command it acknowledged, of this boot.
        AckSeq = "ack_seq", Unsigned, Plain;
        /// 1 accepted, 2 clamped, 3 rejected.
        AckResult = "ack_result", State, Plain;
        /// Its retained status: online.
        Online = "online", Bool, Plain;
        /// Cap as sent; the engine's.
        Cap = "cap", Number, Power;
        /// Total of electrical energy, the ledger's.
        Total = "total", Energy, Energy;
    }
}

roles! {
    /// What a meter's point means. All come from the device but `Total`.
    MeterRole {
        /// The register that counts heat.
        EnergyCounter = "energy_counter", Energy, Energy;
        /// Heat.
        Power = "power", Number, Power;
        /// Flow.
        Flow = "flow", Number, Flow;
        /// Supply temperature.
        Supply = "supply", Number, Temperature;
        /// Return temperature.
        Return = "return", Number, Temperature;
        /// Total of heat, the ledger's: never decreases.
        Total = "total", Energy, Energy;
    }
}

roles! {
    /// What the site's own points mean; all are the engine's.
    SiteRole {
        /// The broker is connected.
        BrokerLink = "broker_link", Bool, Plain;
        /// Seconds since the ledger was last made durable.
        DurabilityAge = "durability_age", Number, Duration;
        /// Bit 0: the store cannot be written. Bit 1: the ledger started a new epoch.
        SiteAlarms = "site_alarms", Unsigned, Plain;
    }
}
