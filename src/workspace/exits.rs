//! What all sources of a process share on their way out: connections, and how many requests are under way at once.
//!
//! Hundreds of sources tick at the same instants. Their requests go out in the order of coming, so many at a time;
//! one that is not answered soon no longer counts, or a few that never are would hold up all others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::redirect;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::ConfigError;

/// So many requests are under way at once, besides those that are not answered soon.
const AT_ONCE: usize = 64;
/// What is answered within this time is answered soon.
const SOON: Duration = Duration::from_secs(2);

/// The way out of a process.
#[derive(Clone, Debug)]
pub struct Exits(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    slots: Arc<Semaphore>,
    clients: Mutex<HashMap<To, Arc<Mutex<Option<reqwest::Client>>>>>,
}

/// What tells clients apart, of which each has its own pool of connections, and all that TLS needs: half a megabyte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct To {
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// Whether to an address of this machine.
    pub is_loopback: bool,
}

impl Default for Exits {
    fn default() -> Self {
        let slots = Arc::new(Semaphore::new(AT_ONCE));
        Self(Arc::new(Shared { slots, clients: Mutex::default() }))
    }
}

impl Exits {
    /// Begins to make the client, beside what else is done: reading the roots of TLS takes 40 ms.
    pub(super) fn prepare(&self, to: To) {
        let mut clients = self.clients();
        if clients.contains_key(&to) {
            return;
        }
        let place = Arc::clone(clients.entry(to).or_default());
        std::thread::spawn(move || {
            // Where it fails, it does once more for who needs it.
            let _ = made(&place, to);
        });
    }

    /// The client, once it is made.
    pub(super) fn client(&self, to: To) -> Result<reqwest::Client, ConfigError> {
        let place = Arc::clone(self.clients().entry(to).or_default());
        made(&place, to)
    }

    fn clients(&self) -> MutexGuard<'_, HashMap<To, Arc<Mutex<Option<reqwest::Client>>>>> {
        self.0.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until one more request may be sent, in the order of coming.
    pub(super) async fn slot(&self) -> Slot {
        let slots = Arc::clone(&self.0.slots);
        Slot { _permit: slots.acquire_owned().await.expect("it is never closed") }
    }
}

/// What stands in a place, made if nobody made it yet.
fn made(place: &Mutex<Option<reqwest::Client>>, to: To) -> Result<reqwest::Client, ConfigError> {
    let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(client) = &*place {
        return Ok(client.clone());
    }
    // The proxies of the environment are honoured: that is what the library does by itself.
    let mut client = reqwest::Client::builder()
        .user_agent(concat!("deskledger/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(to.connect_timeout)
        // A redirect would carry the token to wherever it points, and a signature is valid for
        // one host and path only: none is followed.
        .redirect(redirect::Policy::none());
    if to.is_loopback {
        // A proxy cannot reach this machine's own loopback addresses.
        client = client.no_proxy();
    }
    let client = client.build().map_err(ConfigError::Http)?;
    Ok(place.insert(client).clone())
}

/// Leave to send a request.
#[derive(Debug)]
pub(super) struct Slot {
    _permit: OwnedSemaphorePermit,
}

impl Slot {
    /// Waits for an answer, and lets another one send if that takes long.
    pub async fn while_it_is_quick<T>(self, answer: impl Future<Output = T>) -> T {
        let mut answer = std::pin::pin!(answer);
        if let Ok(answer) = tokio::time::timeout(SOON, &mut answer).await {
            return answer;
        }
        drop(self);
        answer.await
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn requests_without_an_answer_hold_up_the_others_for_two_seconds() {
        let exits = Exits::default();
        for _ in 0..AT_ONCE {
            let slot = exits.slot().await;
            tokio::spawn(slot.while_it_is_quick(std::future::pending::<()>()));
        }
        let begun = Instant::now();
        // Nobody else holds one for longer than it takes.
        for _ in 0..10 * AT_ONCE {
            exits.slot().await.while_it_is_quick(std::future::ready(())).await;
        }
        assert_eq!(begun.elapsed(), SOON);
    }
}
