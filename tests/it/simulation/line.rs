//! A recorder's way to the database: a socket that hands on what is sent, until something happens to it.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::op::{Moment, Then};

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

#[derive(Debug)]
pub struct Line {
    shared: Arc<Shared>,
    folder: tempfile::TempDir,
    server: PgConnectOptions,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    server: PgConnectOptions,
    is_cut: AtomicBool,
    strike: Mutex<Option<(u32, Moment, Then)>>,
    /// Grows when all connections are to break.
    broken: watch::Sender<u64>,
    /// Whether something is held back.
    is_held: watch::Sender<bool>,
    /// Grows when the process is to die.
    deaths: watch::Sender<u64>,
}

impl Line {
    pub fn new(server: PgConnectOptions) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(format!(".s.PGSQL.{}", server.get_port()));
        let listener = UnixListener::bind(path).unwrap();
        let shared = Arc::new(Shared {
            server: server.clone().ssl_mode(PgSslMode::Disable),
            is_cut: AtomicBool::new(false),
            strike: Mutex::new(None),
            broken: watch::channel(0).0,
            is_held: watch::channel(false).0,
            deaths: watch::channel(0).0,
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self { shared, folder, server, accepting }
    }

    /// How the recorder connects.
    pub fn options(&self) -> PgConnectOptions {
        self.server.clone().ssl_mode(PgSslMode::Disable).socket(self.folder.path())
    }

    pub fn cut(&self) {
        self.shared.is_cut.store(true, Ordering::SeqCst);
        self.break_all();
    }

    pub fn heal(&self) {
        self.shared.is_cut.store(false, Ordering::SeqCst);
    }

    pub fn break_all(&self) {
        self.shared.break_all();
    }

    pub fn arm(&self, nth: u32, moment: Moment, then: Then) {
        *self.shared.strike.lock().unwrap() = Some((nth, moment, then));
    }

    pub fn disarm(&self) {
        *self.shared.strike.lock().unwrap() = None;
    }

    pub fn is_armed(&self) -> bool {
        self.shared.strike.lock().unwrap().is_some()
    }

    pub fn release(&self) {
        self.shared.is_held.send_replace(false);
    }

    pub fn is_holding(&self) -> bool {
        *self.shared.is_held.borrow()
    }

    /// Waits until something is held back.
    pub async fn holds(&self) {
        let _ = self.shared.is_held.subscribe().wait_for(|is_held| *is_held).await;
    }

    pub fn is_cut(&self) -> bool {
        self.shared.is_cut.load(Ordering::SeqCst)
    }

    pub fn deaths(&self) -> watch::Receiver<u64> {
        self.shared.deaths.subscribe()
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.break_all();
        self.accepting.abort();
    }
}

impl Shared {
    fn break_all(&self) {
        self.is_held.send_replace(false);
        self.broken.send_modify(|times| *times += 1);
    }

    /// Whether it strikes at this message.
    fn strikes(&self, message: &[u8]) -> Option<(Moment, Then)> {
        let mut strike = self.strike.lock().unwrap();
        let (nth, moment, then) = strike.as_mut()?;
        let is_commit = message.starts_with(b"Q") && message.windows(6).any(|six| six == b"COMMIT");
        if *moment == Moment::Commit && !is_commit {
            return None;
        }
        *nth -= 1;
        if *nth > 0 {
            return None;
        }
        let struck = (*moment, *then);
        *strike = None;
        Some(struck)
    }
}

async fn accept(listener: UnixListener, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        if !shared.is_cut.load(Ordering::SeqCst) {
            tokio::spawn(hand_on(client, Arc::clone(&shared)));
        }
    }
}

fn socket_of(server: &PgConnectOptions) -> Option<PathBuf> {
    let folder = server.get_socket().map(PathBuf::as_path);
    let folder =
        folder.or_else(|| Some(Path::new(server.get_host())).filter(|path| path.is_absolute()));
    Some(folder?.join(format!(".s.PGSQL.{}", server.get_port())))
}

async fn hand_on(client: UnixStream, shared: Arc<Shared>) {
    let mut broken = shared.broken.subscribe();
    let server: std::io::Result<Box<dyn Stream>> = match socket_of(&shared.server) {
        Some(path) => UnixStream::connect(path).await.map(|stream| Box::new(stream) as _),
        None => {
            let place = (shared.server.get_host(), shared.server.get_port());
            TcpStream::connect(place).await.map(|stream| Box::new(stream) as _)
        }
    };
    let Ok(server) = server else { return };
    tokio::select! {
        biased;
        _ = broken.changed() => {}
        _ = both_ways(client, server, &shared) => {}
    }
}

async fn both_ways(
    mut client: UnixStream,
    mut server: Box<dyn Stream>,
    shared: &Shared,
) -> std::io::Result<()> {
    let (mut said, mut answer) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        tokio::select! {
            read = client.read(&mut said) => {
                let read = read?;
                if read == 0 {
                    return Ok(());
                }
                let message = &said[..read];
                let struck = shared.strikes(message);
                if let Some((Moment::Before, then)) = struck {
                    strike(shared, then).await;
                }
                server.write_all(message).await?;
                if let Some((Moment::After | Moment::Commit, then)) = struck {
                    let read = server.read(&mut answer).await?;
                    strike(shared, then).await;
                    client.write_all(&answer[..read]).await?;
                }
            }
            read = server.read(&mut answer) => {
                let read = read?;
                if read == 0 {
                    return Ok(());
                }
                client.write_all(&answer[..read]).await?;
            }
        }
    }
}

/// Returns where the connection goes on.
async fn strike(shared: &Shared, then: Then) {
    match then {
        Then::Stall => {
            shared.is_held.send_replace(true);
            let _ = shared.is_held.subscribe().wait_for(|is_held| !is_held).await;
            return;
        }
        Then::Break => {}
        Then::Cut => shared.is_cut.store(true, Ordering::SeqCst),
        Then::Die => {
            shared.is_cut.store(true, Ordering::SeqCst);
            shared.deaths.send_modify(|times| *times += 1);
        }
    }
    shared.break_all();
    // The other half of this connection's task ends it.
    std::future::pending().await
}
