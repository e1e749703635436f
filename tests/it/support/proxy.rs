//! The wire between a program and its PostgreSQL, to be disturbed: TCP on the program's side, the server's Unix
//! socket on the other.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What becomes of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// They pass.
    Pass,
    /// They pass, each piece so much later.
    Delay(Duration),
    /// They wait, and so does whoever connects.
    Hold,
    /// They pass, but a new connection is closed at once.
    Refuse,
}

/// A proxy that runs until it is dropped.
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    wire: Arc<Wire>,
    task: JoinHandle<()>,
}

struct Wire {
    socket: PathBuf,
    /// How bytes flow, and how often all connections were cut.
    state: watch::Sender<(Flow, u32)>,
    /// How many answers to commits are still to be lost.
    losing: AtomicU32,
    lost: AtomicU32,
}

impl Proxy {
    /// Starts one in front of a server's Unix socket.
    pub async fn start(socket: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let wire = Arc::new(Wire {
            socket: socket.to_owned(),
            state: watch::Sender::new((Flow::Pass, 0)),
            losing: AtomicU32::new(0),
            lost: AtomicU32::new(0),
        });
        let task = tokio::spawn(accept(listener, Arc::clone(&wire)));
        Self { address, wire, task }
    }

    /// From now on bytes fare like this, also on connections that are there.
    pub fn set(&self, flow: Flow) {
        self.wire.state.send_modify(|state| state.0 = flow);
    }

    /// Cuts all connections at once.
    pub fn cut(&self) {
        self.wire.state.send_modify(|state| state.1 += 1);
    }

    /// The next commit happens, but its answer is lost, and the connection with it.
    pub fn lose_next_commit(&self) {
        self.wire.losing.fetch_add(1, Ordering::SeqCst);
    }

    /// How many answers to commits were lost.
    pub fn lost(&self) -> u32 {
        self.wire.lost.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
        self.cut();
    }
}

async fn accept(listener: TcpListener, wire: Arc<Wire>) {
    while let Ok((client, _)) = listener.accept().await {
        if wire.state.borrow().0 != Flow::Refuse {
            tokio::spawn(carry(client, Arc::clone(&wire)));
        }
    }
}

/// Carries one connection until either side ends it, or it is cut.
async fn carry(client: TcpStream, wire: Arc<Wire>) {
    let mut state = wire.state.subscribe();
    let cuts = state.borrow().1;
    let Ok(server) = UnixStream::connect(&wire.socket).await else { return };
    let _ = client.set_nodelay(true);
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    // Whether what the server answers from now on is lost.
    let losing = AtomicBool::new(false);
    let up = pump(from_client, to_server, &wire, |bytes| {
        let take = |left: u32| left.checked_sub(1);
        if holds(bytes, b"COMMIT")
            && wire.losing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_ok()
        {
            losing.store(true, Ordering::SeqCst);
        }
        Fate::Forward
    });
    let down = pump(from_server, to_client, &wire, |bytes| {
        if !losing.load(Ordering::SeqCst) {
            Fate::Forward
        } else if holds(bytes, b"COMMIT\0") {
            wire.lost.fetch_add(1, Ordering::SeqCst);
            Fate::End
        } else if holds(bytes, b"ROLLBACK\0") {
            Fate::End
        } else {
            Fate::Swallow
        }
    });
    tokio::select! {
        () = up => {}
        () = down => {}
        _ = state.wait_for(|state| state.1 != cuts) => {}
    }
}

enum Fate {
    Forward,
    Swallow,
    End,
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    wire: &Wire,
    judge: impl Fn(&[u8]) -> Fate,
) {
    let mut state = wire.state.subscribe();
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let Ok(length @ 1..) = from.read(&mut bytes).await else { return };
        match judge(&bytes[..length]) {
            Fate::Forward => {}
            Fate::Swallow => continue,
            Fate::End => return,
        }
        let Ok(flow) = state.wait_for(|state| state.0 != Flow::Hold).await.map(|state| state.0)
        else {
            return;
        };
        if let Flow::Delay(time) = flow {
            tokio::time::sleep(time).await;
        }
        if to.write_all(&bytes[..length]).await.is_err() {
            return;
        }
    }
}

fn holds(bytes: &[u8], text: &[u8]) -> bool {
    memchr::memmem::find(bytes, text).is_some()
}
