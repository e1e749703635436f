//! The simulated API as a server: what it serves, to whom, and its life.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use chrono::TimeDelta;
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::WorldConfig;
use super::api::Shared;
use super::connection::{Fuse, Wires};
use super::fault::Rule;
use super::history::History;
use super::respond::handle;
use super::tally::Tally;
use crate::clock::Clock;
use crate::domain::{Desktop, GroupStatistics};

pub use super::access::Password;

/// What moves the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The server's clock.
    Clock,
    /// Visits: at each first page of the whole listing except the very first, so much time passes.
    ByVisit(TimeDelta),
}

/// What `total_count` counts in a listing with filters: the documents do not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TotalCounts {
    /// The desktops that the filters take.
    Matching,
    /// All desktops of the project.
    Everything,
}

/// What is served, and to whom.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// The fleet.
    pub world: WorldConfig,
    /// What moves it.
    pub step: Step,
    /// The one project.
    pub project_id: String,
    /// The one region; the project is named after it.
    pub region: String,
    /// An access key and its secret.
    pub access_key: Option<(String, SecretString)>,
    /// What has to come with the access key, if it is a temporary one.
    pub security_token: Option<SecretString>,
    /// A token that never dies.
    pub token: Option<SecretString>,
    /// A user who may exchange a password for a token.
    pub password: Option<Password>,
    /// How long such a token lives.
    pub token_life: TimeDelta,
    /// The largest offset.
    pub max_offset: u32,
    /// The most records of one page.
    pub max_limit: u32,
    /// The longest path and query of a request, in bytes.
    pub max_url: usize,
    /// So many requests for desktops and statistics within so long a window that slides, for each
    /// user; `None`: as many as they like.
    pub rate_limit: Option<(u32, Duration)>,
    /// What `total_count` counts where a listing has filters.
    pub total_counts: TotalCounts,
    /// How many projects have the region's name; the served one is the last of them. 0: none.
    pub projects: u8,
    /// Whether everything that was served is kept for [`Simulator::history`].
    pub keep_history: bool,
    /// What goes wrong from the start.
    pub faults: Vec<Rule>,
    /// The seed of those faults that come by chance.
    pub fault_seed: u64,
    /// The server's clock.
    pub clock: Clock,
}

impl ServerConfig {
    /// A server with the documented limits and no key: nobody may ask anything yet.
    #[must_use]
    pub fn new(world: WorldConfig, project_id: impl Into<String>) -> Self {
        Self {
            world,
            step: Step::Clock,
            project_id: project_id.into(),
            region: "ap-southeast-3".into(),
            access_key: None,
            security_token: None,
            token: None,
            password: None,
            token_life: TimeDelta::hours(24),
            max_offset: 2000,
            max_limit: 2000,
            max_url: 8192,
            rate_limit: None,
            total_counts: TotalCounts::Matching,
            projects: 1,
            keep_history: false,
            fault_seed: 1,
            faults: Vec::new(),
            clock: Clock::System,
        }
    }
}

/// A server that runs until it is stopped or dropped.
#[derive(Debug)]
pub struct Simulator {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<io::Result<()>>,
}

impl Simulator {
    /// Starts a server on a port of this machine that nobody uses.
    ///
    /// # Errors
    /// No port is to be had.
    pub async fn start(config: ServerConfig) -> io::Result<Self> {
        Self::start_on(config, TcpListener::bind("127.0.0.1:0").await?)
    }

    /// Starts a server on a listener.
    ///
    /// # Errors
    /// The listener has no address.
    pub fn start_on(config: ServerConfig, listener: TcpListener) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::new(config));
        let (stop, stopped) = oneshot::channel();
        let running = run(Arc::clone(&shared), listener, async {
            // A sender that was dropped stops it as well.
            let _ = stopped.await;
        });
        Ok(Self { address, shared, stop: Some(stop), task: tokio::spawn(running) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens, as an endpoint.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many requests came so far.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.shared.counting.lock().requests
    }

    /// How many tokens were given out so far.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        self.shared.counting.lock().tokens
    }

    /// All that was counted so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        let mut tally = self.shared.counting.lock().clone();
        tally.locks = self.shared.access.locks();
        tally
    }

    /// How many pages of listings were answered so far: the number that the next one has in the
    /// [`history`](Self::history).
    #[must_use]
    pub fn pages(&self) -> u64 {
        self.shared.served().pages
    }

    /// Everything that was served so far; empty unless [`keep_history`](ServerConfig::keep_history)
    /// is set.
    #[must_use]
    pub fn history(&self) -> History {
        self.shared.served().history.clone().unwrap_or_default()
    }

    /// All tokens given out so far are dead from now on, as if an administrator had revoked them.
    pub fn revoke_tokens(&self) {
        self.shared.access.revoke_tokens();
    }

    /// From now on, this goes wrong and nothing else.
    pub fn set_faults(&self, rules: Vec<Rule>) {
        self.shared.faults.set(rules);
    }

    /// The world as it was last served.
    #[must_use]
    pub fn served(&self) -> (Vec<Desktop>, Vec<GroupStatistics>) {
        let served = self.shared.served();
        (served.world.desktops().to_vec(), served.world.groups().to_vec())
    }

    /// Answers what was asked, and stops.
    ///
    /// # Errors
    /// The server broke down.
    pub async fn stop(mut self) -> io::Result<()> {
        drop(self.stop.take());
        self.task.await.map_err(io::Error::other)?
    }
}

/// Serves until `shutdown` is over.
///
/// # Errors
/// Connections can no longer be taken.
pub async fn serve(
    config: ServerConfig,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    run(Arc::new(Shared::new(config)), listener, shutdown).await
}

async fn run(
    shared: Arc<Shared>,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let app = Router::new().fallback(handle).with_state(shared);
    let app = app.into_make_service_with_connect_info::<Fuse>();
    axum::serve(Wires(listener), app).with_graceful_shutdown(shutdown).await
}
