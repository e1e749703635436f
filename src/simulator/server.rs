//! The simulated API as a server: what it serves, to whom, and its life.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Router;
use chrono::TimeDelta;
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::WorldConfig;
use super::api::Shared;
use super::fault::Rule;
use super::respond::handle;
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
    /// What goes wrong from the start.
    pub faults: Vec<Rule>,
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
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// How many tokens were given out so far.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        self.shared.tokens.load(Ordering::Relaxed)
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
    axum::serve(listener, app).with_graceful_shutdown(shutdown).await
}
