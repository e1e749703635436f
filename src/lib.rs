//! deskledger remembers who was connected to which Huawei Cloud Workspace desktop, and never claims what it
//! did not see. This page is the map of the house.
//!
//! # The way of the data
//!
//! ```text
//!  Workspace API ──HTTP──▶ workspace::Client ──┐
//!  simulated fleet (straight, in the demo) ────┼─▶ domain::Snapshot ─▶ domain::Beliefs ─▶ store::Recorder ─▶ PostgreSQL
//!  exchange file (import) ─────────────────────┤     (the same value     (what changed)     (one transaction)      │
//!  spool, after the database was away ─────────┘      from everywhere)                                      views, SQL
//!                                                                                                                  │
//!                             people ◀── report::render ◀── report::run ◀── queries/*.sql ◀────────────────────────┘
//! ```
//!
//! One way in, one way through, one way out. Whoever makes a [`domain::Snapshot`], from there on nobody
//! knows the difference; that is what makes import, demo, replay and tests cheap.
//!
//! # Rooms
//!
//! | room | what lives there | may call |
//! |---|---|---|
//! | [`domain`] | desktops, snapshots, what a snapshot changes, digests, whether stored rows are right; pure | – |
//! | [`workspace`] | the API's client: authentication, pace, paging, completeness, retries, regions | domain, clock |
//! | [`exchange`] | one snapshot a line: reading, writing, compression | domain |
//! | [`store`] | PostgreSQL: private server, migrations, recording, reading back, packing, erasing persons, verifying | domain, home |
//! | [`retention`] | archives of months that are old enough, pruning, bringing back | domain, exchange, store |
//! | [`seal`] | signed statements of where the chains stand | domain |
//! | [`collector`] | ticks, the cycle that visits and keeps, the spool | domain, exchange, workspace, store, clock, config |
//! | [`metrics`] | a recorder as it is seen from outside: figures for Prometheus, whether it lives and is ready | domain, clock, collector, notify, workspace, serve |
//! | [`notify`] | webhooks: what is told of recording to whom, signed, kept until it is taken | domain, clock, config, error, collector, store |
//! | [`report`] | the catalogue of `queries/`, parameters, running, rendering | – |
//! | [`simulator`] | a fleet from a seed, and the API over it | domain, clock |
//! | [`config`] | flags, environment and file, checked | domain, home |
//! | [`home`] | the folder that deskledger keeps its own things in | – |
//! | [`cli`] | the commands: wires rooms together | all |
//!
//! `workspace` and `store` do not know each other, nothing points to `cli`, and a test holds the arrows.
//!
//! # One cycle, from tick to commit
//!
//! 1. [`collector::Ticker`] looks once a second which source is due and puts a tick into that source's
//!    queue of one. A tick that does not fit, or that comes late, is skipped and counted.
//! 2. The source's loop takes it: [`collector::Cycle`] sees to it that this recorder leads, and that the clock
//!    is right; [`collector::take`] notes the time, has the client read both calls, and makes a snapshot of whatever
//!    came, also of nothing.
//! 3. [`collector::Keeper`] hands it to the ledger, after what waits in the [`collector::spool`]; if the ledger does
//!    not answer in time, the snapshot goes to the spool itself.
//! 4. [`domain::Beliefs::observe`] compares it with what is believed: which spans begin, go on, end, and
//!    how surely. It is the one place that decides history.
//! 5. [`store::Recorder`] writes the changes in one transaction, which first moves the source's head from
//!    the entry that the beliefs were built on, under the lease that it holds. If someone else has moved it, nothing is
//!    written and the beliefs are read back; if someone else leads, what it has is kept as a late entry.
//! 6. After a month is over, what is still open is cut at its end, in transactions of its own.
//!    From then on the month can be packed: [`store::Store::pack`], by the recorder's housekeeping or `deskledger compact`.
//!    Whoever reads filed spans reads them through the view `filed`, which unpacks them; who needs no more than sums over
//!    whole months finds them beside. Only checking unpacks by itself, by [`domain::packed`], and holds the view against it.
//!    When it is old enough it is archived, told again from its archive, and pruned: [`retention`].
//!
//! # What never breaks
//!
//! 1. For each snapshot, the view `desktop_snapshots` equals what the API returned.
//! 2. Nothing is claimed that was not observed: connected, not connected and not observed are three things.
//! 3. A transaction holds whole snapshots.
//! 4. Recording is idempotent by (source, `observed_at`), and one tick is recorded once. What was fetched is in the
//!    ledger or in the spool, whole.
//! 5. A figure in a report equals the figure worked out by brute force from the snapshots: `tests/it/answers.rs`
//!    holds every view and report against an evaluator that shares no code with this crate.
//! 6. No secret leaves the configuration; no person's name enters a log.
//!
//! # Words
//!
//! *Source*: a project of a region behind an endpoint. *Snapshot*: one visit to it. *Observation*: one desktop's
//! state in one snapshot, or its absence from a complete one. *Span*: a run of equal observations without a
//! gap. *Connection*: touching CONNECTED spans with the same users. *Gap*: more than `max_gap` between two
//! observations. `docs/semantics.md` defines them all, with a worked example.

pub mod cli;
pub mod clock;
pub mod collector;
pub mod config;
pub mod domain;
pub mod error;
pub mod exchange;
pub mod home;
pub mod metrics;
pub mod notify;
pub mod report;
pub mod retention;
pub mod seal;
pub mod serve;
pub mod simulator;
pub mod store;
pub mod telemetry;
pub mod workspace;
