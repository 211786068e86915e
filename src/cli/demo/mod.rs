//! `heatgate demo`: a whole site on this machine.

mod account;
mod args;
mod report;
mod site;

pub use args::Args;

use std::sync::Arc;
use std::time::Duration;

use self::account::{Account, Look};
use self::report::Report;
use super::{EXIT_FAILED, EXIT_USAGE, complain, runtime, told_to_stop};
use crate::gateway::clock::SystemClock;
use crate::telemetry;

/// The simulated heaters, as the demonstration's mapping names them.
const HEATERS: [&str; 2] = ["rack-a", "rack-b"];

/// Run it.
pub fn run(args: &Args) -> u8 {
    telemetry::start("heatgate=warn", false);
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(format_args!("heatgate: {error}"));
            return EXIT_FAILED;
        }
    };
    let code = runtime.block_on(demonstrate(args));
    runtime.shutdown_timeout(Duration::from_secs(2));
    code
}

async fn demonstrate(args: &Args) -> u8 {
    let time = match SystemClock::new(args.speed()) {
        Ok(clock) => Arc::new(clock),
        Err(error) => {
            complain(format_args!("heatgate: {error}"));
            return EXIT_USAGE;
        }
    };
    let site = match site::start(args, &time).await {
        Ok(site) => site,
        Err(error) => {
            complain(format_args!("heatgate: {error}"));
            return if matches!(error, site::DemoError::Files) { EXIT_USAGE } else { EXIT_FAILED };
        }
    };
    let report = Report { json: args.json };
    report.addresses(&site);

    let ended = async {
        match args.for_ {
            Some(duration) => tokio::time::sleep(duration).await,
            None => std::future::pending().await,
        }
    };
    let restart = site.gateway.restart_asked().clone();
    let stop = async {
        tokio::select! {
            () = ended => {}
            () = told_to_stop() => {}
            () = restart.cancelled() => complain("heatgate: a restart was asked for over BACnet: the demonstration ends"),
        }
    };
    let (plant, views) = (Arc::clone(&site.plant), site.gateway.views().clone());
    let (finished, mut finishing) = tokio::sync::oneshot::channel::<()>();
    let watcher = tokio::spawn(async move {
        let (mut image, decision) = (views.image, views.decision);
        let mut account = Account::default();
        let mut minute = 0;
        loop {
            tokio::select! {
                _ = &mut finishing => break,
                changed = image.changed() => if changed.is_err() { break },
            }
            let now = Arc::clone(&image.borrow_and_update());
            let look = Look::at(&plant, &now, &decision.borrow());
            account.look(&plant, &now, &look);
            let passed = now.now.mono.since(crate::time::Mono::START).as_secs() / 60;
            if passed > minute {
                minute = passed;
                report.minute(minute, &look);
            }
        }
        let believed = decision.borrow().zones.first().map_or(0.0, |zone| zone.eta);
        (account, views.metrics.commands_so_far(), believed)
    });

    let mut parts = site.parts;
    let result = site
        .gateway
        .run_until(async {
            stop.await;
            // The account ends with the last thing that was asked, before everything is released.
            let _ = finished.send(());
            parts.stop_asking().await;
        })
        .await;
    let account = watcher.await;
    parts.stop().await;
    if let Ok((account, commands, believed)) = account {
        report.summary(&account, commands, believed);
    }
    match result {
        Ok(()) => 0,
        Err(error) => {
            complain(format_args!("heatgate: {error}"));
            EXIT_FAILED
        }
    }
}
