//! Webhooks: who is told what of a recorder's night, once each, whatever becomes of the recorder, the receiver and the
//! database.

mod command;
mod facts;
mod receiver;
mod trouble;

use chrono::{DateTime, TimeDelta, Utc};
use deskledger::simulator::{
    Fault, MassDisconnect, On, Rule, ServerConfig, Simulator, Step, WorldConfig,
};

const PROJECT: &str = "0bec5db98280d2d02fd6c00c2de791ce";
const SECRET: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX";

/// A fleet at work, ten in the morning, that moves by five minutes a visit.
async fn simulator(disconnect_after: Option<TimeDelta>) -> Simulator {
    let start: DateTime<Utc> = "2026-10-07T02:00:00Z".parse().unwrap();
    let mut world = WorldConfig::new(5, 100, start, 30);
    let share = |after| MassDisconnect { at: start + after, share: 0.9 };
    world.mass_disconnects.extend(disconnect_after.map(share));
    let mut config = ServerConfig::new(world, PROJECT);
    config.step = Step::ByVisit(TimeDelta::minutes(5));
    config.token = Some("token".into());
    Simulator::start(config).await.unwrap()
}

/// Its listings fail, at once and for good, until told otherwise.
fn fail(simulator: &Simulator) {
    simulator.set_faults(vec![Rule::new(Fault::Status(404)).on(On::Listing)]);
}

fn recover(simulator: &Simulator) {
    simulator.set_faults(Vec::new());
}

/// A source that is visited each second; four without a listing are a gap.
fn source(name: &str, simulator: &Simulator) -> String {
    source_at(name, &simulator.endpoint().to_string())
}

fn source_at(name: &str, endpoint: &str) -> String {
    format!(
        "[[source]]\nname = \"{name}\"\nproject_id = \"{PROJECT}\"\nendpoint = \"{endpoint}\"\npage_size = 1000\n\
         interval = \"1s\"\nmax_gap = \"4s\"\nauth = {{ token = \"token\" }}\n\n"
    )
}

fn webhook(name: &str, url: &str, more: &str) -> String {
    format!(
        "[[webhook]]\nname = \"{name}\"\nurl = \"{url}\"\nsecret = \"{SECRET}\"\nfailing_after = 2\n\
         disconnect_share = 50\n{more}\n"
    )
}

/// The four events of a source that was away for a while, in their order.
const OUTAGE: [&str; 4] = ["source.failing", "gap.opened", "source.recovered", "gap.closed"];
