//! Two recorders of one source through everything that can happen to them: crashes at any statement, a database
//! and a network that come and go, disks that fill, clocks that are set, leases that run out; and after it all
//! the ledger holds every visit, as it was served.
//!
//! A run is a list of [`Op`]s drawn from a seed, executed one after another against PostgreSQL, through the real
//! cycle, keeper, spool and recorder. Only the cloud is not real: a visitor reads a small fleet in memory and
//! remembers what it gave out. Each visit is told from every other by how long it took, to the microsecond.
//!
//! # Deterministic
//!
//! The ops of a seed; the fleet at each moment; what a visit reads; the clocks; at which statement a connection
//! breaks.
//!
//! # Failures
//!
//! 1. A snapshot in the ledger, in the history or late, is not exactly what was served; or was never served.
//! 2. A visit whose cycle came to its end is in no place: neither in the ledger nor waiting.
//! 3. In the history an instant or a tick comes twice, or not in the order of the chain.
//! 4. Any view answers anything but what the definitions say of the snapshots in the history; so a desktop is
//!    absent only where a complete listing lacks it.
//! 5. `verify` finds something wrong.
//! 6. A snapshot does not say why visits before it were not made, or that the clock was set; or says so untruly.
//! 7. Whoever records does not lead, or one stands by though nobody else leads.
//! 8. A snapshot is late though its own recorder alone is to blame, and its clock was never set back.
//! 9. Something waits still after all is well again.
//!
//! # Not failures
//!
//! - A state that lived and died between two visits.
//! - A tick without a visit while another one leads, the clock is behind, or nothing could be kept.
//! - A visit that a killed process had in hand, and one that found no place on a full disk until the process ended.
//! - A killed process has forgotten what the next snapshot was to say.
//! - A snapshot that is late because another recorder was before it; one that waits though the ledger has it: it is recognised.
//! - The marker of a dropped visit as a late entry beside the visit itself, which the ledger had after all.
//!
//! # Known nondeterminism
//!
//! Salts and digests; where exactly two recorders that run at once interleave; how far a task has come when its
//! process is killed from outside.
//!
//! # Running it
//!
//! `DESKLEDGER_SIMULATION_RUNS=3000 DESKLEDGER_SIMULATION_SEED=1 cargo test --test it simulation`. A failure prints its
//! seed, drops every op that is not needed for it, and prints the rest, to be pasted into `regressions.rs`.

mod fleet;
mod invariants;
mod line;
mod op;
mod regressions;
mod run;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use op::Op;
use run::{Run, Tally};

use crate::support::number;

/// How many ops a run has.
const OPS: usize = 40;

/// What is held back for longer stays so for ever: PostgreSQL ends the transaction of a silent recorder after 30 s.
const LONGEST_OP: Duration = Duration::from_secs(60);

/// Executes ops; says what went wrong.
fn execute(seed: u64, ops: &[Op]) -> Result<Tally, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let ran = catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(async {
            let mut run = Run::new(seed).await;
            for (nth, op) in ops.iter().enumerate() {
                let step = tokio::time::timeout(LONGEST_OP, run.step(op)).await;
                step.unwrap_or_else(|_| Err("hangs".to_owned()))
                    .map_err(|wrong| format!("at op {nth}, {op:?}: {wrong}"))?;
            }
            run.end().await.map_err(|wrong| format!("in the end: {wrong}"))?;
            Ok(std::mem::take(&mut run.tally))
        })
    }));
    ran.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("?");
        Err(format!("panicked: {text}"))
    })
}

/// Drops every op without which it fails as well.
fn shrink(seed: u64, mut ops: Vec<Op>) -> Vec<Op> {
    loop {
        let before = ops.len();
        let mut at = ops.len();
        while at > 0 {
            at -= 1;
            let mut fewer = ops.clone();
            fewer.remove(at);
            if execute(seed, &fewer).is_err() {
                ops = fewer;
            }
        }
        if ops.len() == before {
            return ops;
        }
    }
}

/// Runs seeds from `first` on.
fn simulate(first: u64, runs: u64) {
    let started = Instant::now();
    let mut tally = Tally::new();
    for seed in first..first + runs {
        let ops = op::draw(seed, OPS);
        let wrong = match execute(seed, &ops) {
            Ok(run) => {
                run.into_iter().for_each(|(what, times)| *tally.entry(what).or_default() += times);
                continue;
            }
            Err(wrong) => wrong,
        };
        eprintln!("seed {seed}: {wrong}");
        let few = shrink(seed, ops);
        let again = execute(seed, &few).err().unwrap_or_else(|| "not each time".to_owned());
        panic!("seed {seed}: {wrong}\nshrunk: {again}\n    check({seed}, &{few:#?});");
    }
    println!("{runs} runs from seed {first} on, {:.1?}: {tally:?}", started.elapsed());
}

/// The gate's runs in two halves, side by side; more runs are made by the first.
#[test]
fn nothing_is_lost_or_made_up_whatever_happens() {
    simulate(number("DESKLEDGER_SIMULATION_SEED", 1), number("DESKLEDGER_SIMULATION_RUNS", 10));
}

#[test]
fn nothing_is_lost_or_made_up_whatever_else_happens() {
    simulate(1_000_001, 15);
}
